"""The loss of diffusion models: what every task that predicts noise shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from diffusers.training_utils import compute_snr
from torch import Tensor

from .task import Batch

LABEL = "label "  # starts the names of a batch's entries that an auxiliary network wants


@dataclass(frozen=True)
class Weighting:
    """How much the squared error counts where and when.

    Inside the region the object or its shadow touches it counts `1 + region` times below timestep `region_until`,
    where the object's details are decided; a sample's mean is renormalised, so the learning rate keeps its meaning.
    `min_snr` is the gamma of Min-SNR weighting (arXiv 2303.09556, eq. 8); 0 is off.
    """

    region: float = 0.0
    region_until: int = 600
    min_snr: float = 0.0

    def samples(self, schedule: Any, time: Tensor) -> Tensor:
        """Weights [B] of samples at timesteps [B]."""
        if not self.min_snr:
            return torch.ones(len(time), device=time.device)
        snr = compute_snr(schedule, time)
        velocity = schedule.config.prediction_type == "v_prediction"
        return snr.clamp(max=self.min_snr) / (snr + 1 if velocity else snr)

    def cells(self, region: Tensor, time: Tensor) -> Tensor:
        """Weights [B,1,h,w], mean 1 in each sample, for regions [B,1,h,w]."""
        weight = 1 + self.region * (region & (time < self.region_until)[:, None, None, None])
        return weight / weight.float().mean((1, 2, 3), keepdim=True)


EVEN = Weighting()


class IdentityHead(Protocol):
    """An auxiliary network (an `nn.Module`) that checks what the context [B,N,D] still says about the object."""

    def loss(self, context: Tensor, labels: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses by name; "identity" is added to what is minimised."""
        ...


def squared_error(predicted: Tensor, target: Tensor, noise: Tensor, time: Tensor, schedule: Any) -> Tensor:
    """[B,C,h,w] between what a UNet predicts of `target` with `noise` at `time` and what the schedule wants of it."""
    velocity = schedule.config.prediction_type == "v_prediction"
    return (predicted - (schedule.get_velocity(target, noise, time) if velocity else noise)).square()


def denoising_losses(
    error: Tensor, region: Tensor, time: Tensor, schedule: Any, weighting: Weighting
) -> dict[str, Tensor]:
    """Means of squared errors [B,C,h,w] with regions [B,1,h,w]: "noise" weighted, "plain" not; "loss" is the first."""
    weighted = (error * weighting.cells(region, time)).mean((1, 2, 3))
    noise = (weighted * weighting.samples(schedule, time)).mean()
    return {"noise": noise, "plain": error.mean(), "loss": noise}


def with_identity(
    losses: dict[str, Tensor], head: IdentityHead, weight: float, context: Tensor, batch: Batch
) -> dict[str, Tensor]:
    """The losses and those of a head that reads the contexts [B,N,D], by the batch's labels."""
    parts = head.loss(context, {name.removeprefix(LABEL): x for name, x in batch.items() if name.startswith(LABEL)})
    return losses | parts | {"loss": losses["loss"] + weight * parts["identity"]}
