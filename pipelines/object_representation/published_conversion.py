"""A published object as one of ours: its prior's tokens made once and kept, its weights as a change of their base's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..encoders.vision import Encoder, encoder_pixels
from ..paint_by_example.checkpoints import PaintByExampleFiles
from ..paint_by_example.vision_tower import load_tower
from ..pictures.objects import crop_box
from ..weights.tensors import FULL_FIRST
from .attention_changes import Layers
from .learned_object import LARGEST, LearnedObject, base_text
from .published_files import PublishedObject, attention_of
from .training.examples import MARGIN
from .training.views import View

PRIOR_PIXELS = ("published", "normalised")


@dataclass(frozen=True)
class Conversion:
    """How the tokens of a published object are made."""

    prior_pixels: str = "published"

    def __post_init__(self):
        if self.prior_pixels not in PRIOR_PIXELS:
            raise ValueError(f"Unknown pixels '{self.prior_pixels}' of the prior; use {', '.join(PRIOR_PIXELS)}.")


@dataclass(frozen=True)
class Converted:
    """What came of a conversion."""

    learned: LearnedObject  # with whole differences
    layers: Layers  # of the base's cross-attention
    share: float  # size of the differences in sizes of what they are of, by the norm


@torch.no_grad()
def convert(
    published: PublishedObject,
    base: PaintByExampleFiles,
    views: Sequence[View],
    reference: Tensor | None = None,
    *,
    settings: Conversion,
    facts: Mapping[str, str],
) -> Converted:
    """The object of a published file, of the base that it was trained from, and of the pictures that it was shown.

    `reference` [1,H,W,3] in 0..1 is the exemplar that is painted; without one it is the first view's. At the published
    size about 2.5 GB of memory are needed: never more at once than the vision tower, or the prior's matrix, beside the
    cross-attention of both files. Raises ValueError, naming the file, for what does not belong together.
    """
    if not 1 <= len(views) < LARGEST:
        raise ValueError(f"An object has from 1 to {LARGEST - 1} pictures, not {len(views)}.")
    unet = base.unet(FULL_FIRST)
    changes, share = published.changes(unet)
    encoder = published.exemplar_encoder(base.exemplar_encoder())
    pooled, hidden = _seen(load_tower(base), views, reference, settings)
    tokens = torch.cat([pooled, published.prior_tokens(hidden)])
    context = encoder(tokens[None])[0]
    layers = attention_of(unet)
    thumbnail = Image.fromarray(views[0].crop.movedim(0, -1).contiguous().numpy())
    learned = LearnedObject(
        tokens=context,
        null=encoder.null[0],
        patch=changes.tensors(),
        base=base_text(layers),
        facts=facts,
        thumbnail=thumbnail,
        shown=False,
    )
    return Converted(learned, layers, share)


def _seen(
    tower: Encoder, views: Sequence[View], reference: Tensor | None, settings: Conversion
) -> tuple[Tensor, Tensor]:
    """The pooled vector [1,D] of the reference, and the hidden states [N,T,D] of N views."""
    picture = exemplar_of(views[0], tower.size) if reference is None else reference
    pixels = encoder_pixels(picture, tower.size, tower.mean, tower.std)
    pooled = tower.network(pixel_values=pixels).pooler_output
    return pooled, tower.tokens(prior_pixels(views, tower, settings.prior_pixels))


def exemplar_of(view: View, size: int) -> Tensor:
    """A view as the exemplar [1,size,size,3] in 0..1 that it would be in training: cut to the object and a margin."""
    margin = max(1, round(MARGIN * max(view.crop.shape[1:])))
    return crop_box(view.pixels, view.box, size, margin).movedim(0, -1)[None].float() / 255


def prior_pixels(views: Sequence[View], tower: Encoder, pixels: str = "published") -> Tensor:
    """What the vision tower is shown of N views for the prior, [N,3,S,S]: each its box alone, squashed linearly.

    "published": 0 to 255, and rows and columns exchanged, as the released training and inference do it by swapping the
    axes 1 and 3 of [N,S,S,3]; what was learned so has to be shown so. "normalised": upright, as CLIP wants it.
    """
    size = (tower.size, tower.size)
    crops = [F.interpolate(view.crop[None].float(), size, mode="bilinear").round() for view in views]
    squares = torch.cat(crops)
    return squares.transpose(2, 3) if pixels == "published" else tower.normalise(squares / 255)
