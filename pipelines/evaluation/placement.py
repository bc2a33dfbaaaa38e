"""Where a method put the object: it may put it anywhere, so what appeared is found first, then compared with the truth.

What appeared is what `restoration` finds: light over the whole picture is no insertion, and what a VAE does to every
pixel is none. Shadows belong to it; the object in it is told from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL.Image import Image
from scipy import ndimage

from ..pictures.files import picture_tensor
from ..pictures.masks import Box, array_box
from ..pictures.parts import largest_part
from ..restoration.restore import changed

SMALLEST_OBJECT = 1 / 24  # of the shorter side
LARGEST_OBJECT = 0.8  # of the picture


class Appeared(NamedTuple):
    """What appeared in a result: the box of all of it, and that of the object without its shadow."""

    box: Box
    object_box: Box


def appeared(result: Image, scene: Image, vae_scene: Image | None = None) -> Appeared | None:
    """The boxes in the scene of what appeared in the result, or None where nothing object-sized did.

    What appeared is the largest connected part of what changed visibly, where a square of 1/24 of the shorter side
    lies in it and it is at most 80 % of the picture. `vae_scene` is what the result's VAE alone makes of the scene.
    Pictures are compared as they lie, as their backgrounds are: a method that moves the scene is not excused.
    """
    if result.tobytes() == scene.tobytes():
        return None
    before, after = (picture_tensor(picture.convert("RGB")) for picture in (scene, result))
    round_trip = None if vae_scene is None else picture_tensor(vae_scene.convert("RGB"))
    effect, objects = changed(before[0], after[0], None if round_trip is None else round_trip[0])
    part = largest_part(effect.numpy() >= 0.5)
    if part is None or part.mean() > LARGEST_OBJECT:
        return None
    side = max(1, round(SMALLEST_OBJECT * min(part.shape)))
    if not ndimage.binary_erosion(part, np.ones((side, side))).any():
        return None
    solid = largest_part(part & (objects.numpy() >= 0.5))
    return Appeared(array_box(part), array_box(part if solid is None else solid))


def inserted_box(result: Image, scene: Image, vae_scene: Image | None = None) -> Box | None:
    """The box of all that appeared, shadow included, as by `appeared`."""
    both = appeared(result, scene, vae_scene)
    return both and both.box


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, 0..1. torchvision's takes a second to import, in every worker process."""
    shared = share_inside(a, b) * area(a)
    return shared / (area(a) + area(b) - shared)


def area(box: Box) -> int:
    """The number of pixels in a box."""
    x0, y0, x1, y1 = box
    return (x1 - x0) * (y1 - y0)


def share_inside(box: Sequence[float], place: Sequence[float]) -> float:
    """The share of a box's area that lies in another, 0..1; both x0, y0, x1, y1."""
    width = min(box[2], place[2]) - max(box[0], place[0])
    height = min(box[3], place[3]) - max(box[1], place[1])
    area = (box[2] - box[0]) * (box[3] - box[1])
    return max(0.0, width) * max(0.0, height) / area if area > 0 else 0.0


def distance(a: Box, b: Box, size: tuple[int, int]) -> float:
    """How far the centres of two boxes are apart, as a share of the diagonal of a picture of (width, height)."""
    dx = (a[0] + a[2] - b[0] - b[2]) / 2
    dy = (a[1] + a[3] - b[1] - b[3]) / 2
    return float(np.hypot(dx, dy) / np.hypot(*size))
