"""Training of visually guided insertion: noise-prediction loss, dropout of conditions, picture sheets.

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

from ...sampling.guidance import BRANCHES, Guidance, Scales, combine
from ...training.denoising import EVEN, IdentityHead, Weighting, denoising_losses, squared_error, with_identity
from ...training.task import Batch, Modules, Task
from ..context_encoder import ContextEncoder
from .encoded_triplets import EncodedTriplets


class ObjectPictures(Protocol):
    """The objects' pictures, for training that augments them and so cannot take vision tokens from a cache."""

    views: int

    def pixels(self, index: Tensor, view: Tensor, seed: Tensor) -> dict[str, Tensor]:
        """What each vision encoder, by name, is to see [B,3,H,W]: augmented as `seed` [B] says, then normalised."""
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


@dataclass(frozen=True)
class AsReleased:
    """What the authors' code does and ours does not, to be able to measure it (see docs)."""

    random_queries: bool = False  # noise in every forward in place of learned queries
    blank: Tensor | None = None  # [1,T,D] tokens of an all-zero picture: their context stands for a dropped object


class InsertionTask(Task):
    """Trains an embedding optimizer, and of the UNet what requires gradients.

    `pictures` and frozen `encoders` ("features", "details") take the place of cached vision tokens when the objects'
    pictures are augmented.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        optimizer: ContextEncoder,
        data: EncodedTriplets,
        noise_schedule: DDIMScheduler,
        batch: int,
        dropout: Dropout = Dropout(),
        weighting: Weighting = EVEN,
        pictures: ObjectPictures | None = None,
        encoders: Mapping[str, nn.Module] | None = None,
        head: IdentityHead | None = None,
        head_weight: float = 0.05,
        rates: Mapping[str, float] | None = None,
        as_released: AsReleased = AsReleased(),
        metrics: Callable[[Modules], dict[str, float]] | None = None,
        draw_sheet: Callable[[Modules], Image.Image] | None = None,
    ):
        if not len(data):
            raise ValueError("There is no triplet to train on.")
        if data.features is None and not (pictures and encoders):
            raise ValueError("Without cached vision tokens, training needs the objects' pictures and an encoder.")
        if optimizer.detail_width and data.details is None and "details" not in (encoders or {}):
            raise ValueError("This embedding optimizer reads a second encoder's tokens, and there are none of it.")
        if as_released.random_queries and optimizer.queries is not None:
            optimizer.queries.requires_grad_(False)  # noise takes their place
        self.unet, self.optimizer, self.encoders, self.head = unet, optimizer, nn.ModuleDict(encoders or {}), head
        self.data, self.pictures, self.noise_schedule, self.batch = data, pictures, noise_schedule, batch
        self.dropout, self.weighting, self.head_weight, self.as_released = dropout, weighting, head_weight, as_released
        self._rates, self._metrics, self._draw_sheet = rates or {}, metrics, draw_sheet

    def modules(self) -> dict[str, nn.Module]:
        named = {"unet": self.unet, "embedding_optimizer": self.optimizer, "encoders": self.encoders}
        return named | ({"head": cast(nn.Module, self.head)} if self.head is not None else {})

    def rates(self):
        return self._rates

    def validate(self, modules):
        return self._metrics(modules) if self._metrics else {}

    def sheet(self, modules):
        return self._draw_sheet(modules) if self._draw_sheet else None

    def draw(self, step: int, generator: torch.Generator) -> Batch:
        data, count = self.data, self.batch
        views = self.pictures.views if data.features is None else data.features.shape[1]  # pyright: ignore

        def below(high: int) -> Tensor:
            return torch.randint(high, (count,), generator=generator)

        batch = {"index": below(len(data)), "view": below(views), "variant": below(data.target.shape[1])}
        batch["no_object"], batch["no_scene"] = self.dropout.draw(count, generator)
        batch["time"] = below(cast(Any, self.noise_schedule).config.num_train_timesteps)
        batch["noise"] = torch.randn((count, *data.target.shape[2:]), generator=generator)
        if self.as_released.random_queries:
            batch["queries"] = self.optimizer.draw_queries(count, generator)
        if self.pictures:
            batch["seed"] = below(2**62)
        return batch

    def fetch(self, share: Batch) -> Batch:
        data, (index, view, variant) = self.data, (share[name] for name in ("index", "view", "variant"))
        read = {
            "target": data.target[index, variant].float(),
            "scene": data.scene[index, variant].float(),
            "region": data.region[index, variant],
        }
        if data.features is not None:
            read["features"] = data.features[index, view].float()
        elif self.pictures:
            shown = self.pictures.pixels(index, view, share["seed"])
            read |= {f"pixels {name}": pixels for name, pixels in shown.items()}
        if data.details is not None:
            read["details"] = data.details[index, view].float()
        return share | read | {f"label {name}": values[index] for name, values in data.labels.items()}

    def _context(self, batch: Batch) -> Tensor:
        tokens = {name: batch.get(name) for name in ("features", "details")}
        with torch.no_grad():
            for name, encoder in self.encoders.items():
                tokens[name] = encoder(pixel_values=batch[f"pixels {name}"]).last_hidden_state
        return self.optimizer(tokens["features"], tokens["details"], batch.get("queries"))

    def _null(self, batch: Batch, context: Tensor) -> Tensor:
        blank = self.as_released.blank
        if blank is None:
            return self.optimizer.null.to(context)
        features = blank.to(context).expand(len(context), -1, -1)
        return self.optimizer(features, batch.get("details"), batch.get("queries"))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        schedule, time, noise, target = cast(Any, self.noise_schedule), batch["time"], batch["noise"], batch["target"]
        context = self._context(batch)
        conditioning = torch.where(batch["no_object"][:, None, None], self._null(batch, context), context)
        scene = batch["scene"].masked_fill(batch["no_scene"][:, None, None, None], 0)
        noisy = schedule.add_noise(target, noise, time)
        predicted = self.unet(torch.cat([noisy, scene], 1), time, encoder_hidden_states=conditioning).sample.float()
        error = squared_error(predicted, target, noise, time, schedule)
        losses = denoising_losses(error, batch["region"], time, schedule, self.weighting)
        return losses if self.head is None else with_identity(losses, self.head, self.head_weight, context, batch)


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
