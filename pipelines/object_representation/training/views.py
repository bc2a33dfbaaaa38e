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
GREY = 0.5  # what is seen behind a cut-out, and around a picture that is all object


@dataclass(frozen=True)
class View:
    """A picture [3,H,W] uint8 of an object that fills a box of it."""

    pixels: Tensor
    box: Box

    @property
    def crop(self) -> Tensor:
        """The object alone, [3,h,w] uint8."""
        x0, y0, x1, y1 = self.box
        return self.pixels[:, y0:y1, x0:x1]


def make_view(picture: Tensor, mask: Tensor | None = None, box: Box | None = None, name: str = "picture") -> View:
    """A view of a picture [1,H,W,C] in 0..1, whose object is where the box is, or else the mask [1,H,W] or the alpha.

    Without any of them the picture is all object. A cut-out is laid on grey, and a picture with no room around its
    object gets some. Raises ValueError, naming the picture, for no object there, and what `check_object` refuses.
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
    return _with_room(pixels, box)


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


def _with_room(pixels: Tensor, box: Box) -> View:
    """The picture around a box: cut off at FAR of the box's longer side, with a grey margin where ROOM lacks."""
    x0, y0, x1, y1 = box
    longer = max(x1 - x0, y1 - y0)
    far = round(FAR * longer)
    first_row = max(0, y0 - far)
    first_column = max(0, x0 - far)
    pixels = pixels[:, first_row : y1 + far, first_column : x1 + far]
    x0, y0, x1, y1 = moved(box, -first_column, -first_row)
    height, width = pixels.shape[1:]
    room = round(ROOM * longer)
    left = max(0, room - x0)
    top = max(0, room - y0)
    right = max(0, room - (width - x1))
    bottom = max(0, room - (height - y1))
    padded = F.pad(pixels, (left, right, top, bottom), value=round(255 * GREY))
    return View(padded, (x0 + left, y0 + top, x1 + left, y1 + top))
