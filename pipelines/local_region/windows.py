"""Where to cut: regions of a mask, and the window around each. Whole pixels only; no picture is touched here.

Boxes are (x0, y0, x1, y1) in px, the far sides exclusive; masks are [H,W] in 0..1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from ..pictures.boxes import Box, corners, moved, slices
from ..pictures.masks import PAINTED, boxes_mask, mask_box, touched_cells
from ..pictures.parts import labelled_parts
from ..pictures.scene import CELL  # sides are multiples of it, and strokes this near to each other are one region

LARGEST = 8192  # px, of a crop as a model sees it
WIDEST = 1000  # of an expansion
MOST = 64  # regions of one mask that are cut each for itself
CHOICES = ("together", "each", "one")
SHAPES = ("square", "box", "scene")


class Region(NamedTuple):
    """A part of a mask: its box, and its own values [h,w] in that box."""

    box: Box
    mask: Tensor


class Window(NamedTuple):
    """A part of a picture, px."""

    left: int
    top: int
    width: int
    height: int

    @property
    def box(self) -> Box:
        """Its box in the picture."""
        return corners(*self)

    @property
    def area(self) -> tuple[slice, slice]:
        """Its rows and columns, for indexing the picture [H,W]."""
        return slices(self.box)

    def slices_of(self, box: Box) -> tuple[slice, slice]:
        """Rows and columns of a box of the picture, for indexing the window's own [h,w]."""
        return slices(moved(box, -self.left, -self.top))


def separate(mask: Tensor, cell: int = CELL) -> list[Region]:
    """The connected regions of a mask [H,W], the one of most pixels first.

    Regions are looked for on a grid of `cell` px, neighbours across corners included: strokes up to a cell apart are
    one region, and a large mask costs little more than reading it once.
    """
    grid = touched_cells(mask[None].float(), cell)[0, 0]
    labels = labelled_parts((grid >= PAINTED).cpu().numpy())
    regions = []
    for label, (rows, columns) in enumerate(ndimage.find_objects(labels), 1):
        top = rows.start * cell
        left = columns.start * cell
        values = mask[top : rows.stop * cell, left : columns.stop * cell]
        own = torch.from_numpy(np.kron(labels[rows, columns] == label, np.ones((cell, cell), bool)))
        values = values * own[: values.shape[0], : values.shape[1]].to(values)
        box = mask_box(values, PAINTED)
        assert box, "a labelled cell has a painted pixel"
        regions.append(Region(moved(box, left, top), values[slices(box)]))
    return sorted(regions, key=lambda region: -int((region.mask >= PAINTED).sum()))


def choose(mask: Tensor, choice: str, index: int = 0) -> list[Region]:
    """Regions of a mask [H,W]: all "together" as one, "each" for itself, or only "one": number `index` by size.

    Raises ValueError for a mask of nothing but faint values, more than `MOST` regions to cut, an index there is no
    region for, or another choice.
    """
    box = mask_box(mask, PAINTED)
    if box is None:
        raise ValueError(
            "The mask is too faint: no pixel of it would survive in 8 bits. Paint it stronger, or give a box."
        )
    if choice == "together":
        return [Region(box, mask[slices(box)])]
    return _chosen(separate(mask), choice, index)


def _chosen(regions: list[Region], choice: str, index: int) -> list[Region]:
    """Each of the regions, or only number `index`."""
    if choice not in CHOICES:
        raise ValueError(f"Unknown choice of regions '{choice}'; use {', '.join(CHOICES)}.")
    if choice == "each":
        if len(regions) > MOST:
            raise ValueError(
                f"The mask has {len(regions):,} regions, and each would be a picture to sample; at most {MOST} are "
                "cut. Use regions = together, or clean the mask of its specks."
            )
        return regions
    if not 0 <= index < len(regions):
        raise ValueError(f"There is no region {index}: the mask has {len(regions)}, counted from 0, the largest first.")
    return [regions[index]]


