"""Points on the ground that objects stand on, and how large an object there is if nothing else says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

from ..pictures.boxes import Box, corners

HORIZON = 1 / 3  # of the scene's height from its upper side, where photographs often have it
NEAREST = 1 / 2  # of the scene's shorter side: the longer side of an object on the scene's lower edge
SMALLEST = 1 / 12  # the same of one at the horizon, and above it
TIE = 1e-4  # px; two places that are as good are told apart alike on every machine
LOWEST = 0.1  # of an object's height: what touches the ground, or nearly


@dataclass(frozen=True)
class Foot:
    """A point of a scene, px, that the middle of an object's foot stands on."""

    x: int
    y: int
    height: int | None = None  # px of the object; None is that of `longer_side`


def optional_foot(x: int, y: int, height: int) -> Foot | None:
    """The point of three widgets: none where x and y are below 0, and no height where that is 0.

    Raises ValueError for one of x and y.
    """
    if x < 0 and y < 0:
        return None
    if x < 0 or y < 0:
        raise ValueError(
            f"foot_x and foot_y belong together; got {x} and {y}. Give both in px, or -1 twice for no point."
        )
    return Foot(x, y, height or None)


def foot_boxes(foot: Foot, objects: Sequence[Tensor], height: int, width: int) -> list[list[Box]]:
    """The box of each cut-out [h,w,4] that stands on a point of a scene of `height` x `width` px.

    Raises ValueError for a point outside the scene, and for an object below 1 px.
    """
    if not (0 <= foot.x < width and 0 <= foot.y < height):
        raise ValueError(
            f"The point ({foot.x}, {foot.y}) lies outside the {width}x{height} px scene. Give one from (0, 0) to "
            f"({width - 1}, {height - 1})."
        )
    if foot.height is not None and foot.height < 1:
        raise ValueError(f"The object's height must be 1 px or more; got {foot.height}.")
    return [[_box_on(foot, one, longer_side(foot.y, height, width))] for one in objects]


def longer_side(y: int, height: int, width: int) -> float:
    """How many px an object is long that stands on row `y` of a scene of `height` x `width` px.

    On flat ground seen by a level camera, an object's size in the picture grows in proportion to how far its foot lies
    below the horizon (Hoiem, Efros and Hebert, "Putting Objects in Perspective", 2008). The horizon is taken to lie a
    third of the scene's height down, and the object to be half as long as the scene's shorter side on the lower edge;
    at the horizon, and above it, where there is no such ground, a twelfth.
    """
    horizon = HORIZON * height
    nearness = (y + 1 - horizon) / (height - horizon)
    return min(height, width) * max(SMALLEST, NEAREST * nearness)


def _box_on(foot: Foot, cut_out: Tensor, longer: float) -> Box:
    """The box of a cut-out [h,w,4] whose lowest row is the point's, with its foot's middle on it.

    The foot is the lowest tenth of what is visible: above it an object may lean out to one side.
    """
    height, width = cut_out.shape[:2]
    scale = longer / max(height, width) if foot.height is None else foot.height / height
    on_the_ground = cut_out[-ceil(LOWEST * height) :, :, 3].sum(0)
    middle = float((on_the_ground * (torch.arange(width) + 0.5)).sum() / on_the_ground.sum())
    new_height = max(1, round(height * scale))
    new_width = max(1, ceil(width * new_height / height))  # the height decides
    left = round(foot.x + 0.5 - middle * new_height / height - TIE)
    return corners(left, foot.y + 1 - new_height, new_width, new_height)
