"""What a system brings to the training engine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

Modules = Mapping[str, Any]  # networks by name; Any, because a caller knows its own classes
Batch = dict[str, Tensor]  # the first dimension of every entry counts samples


class Task(ABC):
    """Networks, and how one batch of them is drawn, read and scored.

    A step's batch depends on its generator alone. The engine draws the whole batch, cuts it into one share per process
    and accumulation step, and has only the shares read: however a batch is cut, the step is the same.
    """

    @abstractmethod
    def modules(self) -> Mapping[str, nn.Module]:
        """The networks by name; parameters that do not require gradients stay as they are."""

    def rates(self) -> Mapping[str, float]:
        """Learning-rate factor of each network (1 where absent)."""
        return {}

    @abstractmethod
    def draw(self, step: int, generator: torch.Generator) -> Batch:
        """The random choices of one whole batch, on the CPU: indices, noise, timesteps. Cheap."""

    def fetch(self, share: Batch) -> Batch:
        """What the choices stand for: reading and decoding. Runs ahead of the step, in a thread of its own."""
        return share

    @abstractmethod
    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Means over the samples of a fetched share, on the device; "loss" is minimised, the others are logged."""

    def validate(self, modules: Modules) -> dict[str, float]:
        """Metrics of the averaged networks on data held out."""
        return {}

    def sheet(self, modules: Modules) -> Image.Image | None:
        """A picture of what the averaged networks do now, if the system has one."""
        return None
