"""Training of Paint by Example: a picture, holes in it, and what was in the hole as the exemplar.

Works for the playroom and for SD1.4 alike: the loss sees latents, masks and pooled vectors, not pictures.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn

from ...training.columns import Column
from ...training.denoising import DenoisingTask, Examples, integers, labelled
from ...training.task import Batch
from ...training.validation import ddim
from ..exemplar_encoder import ExemplarEncoder
from ..inpainting import guided, nine_channels


class PicturesWithHoles(Examples, Protocol):
    """N pictures with holes in them, and exemplars of what is in the holes."""

    @property
    def holes(self) -> int:
        """How many holes each picture has."""
        ...


@dataclass
class EncodedExemplars:
    """A data set of N pictures with several holes each, and pooled vectors of exemplars of what is in the hole."""

    target: Column  # [N,C,h,w] latents of the picture
    masked: Column  # [N,holes,C,h,w] latents of the picture with a grey hole; all latents times the scaling factor
    hole: Column  # [N,holes,1,h,w] bool: 1 in the hole
    own: Column  # [N,K,D] pooled vectors of augmented crops of the picture itself
    others: Column | None = None  # [N,V,D] pooled vectors of other pictures of the same thing, where there are any
    labels: dict[str, Tensor] = field(default_factory=dict)  # what an auxiliary loss wants, indexed like the rest

    @property
    def holes(self) -> int:
        """How many holes each picture has."""
        return self.masked.shape[1]

    @property
    def shape(self) -> tuple[int, ...]:
        """[C,h,w] of a target's latents."""
        return tuple(self.target.shape[1:])

    def __len__(self) -> int:
        return len(self.target)

    def fetch(self, share: Batch) -> Batch:
        """Latents, holes, pooled vectors and labels of the drawn `index`, `cut`, `view` and `other` [B]."""
        index, cut, view = share["index"], share["cut"], share["view"]
        pooled = self.own[index, view % self.own.shape[1]].float()
        if self.others is not None:
            others = self.others[index, view % self.others.shape[1]].float()
            pooled = torch.where(share["other"][:, None], others, pooled)
        batch = {
            "target": self.target[index].float(),
            "masked": self.masked[index, cut].float(),
            "hole": self.hole[index, cut],
            "pooled": pooled,
        }
        return batch | labelled(self.labels, index)


class ExemplarTask(DenoisingTask):
    """Trains an inpainting UNet and an exemplar encoder with its null.

    `null_share` of the samples lose their exemplar (the authors' code draws once per batch; this draws per sample).
    `other_share` of the samples see another picture of the same thing instead of a crop of the target.
    Frozen `encoders` make latents and pooled vectors of data that are pictures. `shared` are the options of every
    `DenoisingTask`. Of a batch are its own:

        key              shape      range                               from
        cut              [B]        0 to the holes of a picture         drawn
        view             [B]        0 to 2**31, an exemplar or a seed   drawn
        other            [B]        bool: another picture of the thing  drawn
        no_exemplar      [B]        bool: the exemplar is dropped       drawn
        masked           [B,C,h,w]  latents, scaled, with a grey hole   the data, or `encoders`
        hole             [B,1,h,w]  0..1: 1 in the hole                 the data, or `encoders`
        pooled           [B,D]      the vision encoder's pooled vector  the data, or `encoders`
        target pixels    [B,3,S,S]  0..1                                the data, for `encoders`
        hole pixels      [B,S,S]    bool                                the data, for `encoders`
        exemplar pixels  [B,3,E,E]  0..1                                the data, for `encoders`
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        exemplar_encoder: ExemplarEncoder,
        data: PicturesWithHoles,
        noise_schedule: DDIMScheduler,
        batch: int,
        *,
        null_share: float = 0.2,
        other_share: float = 0.0,
        encoders: nn.Module | None = None,
        **shared: Any,
    ):
        super().__init__(unet, data, noise_schedule, batch, **shared)
        if not len(data):
            raise ValueError("There is no picture to train on.")
        if other_share and getattr(data, "others", None) is None:
            raise ValueError("There are no other pictures of what is in the holes; set other_share to 0.")
        self.data: PicturesWithHoles = data
        self.exemplar_encoder = exemplar_encoder
        self.null_share = null_share
        self.other_share = other_share
        self.encoders = encoders

    def conditioners(self):
        networks: dict[str, nn.Module] = {"exemplar_encoder": self.exemplar_encoder}
        return networks if self.encoders is None else networks | {"encoders": self.encoders}

    def draw(self, step: int, generator: torch.Generator) -> Batch:
        batch = integers(self.batch, generator, index=len(self.data), cut=self.data.holes, view=2**31)
        batch["other"] = torch.rand(self.batch, generator=generator) < self.other_share
        batch["no_exemplar"] = torch.rand(self.batch, generator=generator) < self.null_share
        return batch | self.draw_noise(generator)

    def encode(self, batch: Batch) -> Batch:
        """Latents, holes and pooled vectors of a fetched batch, on the device."""
        if self.encoders is None:
            return batch
        return batch | self.encoders(batch["target pixels"], batch["hole pixels"], batch["exemplar pixels"])

    def unet_input(self, noisy: Tensor, batch: Batch) -> Tensor:
        return nine_channels(noisy, batch["masked"], batch["hole"].float())

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        batch = self.encode(batch)
        context = self.exemplar_encoder(batch["pooled"])
        conditioning = torch.where(batch["no_exemplar"][:, None, None], self.exemplar_encoder.null.to(context), context)
        return self.losses(batch, context=context, conditioning=conditioning, region=batch["hole"].bool())


@torch.no_grad()
def preview(
    unet: Any,
    context: Tensor,
    null: Tensor,
    masked: Tensor,
    hole: Tensor,
    noise_schedule: DDIMScheduler,
    *,
    scale: float = 5.0,
    steps: int = 20,
    seed: int = 0,
) -> Tensor:
    """DDIM latents [B,C,h,w] for contexts [B,1,D], masked latents [B,C,h,w] and holes [B,1,h,w]: a quick look."""
    contexts = torch.cat([null.expand_as(context), context])

    def predict(latents: Tensor, time: Tensor) -> Tensor:
        stacked = torch.cat([nine_channels(latents, masked, hole)] * 2)
        without, conditioned = unet(stacked, time, encoder_hidden_states=contexts).sample.float().chunk(2)
        return guided(without, conditioned, scale)

    return ddim(predict, masked, noise_schedule, steps=steps, seed=seed)
