"""The loss of diffusion models: what every task that predicts noise shares.

A batch of B samples has, beside the entries that a system's own task lists:

    key         shape      range                              from
    index       [B]        an example of the data             drawn
    time        [B]        a timestep of the noise schedule   drawn
    noise       [B,C,h,w]  normal, variance 1                 drawn
    target      [B,C,h,w]  latents, times the VAE's factor    the data
    label NAME  [B,...]    what a head compares with          the data, where there is a head
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from PIL import Image
from torch import Tensor, nn

from .ranges import NotNegative, Whole
from .task import Batch, Modules, Task

if TYPE_CHECKING:
    from diffusers import DDIMScheduler, UNet2DConditionModel

LABEL = "label "  # starts the names of a batch's entries that an auxiliary network wants


def noise_schedule(config: Mapping[str, Any]) -> DDIMScheduler:
    """The schedule of training and of its previews, from a model's `scheduler_config.json`."""
    from diffusers import DDIMScheduler

    options = {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}  # as Stable Diffusion is sampled
    return cast(DDIMScheduler, DDIMScheduler.from_config(dict(config), **options))


@dataclass(frozen=True)
class Weighting:
    """How much the squared error counts where and when.

    Inside the region the object or its shadow touches it counts `1 + region` times below timestep `region_until`,
    where the object's details are decided; a sample's mean is renormalised, so the learning rate keeps its meaning.
    `min_snr` is the gamma of Min-SNR weighting (arXiv 2303.09556, eq. 8); 0 is off.
    """

    region: NotNegative = 0.0
    region_until: Whole = 600
    min_snr: NotNegative = 0.0

    def samples(self, schedule: Any, time: Tensor) -> Tensor:
        """Weights [B] of samples at timesteps [B]."""
        if not self.min_snr:
            return torch.ones(len(time), device=time.device)
        from diffusers.training_utils import compute_snr

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


def integers(count: int, generator: torch.Generator, **below: int) -> Batch:
    """Integers [count] by name, each from 0 to below its bound, drawn in the order of the names."""
    return {name: torch.randint(bound, (count,), generator=generator) for name, bound in below.items()}


def labelled(labels: Mapping[str, Tensor], index: Tensor) -> Batch:
    """The labels of the examples `index` [B], by their names in a batch."""
    return {f"{LABEL}{name}": values[index] for name, values in labels.items()}


class Examples(Protocol):
    """N examples to train on."""

    @property
    def shape(self) -> tuple[int, ...]:
        """[C,h,w] of a target's latents."""
        ...

    def __len__(self) -> int: ...

    def fetch(self, share: Batch) -> Batch:
        """What the choices that were drawn stand for."""
        ...


class DenoisingTask(Task):
    """Trains a UNet to predict noise, and the networks that make the contexts it reads.

    A system says what its UNet sees (`unet_input`) and, in `loss`, in which context and where the error counts.
    `metrics` and `draw_sheet` look at held-out examples; `rates` are learning-rate factors of networks by name.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        data: Examples,
        noise_schedule: DDIMScheduler,
        batch: int,
        *,
        weighting: Weighting = EVEN,
        head: IdentityHead | None = None,
        head_weight: float = 0.05,
        rates: Mapping[str, float] | None = None,
        metrics: Callable[[Modules], dict[str, float]] | None = None,
        draw_sheet: Callable[[Modules], Image.Image] | None = None,
    ):
        self.unet = unet
        self.data = data
        self.noise_schedule: Any = noise_schedule
        self.batch = batch
        self.weighting = weighting
        self.head = head
        self.head_weight = head_weight
        self.factors = rates or {}
        self.metrics = metrics
        self.draw_sheet = draw_sheet

    def modules(self) -> dict[str, nn.Module]:
        head = {} if self.head is None else {"head": cast(nn.Module, self.head)}
        return {"unet": self.unet, **self.conditioners(), **head}

    @abstractmethod
    def conditioners(self) -> dict[str, nn.Module]:
        """The networks by name that make the contexts."""

    def rates(self):
        return self.factors

    def validate(self, modules):
        return self.metrics(modules) if self.metrics else {}

    def sheet(self, modules):
        return self.draw_sheet(modules) if self.draw_sheet else None

    def draw_noise(self, generator: torch.Generator) -> Batch:
        """`time` and `noise` of a whole batch, on the CPU."""
        time = integers(self.batch, generator, time=self.noise_schedule.config.num_train_timesteps)
        return time | {"noise": torch.randn((self.batch, *self.data.shape), generator=generator)}

    def fetch(self, share: Batch) -> Batch:
        return share | self.data.fetch(share)

    @abstractmethod
    def unet_input(self, noisy: Tensor, batch: Batch) -> Tensor:
        """[B,D,h,w], all that the UNet sees: noisy latents [B,C,h,w] and what the batch has of the scene."""

    def squared_error(self, batch: Batch, context: Tensor) -> Tensor:
        """[B,C,h,w] of what the UNet predicts of a fetched batch in contexts [B,N,D]."""
        target, noise, time = batch["target"], batch["noise"], batch["time"]
        noisy = self.noise_schedule.add_noise(target, noise, time)
        predicted = self.unet(self.unet_input(noisy, batch), time, encoder_hidden_states=context).sample.float()
        return squared_error(predicted, target, noise, time, self.noise_schedule)

    def losses(self, batch: Batch, *, context: Tensor, conditioning: Tensor, region: Tensor) -> dict[str, Tensor]:
        """Losses by name of a fetched batch, its regions [B,1,h,w] bool.

        The UNet reads `conditioning`, a head `context`, both [B,N,D]: they differ where a sample loses its condition.
        """
        error = self.squared_error(batch, conditioning)
        losses = denoising_losses(error, region, batch["time"], self.noise_schedule, self.weighting)
        return losses if self.head is None else with_identity(losses, self.head, self.head_weight, context, batch)
