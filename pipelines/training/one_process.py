"""Training in one process with torch alone: what the trainer asks of accelerate and diffusers, which no host brings."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class OneProcess:
    """The part of accelerate's `Accelerator` that the trainer calls, for the only process of a run."""

    device: torch.device
    num_processes: int = 1
    process_index: int = 0
    is_main_process: bool = True

    def prepare_model(self, model: nn.Module) -> nn.Module:
        """The model as it is."""
        return model

    def no_sync(self, model: nn.Module) -> Any:
        """Nobody waits for these gradients."""
        return nullcontext()

    def clip_grad_norm_(self, parameters: Iterable[nn.Parameter], norm: float) -> Tensor:
        """Cut gradients to this length; returns the length that they had."""
        return torch.nn.utils.clip_grad_norm_(parameters, norm)


class LatestWeights:
    """In the place of an average: the weights as the last step left them."""

    decay = 0.0

    def step(self, parameters: Iterable[nn.Parameter]) -> None:
        """Nothing to keep."""

    store = copy_to = restore = step
