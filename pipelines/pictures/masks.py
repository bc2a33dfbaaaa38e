"""Masks of pictures, 1 or True where a picture may change: checked, made of a box or into one, and in latent cells."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from .boxes import Box, clip_box, slices
from .checks import check_finite, check_size, mask_batch

LOG = logging.getLogger(__name__)
PAINTED = 0.5 / 255  # a mask's faintest value that 8 bits keep; the endless tail of a blurred mask lies below
FAINT = 3.5 / 255  # what a lossy file makes of black lies below
NOISE = 1 / 4  # of what is not clearer
STRAY = 1 / 16  # of a mask's largest value


def box_mask(box: Box, height: int, width: int) -> Tensor:
    """The mask [H,W] bool of a filled box; what lies outside the picture is cut off.

    Raises ValueError when nothing lies inside.
    """
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[slices(clip_box(box, height, width))] = True
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
    """The masks of scenes in any form of `mask_batch` as [B,H,W] float32, without noise.

    A mask of a batch may be empty: its picture stays as it is, and the log names it. Raises ValueError where all are
    empty or one is nothing but noise, and for another size than the scene's, NaN or infinity.
    """
    mask = mask_batch(mask)
    check_finite(mask.sum(dtype=torch.float32), "The mask")  # what is not finite stays so in the sum
    painted = mask.flatten(1).any(1)
    if not painted.any():
        raise ValueError("The mask is empty: it says of no pixel that it may change. Paint one, or disconnect it.")
    check_size(mask, height, width, "The mask", of="the scene", advice="Resize the mask to the scene first.")
    for index in (~painted).nonzero()[:, 0].tolist():
        LOG.warning("Visual Insertion: mask %d of 0 to %d is empty; its picture stays as it is.", index, len(mask) - 1)
    return torch.stack([without_noise(one) for one in mask])


def without_noise(mask: Tensor) -> Tensor:
    """A mask [H,W] without what a file or a brush left beside what was painted; itself where there is nothing such.

    Values below 3.5/255 are noise where they cover a quarter or more of all that is not clearer. A connected part of
    which no value reaches 1/16 of the mask's largest is a stray. A soft rim is neither. Raises ValueError for a mask of
    nothing but noise.
    """
    peak = float(mask.max())
    if not peak:
        return mask
    if peak < FAINT:
        raise ValueError(
            f"The mask is too faint: no pixel of it would survive the noise of a file, its largest value is "
            f"{peak:.2g} and only from {FAINT:.2g} on it counts. Paint it stronger, or give a box."
        )
    weak = (mask >= PAINTED) & (mask < peak * STRAY)
    if not weak.any():
        return mask
    clear = int((mask >= FAINT).sum())
    faint = (mask >= PAINTED) & (mask < FAINT)
    noise = faint if int(faint.sum()) >= NOISE * (mask.numel() - clear) else torch.zeros_like(faint)
    painted = ((mask >= PAINTED) & ~noise).cpu().numpy()
    labels = np.empty(painted.shape, np.int32)
    count: Any = ndimage.label(painted, np.ones((3, 3)), output=labels)
    stray = np.ones(count + 1, bool)
    stray[labels[(mask >= peak * STRAY).cpu().numpy()]] = False
    stray[0] = False  # what is not painted
    return mask.masked_fill(noise | torch.from_numpy(stray[labels]).to(mask.device), 0)


def touched_cells(mask: Tensor, cell: int) -> Tensor:
    """Masks [B,H,W] in latent cells of `cell` px, [B,1,h,w]: as free as a cell's freest pixel; no stroke is too thin.

    At the far sides a part of a cell is a cell.
    """
    return F.max_pool2d(mask[:, None], cell, ceil_mode=True)


def mask_boxes(mask: Tensor, height: int, width: int) -> list[Box | None]:
    """The box around each mask of a picture, None for one that is empty.

    Raises ValueError for what `check_mask` refuses, and for a mask that has no pixel of 0.5 or more and is not empty.
    """
    masks = check_mask(mask, height, width)
    boxes = [mask_box(one) for one in masks]
    if any(box is None and one.any() for box, one in zip(boxes, masks, strict=True)):
        raise ValueError("The mask is too faint for a box: no pixel of it is 0.5 or more.")
    return boxes
