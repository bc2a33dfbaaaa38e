"""Training of visually guided insertion: what the UNet sees of triplets, and who loses a condition.

Works for the playroom and for SD1.5 alike: it sees latents and vision tokens, not pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn

from ...sampling.guidance import BRANCHES, Guidance, Scales, combine
from ...training.columns import Column
from ...training.denoising import DenoisingTask, integers, labelled
from ...training.ranges import Share
from ...training.task import Batch
from ...training.validation import ddim
from ..context_encoder import ContextEncoder


@dataclass
class EncodedTriplets:
    """A data set of N triplets, each in `variants` crops and flips, with pictures of the object from `views`."""

    target: Column  # [N,variants,C,h,w] latents of the scene with the object, times the VAE's scaling factor
    scene: Column  # [N,variants,C,h,w] latents of the scene, the VAE's mode, not scaled
    features: Column | None  # [N,views,T,D] vision tokens of the object's pictures; None: they are seen in training
    region: Column  # [N,variants,1,h,w] bool: cells the object or its shadow touches
    details: Column | None = None  # [N,views,S,E] tokens of a second encoder
    labels: dict[str, Tensor] = field(default_factory=dict)  # what an auxiliary loss wants, indexed like the rest

    @property
    def shape(self) -> tuple[int, ...]:
        """[C,h,w] of a target's latents."""
        return tuple(self.target.shape[2:])

    def __len__(self) -> int:
        return len(self.target)

    def fetch(self, share: Batch) -> Batch:
        """Latents, regions, vision tokens and labels of the drawn `index`, `view` and `variant` [B]."""
        index, view, variant = share["index"], share["view"], share["variant"]
        batch = {
            "target": self.target[index, variant].float(),
            "scene": self.scene[index, variant].float(),
            "region": self.region[index, variant],
        }
        if self.features is not None:
            batch["features"] = self.features[index, view].float()
        if self.details is not None:
            batch["details"] = self.details[index, view].float()
        return batch | labelled(self.labels, index)


class ObjectPictures(Protocol):
    """The objects' pictures, for training that augments them and so cannot take vision tokens from a cache."""

    views: int

    def pixels(self, index: Tensor, view: Tensor, seed: Tensor) -> dict[str, Tensor]:
        """What each vision encoder, by name, is to see [B,3,H,W]: augmented as `seed` [B] says, then normalised."""
        ...


@dataclass(frozen=True)
class Dropout:
    """Shares of samples that lose a condition (InstructPix2Pix trains with 5 % each)."""

    object: Share = 0.05
    scene: Share = 0.05
    both: Share = 0.05

    def __post_init__(self):
        if self.object + self.scene + self.both > 1:
            raise ValueError("the shares of object, scene and both must not be more than 1 together")

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