def choose_boxes(boxes: Sequence[Box], choice: str, index: int = 0) -> list[Region]:
    """`choose` of boxes that lie in a picture, each a region of its own even where they touch; the largest first.

    Raises ValueError for what `choose` refuses.
    """
    if choice == "together":
        left, top = min(box[0] for box in boxes), min(box[1] for box in boxes)
        right, bottom = max(box[2] for box in boxes), max(box[3] for box in boxes)
        inside = [moved(box, -left, -top) for box in boxes]
        mask = boxes_mask([inside], bottom - top, right - left)[0]
        return [Region((left, top, right, bottom), mask.float())]
    sizes = [(x1 - x0, y1 - y0) for x0, y0, x1, y1 in boxes]
    regions = [Region(box, torch.ones(height, width)) for box, (width, height) in zip(boxes, sizes, strict=True)]
    return _chosen(sorted(regions, key=lambda region: -region.mask.numel()), choice, index)


def window_size(box: Box, expansion: float, minimum: int, aspect: float | None) -> tuple[int, int]:
    """Width and height of the window around a box: multiples of 8 px, whatever the picture's size.

    Each side moves out by `expansion` times the box's longer side, at least by `minimum` px; then the shorter side
    grows until width / height is `aspect`, if one is asked for.
    """
    x0, y0, x1, y1 = box
    margin = max(round(expansion * max(x1 - x0, y1 - y0)), minimum)
    width = x1 - x0 + 2 * margin
    height = y1 - y0 + 2 * margin
    if aspect:
        width, height = max(width, round(height * aspect)), max(height, round(width / aspect))
    return width + -width % CELL, height + -height % CELL


def place(box: Box, size: tuple[int, int], height: int, width: int) -> Window:
    """A window of this size (width, height) with the box in its middle, in a picture of `height` x `width` px.

    At a border it is shifted inside; only where the picture is too small for it, it shrinks to the picture's side.
    """
    x0, y0, x1, y1 = box
    window_width = min(size[0], width)
    window_height = min(size[1], height)
    left = min(max((x0 + x1 - window_width) // 2, 0), width - window_width)
    top = min(max((y0 + y1 - window_height) // 2, 0), height - window_height)
    return Window(left, top, window_width, window_height)


def windows(
    boxes: Sequence[Box], height: int, width: int, *, expansion: float = 0.5, minimum: int = 32, shape: str = "square"
) -> list[Window]:
    """A window around each box. All have the size of the largest, so that they make one batch at one scale.

    `shape` is "square", "box" (as it comes) or "scene" (the picture's). Raises ValueError for another one, a negative
    expansion or minimum, or an expansion beyond all pictures.
    """
    aspects = {"square": 1.0, "box": None, "scene": width / height}
    if shape not in aspects:
        raise ValueError(f"Unknown window shape '{shape}'; use {', '.join(SHAPES)}.")
    if not (0 <= expansion <= WIDEST and minimum >= 0):
        raise ValueError(
            f"expansion and minimum must be 0 or more, and expansion at most {WIDEST}; got {expansion} and {minimum}."
        )
    sizes = [window_size(box, expansion, minimum, aspects[shape]) for box in boxes]
    largest = (max(width for width, _ in sizes), max(height for _, height in sizes))
    return [place(box, largest, height, width) for box in boxes]


def crop_size(window: Window, working_size: int) -> tuple[int, int]:
    """Width and height of a window as the model sees it: the longer side `working_size`, or 0 for the window's own.

    Both are multiples of 8; the shorter one is rounded, so the crop may be stretched by less than half a cell. Raises
    ValueError for a size below 0, or above what any model works at.
    """
    if not 0 <= working_size <= LARGEST:
        raise ValueError(f"The working size must be from 0 to {LARGEST} px; got {working_size}.")
    scale = working_size / max(window.width, window.height) if working_size else 1.0

    def whole_cells(side: int) -> int:
        return max(CELL, int(side * scale / CELL + 0.5) * CELL)

    return whole_cells(window.width), whole_cells(window.height)
