"""Training examples out of pictures with boxes: a square part with a hole in it, and what was in the hole.

All chance is that of one seed per example, so a resumed or divided run sees the same. The rules are the reference's
(Fantasy-Studio/Paint-by-Example, ldm/data/open-images.py), but for the outline's jitter: ours is in px of what is
trained on, not of the picture as it was.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from torch import Generator, Tensor
from torchvision.transforms.v2 import functional as V

from ...pictures.arbitrary_masks import arbitrary_mask, extended_box
from ...pictures.boxes import Box
from ...pictures.folder import READERS
from ...pictures.masks import box_mask
from ...pictures.objects import crop_box
from ...training.ranges import Share, Whole, one_of
from ...training.task import Batch
from ..inpainting import CELL, LATENT_MASKS
from .augmentation import Augmentation, augment_exemplars
from .box_folder import BoxedPicture


@dataclass(frozen=True)
class PictureSettings:
    """How pictures become training material; the defaults are the reference's."""

    size: int = 512  # px, the side of what is trained on
    smallest: int = 32  # px of a box's sides if the whole picture had `size`; smaller boxes are left out
    extension: Share = 0.4  # of the room between box and border: how far a hole reaches at most
    shapes: Share = 0.5  # of the holes that are arbitrary shapes; the others are boxes
    jitter: Whole = 5  # px, of a shape's outline
    tightness: Share = 0.6  # of the room around a hole: how much of it a crop takes away at most
    margin: Whole = 10  # px around the box that an exemplar shows, of the picture as it was
    mask_resize: Annotated[str, one_of(LATENT_MASKS)] = "rounded"  # see inpainting.latent_mask

    def __post_init__(self):
        least = 2 * self.jitter + 2 * CELL
        if self.size < CELL or self.size % CELL:
            raise ValueError(f"size must be a multiple of {CELL}, not {self.size}")
        if self.smallest < least:
            raise ValueError(
                f"smallest must be {least} or more (two latent cells, and the jitter on both sides), or the hole of a "
                f"small box could have no latent cell; it is {self.smallest}"
            )


class Example(NamedTuple):
    target: Tensor  # [3,size,size], 0..1
    hole: Tensor  # [size,size] bool
    exemplar: Tensor  # [3,E,E], 0..1


def draw_square(hole: Box, height: int, width: int, generator: Generator, tightness: float) -> Box:
    """A square part of a picture with a hole's box in it, placed and cut by chance.

    It is the whole picture, to be squashed, when no square of the shorter side holds the box.
    """
    side = min(height, width)
    x0, y0, x1, y1 = hole
    if max(x1 - x0, y1 - y0) > side:
        return (0, 0, width, height)
    left = _integer(max(0, x1 - side), min(x0, width - side), generator)
    top = _integer(max(0, y1 - side), min(y0, height - side), generator)
    room = min(x0 - left, y0 - top, left + side - x1, top + side - y1)
    cut = _integer(0, int(tightness * room), generator)
    return (left + cut, top + cut, left + side - cut, top + side - cut)


def _integer(low: int, high: int, generator: Generator) -> int:
    return int(torch.randint(low, high + 1, (), generator=generator))


def _scaled(box: Box, part: Box, size: int) -> Box:
    """A box of a picture in a part of it that is resized to a square, widened to whole pixels."""
    x, y = size / (part[2] - part[0]), size / (part[3] - part[1])
    low = (math.floor((box[0] - part[0]) * x), math.floor((box[1] - part[1]) * y))
    return (*low, math.ceil((box[2] - part[0]) * x), math.ceil((box[3] - part[1]) * y))


def draw_hole(
    box: Box, around: Box, height: int, width: int, shaped: bool, jitter: int, generator: Generator
) -> Tensor:
    """A hole [H,W] over a box: the box `around` it, filled, or an arbitrary shape that bulges towards that one."""
    if not shaped:
        return box_mask(around, height, width)
    return arbitrary_mask(box, height, width, generator, jitter=jitter, extended=around)


def draw_example(
    picture: Tensor,
    box: Box,
    settings: PictureSettings,
    exemplar_size: int,
    augmentation: Augmentation,
    generator: Generator,
) -> Example:
    """An example of a box in a picture [3,H,W] uint8."""
    height, width = picture.shape[-2:]
    around = extended_box(box, height, width, generator, share=settings.extension)
    shaped = bool(torch.rand((), generator=generator) < settings.shapes)
    x0, y0, x1, y1 = part = draw_square(around, height, width, generator, settings.tightness)
    size = settings.size
    target = V.resized_crop(
        picture, y0, x0, y1 - y0, x1 - x0, [size, size], V.InterpolationMode.BICUBIC, antialias=True
    )
    inner = _scaled(box, part, size)
    outer = _scaled(around, part, size)
    hole = draw_hole(inner, outer, size, size, shaped, settings.jitter, generator)
    exemplar = crop_box(picture, box, exemplar_size, settings.margin)[None] / 255
    exemplar = augment_exemplars(exemplar, augmentation, generator)[0].clamp(0, 1)
    return Example(target / 255, hole, exemplar)


class Pictures:
    """The pictures of a folder as the task's `Examples`: read, cut and augmented anew in every step."""

    holes = 1  # drawn with the rest

    def __init__(
        self,
        pictures: list[BoxedPicture],
        settings: PictureSettings,
        augmentation: Augmentation,
        exemplar_size: int,
        channels: int,
    ):
        self.pictures = pictures
        self.settings = settings
        self.augmentation = augmentation
        self.exemplar_size = exemplar_size
        self.channels = channels
        self.readers = ThreadPoolExecutor(READERS, "pictures")

    @property
    def shape(self) -> tuple[int, ...]:
        """[C,h,w] of a target's latents."""
        return self.channels, self.settings.size // CELL, self.settings.size // CELL

    def __len__(self) -> int:
        return len(self.pictures)

    def example(self, index: int, seed: int) -> Example:
        """One of a random box of a picture. Raises ValueError naming a broken file."""
        picture = self.pictures[index]
        generator = Generator().manual_seed(seed)
        x0, y0, x1, y1 = picture.boxes[_integer(0, len(picture.boxes) - 1, generator)].tolist()
        box = (x0, y0, x1, y1)
        return draw_example(picture.pixels(), box, self.settings, self.exemplar_size, self.augmentation, generator)

    def fetch(self, share: Batch) -> Batch:
        """`target pixels` [B,3,S,S], `hole pixels` [B,S,S] and `exemplar pixels` [B,3,E,E] of `index` and `view`."""
        examples = list(self.readers.map(self.example, share["index"].tolist(), share["view"].tolist()))
        return {
            f"{name} pixels": torch.stack([getattr(example, name) for example in examples]) for name in Example._fields
        }
