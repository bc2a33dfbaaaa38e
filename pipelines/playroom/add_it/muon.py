"""Muon for many small matrices at once.

torch.optim.Muon takes one matrix after the other: some thousand launches a step here, longer than all the rest on a
GPU. Matrices of one shape go through the same arithmetic together; the numbers are torch's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.775, 2.0315)  # of the quintic Newton-Schulz iteration (Jordan et al. 2024), torch's own


def orthogonalised(matrices: Tensor, steps: int = 5) -> Tensor:
    """The matrices [N,R,C] with their singular values drawn near to one, computed in bfloat16."""
    a, b, c = COEFFICIENTS
    x = matrices.bfloat16()
    is_tall = x.shape[-2] > x.shape[-1]
    if is_tall:
        x = x.mT
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if is_tall else x


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024) with Nesterov momentum and updates as large as AdamW's (Liu et al. 2025)."""

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float,
        *,
        weight_decay: float = 0.01,
        momentum: float = 0.95,
        steps: int = 5,
    ):
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "steps": steps})
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                by_shape[parameter.shape].append(parameter)
            group["alike"] = list(by_shape.values())

    @torch.no_grad()
    def step(self, closure=None):
        """One update of all matrices that have a gradient; matrices of one shape have it together."""
        for group in self.param_groups:
            for parameters in group["alike"]:
                gradients = torch.stack([parameter.grad for parameter in parameters])
                state = self.state[parameters[0]]
                momentum = state.setdefault("momentum", torch.zeros_like(gradients))
                momentum.lerp_(gradients, 1 - group["momentum"])
                update = orthogonalised(gradients.lerp(momentum, group["momentum"]), group["steps"]).float()
                rate = group["lr"] * 0.2 * max(parameters[0].shape) ** 0.5
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(parameters, list(update.unbind()), alpha=-rate)
        return None
