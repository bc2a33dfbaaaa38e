"""Pictures of one object, each with the box that the object fills."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...pictures.boxes import Box, clip_box, moved
from ...pictures.masks import mask_box
from ...pictures.objects import MIN_PIXELS, check_object, check_object_mask, turned_mask

ROOM = 0.7  # of a box's longer side, that a picture has around it at least: with less, holes are filled with object
FAR = 1.5  # and at most: a small object is looked at closely
GREY = 0.5  # what is seen behind a cut-out in its crop, and around a picture that is all object
PATCHES = 3  # a side, of random colours behind a cut-out


@dataclass(frozen=True)
class View:
    """A picture [3,H,W] uint8 of an object that fills a box of it.

    `opacity` [H,W] in 0..1 is that of a cut-out, whose background is any: None for a picture with a room around.
    """

    pixels: Tensor
    box: Box
    opacity: Tensor | None = None

    def drawn(self, generator: torch.Generator) -> Tensor:
        """The picture, a cut-out on random soft colours: on a grey of its own it would be learned with a grey halo."""
        if self.opacity is None:
            return self.pixels
        patches = torch.rand(1, 3, PATCHES, PATCHES, generator=generator)
        colours = F.interpolate(patches, self.pixels.shape[1:], mode="bicubic", align_corners=True)[0]
        colours = (255 * colours).clamp(0, 255)
        return torch.lerp(colours, self.pixels.float(), self.opacity).round().byte()

    @property
    def crop(self) -> Tensor:
        """The object alone, [3,h,w] uint8."""
        x0, y0, x1, y1 = self.box
        return self.pixels[:, y0:y1, x0:x1]


def make_view(picture: Tensor, mask: Tensor | None = None, box: Box | None = None, name: str = "picture") -> View:
    """A view of a picture [1,H,W,C] in 0..1, whose object is where the box is, or else the mask [1,H,W] or the alpha.

    Without any of them the picture is all object. A picture with no room around its object gets some, of grey, or is
    cut out where a mask says what is the object. Raises ValueError, naming the picture, for no object there, and what
    `check_object` refuses.
    """
    try:
        picture = check_object(picture)
        mask = turned_mask(check_object_mask(mask, picture))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    height, width = picture.shape[1:3]
    opacity = picture[0, ..., 3].clamp(0, 1) if picture.shape[-1] == 4 else None
    if box is None:
        box = _box_of(mask[0] if mask is not None else opacity, (0, 0, width, height), name)
    try:
        box = clip_box(box, height, width)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    x0, y0, x1, y1 = box
    visible = (x1 - x0) * (y1 - y0) if opacity is None else int((opacity[y0:y1, x0:x1] > 0.5).sum())
    if visible < MIN_PIXELS:
        raise ValueError(
            f"{name} has no object in its box of {x1 - x0}x{y1 - y0} px: {visible} pixels are visible there, and "
            f"{MIN_PIXELS} are needed. Draw the box around the object, or leave the picture out."
        )
    colours = picture[0, ..., :3]
    if opacity is not None:
        colours = torch.lerp(torch.full_like(colours, GREY), colours, opacity[..., None])
    pixels = (colours.movedim(-1, 0) * 255).round().clamp(0, 255).byte()
    close = _margins(box, height, width) != (0, 0, 0, 0)
    if opacity is None and mask is not None and close:
        opacity = mask[0].float()
    return _with_room(pixels, box, opacity)


def make_views(
    pictures: Sequence[Tensor],
    masks: Sequence[Tensor | None],
    boxes: Sequence[Box | None],
    names: Sequence[str],
) -> list[View]:
    """The views of several pictures. Raises ValueError without any, and what `make_view` raises."""
    if not pictures:
        raise ValueError("There is no picture of the object. One is enough to begin with; three to five are better.")
    return [make_view(*own) for own in zip(pictures, masks, boxes, names, strict=True)]


def _box_of(mask: Tensor | None, whole: Box, name: str) -> Box:
    if mask is None:
        return whole
    box = mask_box(mask > 0.5)
    if box is None:
        raise ValueError(f"{name} shows no object: it is transparent, or its mask is empty. Leave it out.")
    return box


def _margins(box: Box, height: int, width: int) -> tuple[int, int, int, int]:
    """What a picture lacks of ROOM around a box: (left, right, top, bottom) px."""
    x0, y0, x1, y1 = box
    room = round(ROOM * max(x1 - x0, y1 - y0))
    return (max(0, room - x0), max(0, room - (width - x1)), max(0, room - y0), max(0, room - (height - y1)))


def _with_room(pixels: Tensor, box: Box, opacity: Tensor | None) -> View:
    """The picture around a box: cut off at FAR of the box's longer side, with a grey margin where ROOM lacks."""
    x0, y0, x1, y1 = box
    longer = max(x1 - x0, y1 - y0)
    far = round(FAR * longer)
    first_row = max(0, y0 - far)
    first_column = max(0, x0 - far)
    near = (slice(first_row, y1 + far), slice(first_column, x1 + far))
    pixels = pixels[(slice(None), *near)]
    box = moved(box, -first_column, -first_row)
    margins = _margins(box, *pixels.shape[1:])
    left, _, top, _ = margins
    padded = F.pad(pixels, margins, value=round(255 * GREY))
    return View(padded, moved(box, left, top), None if opacity is None else F.pad(opacity[near], margins))
