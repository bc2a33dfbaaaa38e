"""One update of a network's weights and of their running average."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from .limits import average_weight


def update(
    loss: Tensor,
    network: nn.Module,
    average: nn.Module,
    optimizers: Iterable[torch.optim.Optimizer],
    *,
    rate: float,
    step: int,
    longest: float,
) -> None:
    """Follow a loss down, its gradient cut to a length of 1.

    A group of an optimizer learns at `rate` times its "share"; `longest` of the average stays in the end.
    """
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("share", 1.0)
        optimizer.step()
        optimizer.zero_grad()
    kept = average_weight(step, longest)
    with torch.no_grad():
        torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - kept)