class InsertionTask(DenoisingTask):
    """Trains an embedding optimizer, and of the UNet what requires gradients.

    `pictures` and frozen `encoders` ("features", "details") take the place of cached vision tokens when the objects'
    pictures are augmented. `shared` are the options of every `DenoisingTask`. Of a batch are its own:

        key          shape      range                            from
        view         [B]        0 to the pictures of an object   drawn
        variant      [B]        0 to the crops of a pair         drawn
        no_object    [B]        bool: the object is dropped      drawn, `Dropout`
        no_scene     [B]        bool: the scene is dropped       drawn, `Dropout`
        queries      [B,Q,D]    noise                            drawn, where `as_released` has random queries
        seed         [B]        0 to 2**62                       drawn, where there are `pictures`
        scene        [B,C,h,w]  latents, not scaled              the data
        region       [B,1,h,w]  bool: object or its shadow       the data
        features     [B,T,D]    vision tokens                    the data, where they are cached
        details      [B,S,E]    a second encoder's tokens        the data, where they are cached
        pixels NAME  [B,3,H,W]  normalised for encoder NAME      `pictures`
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        embedding_optimizer: ContextEncoder,
        data: EncodedTriplets,
        noise_schedule: DDIMScheduler,
        batch: int,
        *,
        dropout: Dropout = Dropout(),
        pictures: ObjectPictures | None = None,
        encoders: Mapping[str, nn.Module] | None = None,
        as_released: AsReleased = AsReleased(),
        **shared: Any,
    ):
        super().__init__(unet, data, noise_schedule, batch, **shared)
        if not len(data):
            raise ValueError("There is no triplet to train on.")
        if data.features is None and not (pictures and encoders):
            raise ValueError("Without cached vision tokens, training needs the objects' pictures and an encoder.")
        if embedding_optimizer.detail_width and data.details is None and "details" not in (encoders or {}):
            raise ValueError("This embedding optimizer reads a second encoder's tokens, and there are none of it.")
        if as_released.random_queries and embedding_optimizer.queries is not None:
            embedding_optimizer.queries.requires_grad_(False)  # noise takes their place
        self.data: EncodedTriplets = data
        self.embedding_optimizer = embedding_optimizer
        self.dropout = dropout
        self.pictures = pictures
        self.encoders = nn.ModuleDict(encoders or {})
        self.as_released = as_released

    def conditioners(self):
        return {"embedding_optimizer": self.embedding_optimizer, "encoders": self.encoders}

    def draw(self, step: int, generator: torch.Generator) -> Batch:
        data = self.data
        count = self.batch
        views = self.pictures.views if data.features is None else data.features.shape[1]  # pyright: ignore
        batch = integers(count, generator, index=len(data), view=views, variant=data.target.shape[1])
        batch["no_object"], batch["no_scene"] = self.dropout.draw(count, generator)
        batch |= self.draw_noise(generator)
        if self.as_released.random_queries:
            batch["queries"] = self.embedding_optimizer.draw_queries(count, generator)
        if self.pictures:
            batch |= integers(count, generator, seed=2**62)
        return batch

    def fetch(self, share: Batch) -> Batch:
        batch = super().fetch(share)
        if self.data.features is None and self.pictures:
            pixels = self.pictures.pixels(share["index"], share["view"], share["seed"])
            batch |= {f"pixels {name}": values for name, values in pixels.items()}
        return batch

    def unet_input(self, noisy: Tensor, batch: Batch) -> Tensor:
        return torch.cat([noisy, batch["scene"]], 1)

    def context(self, batch: Batch) -> Tensor:
        """[B,N,D] of the objects in a fetched batch."""
        tokens = {name: batch.get(name) for name in ("features", "details")}
        with torch.no_grad():
            for name, encoder in self.encoders.items():
                tokens[name] = encoder(pixel_values=batch[f"pixels {name}"]).last_hidden_state
        return self.embedding_optimizer(tokens["features"], tokens["details"], batch.get("queries"))

    def _null(self, batch: Batch, context: Tensor) -> Tensor:
        blank = self.as_released.blank
        if blank is None:
            return self.embedding_optimizer.null.to(context)
        features = blank.to(context).expand(len(context), -1, -1)
        return self.embedding_optimizer(features, batch.get("details"), batch.get("queries"))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        context = self.context(batch)
        conditioning = torch.where(batch["no_object"][:, None, None], self._null(batch, context), context)
        scene = batch["scene"].masked_fill(batch["no_scene"][:, None, None, None], 0)
        return self.losses(batch | {"scene": scene}, context=context, conditioning=conditioning, region=batch["region"])


@torch.no_grad()
def preview(
    unet: Any,
    context: Tensor,
    null: Tensor,
    scene: Tensor,
    noise_schedule: DDIMScheduler,
    guidance: Guidance,
    *,
    steps: int = 20,
    seed: int = 0,
) -> Tensor:
    """DDIM latents [B,C,h,w] for contexts [B,N,D] in scenes [B,C,h,w]: a quick look during training."""
    scales = Scales(guidance.object_scale, guidance.scene_scale)
    contexts = torch.cat([null.expand_as(context), null.expand_as(context), context])
    scenes = torch.cat([torch.zeros_like(scene), scene, scene])

    def predict(latents: Tensor, time: Tensor) -> Tensor:
        stacked = torch.cat([torch.cat([latents] * 3), scenes], 1)
        predictions = unet(stacked, time, encoder_hidden_states=contexts).sample.float().chunk(3)
        return combine(guidance, scales, dict(zip(BRANCHES, predictions, strict=True)))

    return ddim(predict, scene, noise_schedule, steps=steps, seed=seed)
