"""Views of an object as training examples: latents of a part of a picture, what the UNet sees of it, and contexts.

They are drawn and encoded once, before the training: the encoders are not learned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...paint_by_example.inpainting import CELL, latent_mask
from ...paint_by_example.training.augmentation import Augmentation
from ...paint_by_example.training.pictures import PictureSettings, draw_example
from ...pictures.boxes import square_around
from ...pictures.objects import MARGIN as FRAME
from ...pictures.objects import crop_box
from ...training.noise_levels import NoiseLevels
from ...training.task import Batch
from ..attention_changes import Layers
from .beside_noise import Beside, Encode
from .views import View

MARGIN = 10 / 512  # of the training's side, around an exemplar's box: 10 px as published
JITTER = 5 / 512  # of the training's side, of a hole's outline


@dataclass(frozen=True)
class LearningModel:
    """The parts of a model that learning asks for, whoever runs them. What they give is float32.

    `shown`: an exemplar's token stands before the object's own (Paint by Example); else the object's own are all that
    the UNet reads (an InstructPix2Pix UNet with an embedding optimizer).
    """

    unet: Callable[..., Any]  # (inputs [B,C+D,h,w], timesteps [B], encoder_hidden_states=[B,N,C]) -> .sample
    layers: Layers  # of its cross-attention
    base: str  # by what the UNet is known again, see learned_object.base_text
    latents: Encode  # pictures [B,3,S,S] in 0..1 -> latents [B,C,h,w], times the VAE's factor
    beside: Beside  # what stands beside the noise
    pictures: Encode  # latents [B,C,h,w] -> pictures, for previews
    contexts: Encode  # exemplars [B,3,E,E] in 0..1 -> [B,Q,C]
    null: Tensor  # [1,Q,C]
    noise_levels: NoiseLevels
    exemplar_size: int  # px
    size: int  # px, the side of the pictures that the UNet was trained on
    device: torch.device
    shown: bool = True


@dataclass(frozen=True)
class ObjectExamples:
    """E examples of views of an object, or of other things, on the CPU."""

    target: Tensor  # [E,C,h,w] latents
    beside: Tensor  # [E,D,h,w], what the UNet sees beside the noise
    hole: Tensor  # [E,1,h,w] bool
    context: Tensor  # [E,Q,C]: of an augmented exemplar out of the same picture

    def __len__(self) -> int:
        return len(self.target)

    @property
    def shape(self) -> tuple[int, ...]:
        """[C,h,w] of a target's latents."""
        return tuple(self.target.shape[1:])

    def fetch(self, share: Batch) -> Batch:
        """Latents and holes of `index` [B], and contexts of `exemplar` [B]."""
        index = share["index"]
        own = {"target": self.target[index], "beside": self.beside[index], "hole": self.hole[index]}
        return own | {"context": self.context[share["exemplar"]]}


def settings_for(size: int) -> PictureSettings:
    """The published rules at another size: lengths in px are scaled."""
    jitter = max(1, round(JITTER * size))
    return PictureSettings(
        size=size, jitter=jitter, smallest=2 * jitter + 2 * CELL, margin=max(1, round(MARGIN * size))
    )


@torch.no_grad()
def encode_examples(
    model: LearningModel, views: Sequence[View], count: int, generator: torch.Generator, size: int
) -> ObjectExamples:
    """`count` examples of each view, drawn by chance by Paint by Example's own rules; size px a side."""
    settings = settings_for(size)
    columns: dict[str, list[Tensor]] = {"target": [], "beside": [], "hole": [], "context": []}
    for view in views:
        for _ in range(count):
            target, hole, exemplar = draw_example(
                view.drawn(generator), view.box, settings, model.exemplar_size, Augmentation(), generator
            )
            holes = hole[None].float()
            columns["target"].append(model.latents(target[None]).cpu())
            columns["beside"].append(model.beside(target[None], holes).cpu())
            columns["hole"].append(latent_mask(holes).bool().cpu())
            columns["context"].append(model.contexts(exemplar[None]).cpu())
    return ObjectExamples(**{name: torch.cat(values) for name, values in columns.items()})


@torch.no_grad()
def view_tokens(model: LearningModel, views: Sequence[View]) -> Tensor:
    """The contexts [N,Q,C] of N views, cut to the object as the encoder's pictures were in its training."""
    size = model.exemplar_size
    crops = []
    for view in views:
        longer = max(view.crop.shape[1:])
        if model.shown:
            crops.append(crop_box(view.pixels, view.box, size, max(1, round(MARGIN * longer))))
        else:
            crops.append(crop_box(view.pixels, square_around(view.box), size, FRAME * longer))
    return torch.cat([model.contexts(crop[None].float() / 255) for crop in crops]).cpu()


class Tokens(nn.Module):
    """The object's own tokens [N,C], learned or as its pictures gave them."""

    def __init__(self, tokens: Tensor, trained: bool):
        super().__init__()
        self.tokens = nn.Parameter(tokens.clone(), requires_grad=trained)
