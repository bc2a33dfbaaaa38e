"""Masks from a box: the box itself, and the arbitrary shape around it that Paint by Example trains with.

A box is (x0, y0, x1, y1) in px, the far sides exclusive; masks are bool [H,W], True where the picture may change.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from .scene import pad_to_multiple

Box = tuple[int, int, int, int]
SAMPLES, JITTER, SHARE = 18, 5, 0.4  # of Paint by Example, arXiv 2211.13227, as its authors' code has them


def clip_box(box: Box, height: int, width: int) -> Box:
    """The part of a box inside a picture. Raises ValueError when there is none."""
    x0, y0, x1, y1 = box
    inside = (max(x0, 0), max(y0, 0), min(x1, width), min(y1, height))
    if inside[0] >= inside[2] or inside[1] >= inside[3]:
        raise ValueError(
            f"The box from ({x0}, {y0}) to ({x1}, {y1}) covers no pixel of the {width}x{height} px picture. "
            "Move it inside, and give it a width and a height of 1 px or more."
        )
    return inside


def box_mask(box: Box, height: int, width: int) -> Tensor:
    """The box, filled; what lies outside the picture is cut off. Raises ValueError when nothing lies inside."""
    x0, y0, x1, y1 = clip_box(box, height, width)
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[y0:y1, x0:x1] = True
    return mask


def mask_box(mask: Tensor, threshold: float = 0.5) -> Box | None:
    """The smallest box around the pixels of a mask [H,W] of at least `threshold`; None when there are none."""
    painted = mask if mask.dtype == torch.bool else mask >= threshold
    rows, columns = painted.any(1).nonzero(), painted.any(0).nonzero()
    if not len(rows):
        return None
    return (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def array_box(mask: np.ndarray) -> Box:
    """`mask_box` of an array [H,W] bool. Raises ValueError for an empty one."""
    box = mask_box(torch.tensor(mask))
    if box is None:
        raise ValueError("The mask is empty: it has no box.")
    return box


def check_mask(mask: Tensor, height: int, width: int) -> Tensor:
    """The mask [H,W] or masks [B,H,W] of a scene as [B,H,W].

    Raises ValueError for an empty mask, another size than the scene's, NaN or infinity.
    """
    mask = mask if mask.ndim == 3 else mask[None]
    if not torch.isfinite(mask.sum(dtype=torch.float32)):
        raise ValueError("The mask holds values that are not finite (NaN or infinity).")
    if not mask.flatten(1).any(1).all():
        raise ValueError("The mask is empty: it says of no pixel that it may change. Paint one, or disconnect it.")
    if mask.shape[1:] != (height, width):
        raise ValueError(
            f"The mask is {mask.shape[-1]}x{mask.shape[-2]} px, the scene {width}x{height} px. "
            "Resize the mask to the scene first."
        )
    return mask


def touched_cells(mask: Tensor, cell: int) -> Tensor:
    """Masks [B,H,W] in latent cells of `cell` px, [B,1,h,w]: as free as a cell's freest pixel; no stroke is too thin.

    What is missing to a whole cell at the far sides is the last row's and column's.
    """
    return F.max_pool2d(pad_to_multiple(mask[..., None], cell).movedim(-1, 1), cell)


def mask_boxes(mask: Tensor, height: int, width: int) -> list[Box]:
    """The box around each of the masks [B,H,W] or [H,W] of a picture. Raises ValueError for what `check_mask` refuses,
    and for a mask without a pixel of 0.5 or more."""
    boxes = [mask_box(one) for one in check_mask(mask, height, width)]
    if None in boxes:
        raise ValueError("The mask is too faint for a box: no pixel of it is 0.5 or more.")
    return [box for box in boxes if box]


def _integer(low: int, high: int, generator: Generator) -> int:
    """A random whole number from `low` to `high`, both included."""
    return int(torch.randint(low, high + 1, (), generator=generator))


def extended_box(box: Box, height: int, width: int, generator: Generator, share: float = SHARE) -> Box:
    """The box with each side moved out by a random part, at most `share` 0..1, of the room to the picture's border."""
    x0, y0, x1, y1 = clip_box(box, height, width)
    left, top, right, bottom = (_integer(0, int(share * room), generator) for room in (x0, y0, width - x1, height - y1))
    return (x0 - left, y0 - top, x1 + right, y1 + bottom)


def outline(box: Box, extended: Box, generator: Generator, samples: int = SAMPLES, jitter: int = JITTER) -> Tensor:
    """Points [4*samples,2] (x, y) around a box: one quadratic Bezier curve per side, corner to corner.

    A side's middle control point lies on the same side of the `extended` box. Points are `samples` per side at
    t = k / (samples + 2), moved by whole numbers of px from -`jitter` to `jitter`. At 18 samples: t = .05 to .90.
    """
    x0, y0, x1, y1 = (float(side) for side in box)
    left, top, right, bottom = (float(side) for side in extended)
    middle_x, middle_y = (x0 + x1) / 2, (y0 + y1) / 2
    corners = torch.tensor([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    controls = torch.tensor([[middle_x, top], [right, middle_y], [middle_x, bottom], [left, middle_y]])
    t = (torch.arange(1, samples + 1) / (samples + 2))[:, None]
    start, control, end = corners[:, None], controls[:, None], corners.roll(-1, 0)[:, None]
    points = (1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * end
    moved = torch.randint(-jitter, jitter + 1, points.shape, generator=generator)
    return (points + moved).flatten(0, 1)


def polygon_mask(points: Tensor, height: int, width: int) -> Tensor:
    """Pixels [H,W] whose centre a closed polygon [N,2] (x, y) winds around, whatever its direction.

    Each edge adds its direction where a row of pixel centres crosses it; summed from the left this is the winding
    number, so a polygon that crosses itself has no holes.
    """
    start, end = points.double(), points.double().roll(-1, 0)
    rows = torch.arange(height, dtype=torch.float64) + 0.5
    direction = (end[:, 1:] > rows).int() - (start[:, 1:] > rows).int()  # [N,H]: 1 down, -1 up, 0 no crossing
    edge, row = direction.nonzero(as_tuple=True)
    (x, y), (dx, dy) = start[edge].T, (end - start)[edge].T
    first = (x + (rows[row] - y) / dy * dx - 0.5).ceil().clamp(0, width).long()  # first centre right of the crossing
    winding = torch.zeros(height, width + 1, dtype=torch.int32)
    winding.index_put_((row, first), direction[edge, row].int(), accumulate=True)
    return winding.cumsum(1)[:, :width] != 0


def arbitrary_mask(
    box: Box,
    height: int,
    width: int,
    generator: Generator,
    samples: int = SAMPLES,
    jitter: int = JITTER,
    extended: Box | None = None,
) -> Tensor:
    """An arbitrary shape around a box, Paint by Example's mask augmentation (arXiv 2211.13227, section 3.3).

    `extended` is how far the shape may bulge, a random `extended_box` by default. The box's middle always belongs,
    so the mask is never empty. `jitter` is in px of this picture; the reference's 5 suits pictures of 512 px.
    Raises ValueError for a box outside the picture, less than one sample a side, or a negative jitter.
    """
    if samples < 1 or jitter < 0:
        raise ValueError(f"samples must be 1 or more and jitter 0 or more; got {samples} and {jitter}.")
    box = clip_box(box, height, width)
    extended = extended or extended_box(box, height, width, generator)
    mask = polygon_mask(outline(box, extended, generator, samples, jitter), height, width)
    mask[math.floor((box[1] + box[3]) / 2), math.floor((box[0] + box[2]) / 2)] = True
    return mask
