"""Training of visually guided insertion on encoded triplets: noise-prediction loss, dropout, picture sheets.

Works for the playroom and for SD1.5 alike: it sees latents and vision tokens, not pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from PIL import Image
from torch import Tensor, nn

from .embedding_optimizer import Resampler
from .guidance import BRANCHES, Guidance, Scales, combine


@dataclass
class EncodedTriplets:
    """A data set in the form the loss needs. `labels` are whatever an auxiliary loss wants, indexed like the rest."""

    target: Tensor  # [N,C,h,w] latents of the scene with the object, times the VAE's scaling factor
    scene: Tensor  # [N,C,h,w] latents of the scene, the VAE's mode, not scaled
    features: Tensor  # [N,views,T,D] vision tokens of the object's pictures
    region: Tensor  # [N,1,h,w] bool: cells the object or its shadow touches
    labels: dict[str, Tensor]

    def __len__(self) -> int:
        return len(self.target)


class IdentityHead(Protocol):
    """An auxiliary network (an `nn.Module`) that checks what the context [B,N,D] still says about the object."""

    def loss(self, context: Tensor, labels: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses by name; "identity" is added to what is minimised."""
        ...


@dataclass(frozen=True)
class Dropout:
    """Shares of samples that lose a condition (InstructPix2Pix trains with 5 % each)."""

    object: float = 0.05
    scene: float = 0.05
    both: float = 0.05

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Two bool masks [count]: whose object is dropped, whose scene is dropped."""
        r = torch.rand(count, generator=generator)
        both = r < self.both
        object_only = (r >= self.both) & (r < self.both + self.object)
        scene_only = (r >= self.both + self.object) & (r < self.both + self.object + self.scene)
        return both | object_only, both | scene_only


class InsertionTask:
    """Trains a UNet and an embedding optimizer together.

    Inside `region` the squared error counts `1 + region_weight` times at low and middle noise, where the object's
    details are decided; the mean is renormalised, so the learning rate keeps its meaning.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        optimizer: Resampler,
        data: EncodedTriplets,
        noise_schedule: DDIMScheduler,
        batch: int,
        dropout: Dropout = Dropout(),
        region_weight: float = 3.0,
        region_until: int = 600,
        head: IdentityHead | None = None,
        head_weight: float = 0.05,
        rates: Mapping[str, float] | None = None,
        draw_sheet: Callable[[Mapping[str, nn.Module]], Image.Image] | None = None,
    ):
        self.unet, self.optimizer, self.head = unet, optimizer, head
        self.data, self.noise_schedule, self.batch, self.dropout = data, noise_schedule, batch, dropout
        self.region_weight, self.region_until, self.head_weight = region_weight, region_until, head_weight
        self._rates, self._draw_sheet = rates or {}, draw_sheet

    def modules(self) -> dict[str, nn.Module]:
        trained: dict[str, nn.Module] = {"unet": self.unet, "embedding_optimizer": self.optimizer}
        return trained | ({"head": cast(nn.Module, self.head)} if self.head is not None else {})

    def rates(self):
        return self._rates

    def sheet(self, modules):
        return self._draw_sheet(modules) if self._draw_sheet else None

    def loss(self, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        data, schedule = self.data, cast(Any, self.noise_schedule)
        device = self.optimizer.null.device
        pick = torch.randint(len(data), (self.batch,), generator=generator)
        view = torch.randint(data.features.shape[1], (self.batch,), generator=generator)
        no_object, no_scene = (mask.to(device) for mask in self.dropout.draw(self.batch, generator))
        time = torch.randint(schedule.config.num_train_timesteps, (self.batch,), generator=generator).to(device)
        noise = torch.randn(data.target[pick].shape, generator=generator).to(device)

        context = self.optimizer(data.features[pick, view].to(device).float())
        conditioning = torch.where(no_object[:, None, None], self.optimizer.null.to(context), context)
        scene = data.scene[pick].to(device).masked_fill(no_scene[:, None, None, None], 0)
        target = data.target[pick].to(device)
        noisy = schedule.add_noise(target, noise, time)
        predicted = self.unet(torch.cat([noisy, scene], 1), time, encoder_hidden_states=conditioning).sample.float()
        if schedule.config.prediction_type == "v_prediction":
            wanted = schedule.get_velocity(target, noise, time)
        else:
            wanted = noise
        error = (predicted - wanted).square()
        late = (time < self.region_until)[:, None, None, None]
        weight = 1 + self.region_weight * (data.region[pick].to(device) & late)
        losses = {
            "noise": (error * weight).mean((1, 2, 3)).div(weight.float().mean((1, 2, 3))).mean(),
            "plain": error.mean(),
        }
        losses["loss"] = losses["noise"]
        if self.head is not None:
            parts = self.head.loss(context, {name: values[pick].to(device) for name, values in data.labels.items()})
            losses["loss"] = losses["loss"] + self.head_weight * parts["identity"]
            losses |= parts
        return losses


@torch.no_grad()
def preview(
    unet: Any,
    context: Tensor,
    null: Tensor,
    scene: Tensor,
    noise_schedule: DDIMScheduler,
    guidance: Guidance,
    steps: int = 20,
    seed: int = 0,
) -> Tensor:
    """DDIM latents [B,C,h,w] for contexts [B,N,D] in scenes [B,C,h,w]: a quick look during training."""
    count = len(scene)
    schedule: Any = noise_schedule
    schedule.set_timesteps(steps)
    latent = torch.randn(scene.shape, generator=torch.Generator().manual_seed(seed)).to(scene)
    scales = Scales(guidance.object_scale, guidance.scene_scale)
    contexts = torch.cat([null.expand_as(context), null.expand_as(context), context])
    scenes = torch.cat([torch.zeros_like(scene), scene, scene])
    for time in schedule.timesteps:
        stacked = torch.cat([torch.cat([latent] * 3), scenes], 1)
        out = unet(stacked, time, encoder_hidden_states=contexts).sample.float().split(count)
        guided = combine(guidance, scales, dict(zip(BRANCHES, out, strict=True)))
        latent = schedule.step(guided, time, latent).prev_sample
    return latent
