"""Masks of pictures, 1 or True where a picture may change: checked, made of a box or into one, and in latent cells."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .boxes import Box, clip_box, slices
from .checks import check_finite, check_size, mask_batch


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
    """The mask [H,W] or masks [B,H,W] of a scene as [B,H,W].

    Raises ValueError for an empty mask, another size than the scene's, NaN or infinity.
    """
    mask = mask_batch(mask)
    check_finite(mask.sum(dtype=torch.float32), "The mask")  # what is not finite stays so in the sum
    if not mask.flatten(1).any(1).all():
        raise ValueError("The mask is empty: it says of no pixel that it may change. Paint one, or disconnect it.")
    check_size(mask, height, width, "The mask", of="the scene", advice="Resize the mask to the scene first.")
    return mask


def touched_cells(mask: Tensor, cell: int) -> Tensor:
    """Masks [B,H,W] in latent cells of `cell` px, [B,1,h,w]: as free as a cell's freest pixel; no stroke is too thin.

    At the far sides a part of a cell is a cell.
    """
    return F.max_pool2d(mask[:, None], cell, ceil_mode=True)


def mask_boxes(mask: Tensor, height: int, width: int) -> list[Box]:
    """The box around each of the masks [B,H,W] or [H,W] of a picture.

    Raises ValueError for what `check_mask` refuses, and for a mask without a pixel of 0.5 or more.
    """
    boxes = [mask_box(one) for one in check_mask(mask, height, width)]
    if None in boxes:
        raise ValueError("The mask is too faint for a box: no pixel of it is 0.5 or more.")
    return [box for box in boxes if box]
