"""Masks of pictures, 1 or True where a picture may change: checked, made of a box or into one, and in latent cells."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .batches import paired
from .boxes import Box, Boxes, clip_box, from_bounding_boxes, slices
from .checks import check_finite, check_size, mask_batch
from .parts import labelled_parts

LOG = logging.getLogger(__name__)
PAINTED = 0.5 / 255  # a mask's faintest value that 8 bits keep; the endless tail of a blurred mask lies below
FAINT = 3.5 / 255  # what a lossy file makes of black lies below
NOISE = 1 / 4  # of what is not clearer
STRAY = 1 / 16  # of a mask's largest value


def box_mask(box: Box, height: int, width: int) -> Tensor:
    """The mask [H,W] bool of a filled box; what lies outside the picture is cut off.

    Raises ValueError when nothing lies inside.
    """
    return boxes_mask([[box]], height, width)[0]


def boxes_mask(boxes: Boxes, height: int, width: int) -> Tensor:
    """The masks [N,H,W] bool of the filled boxes of each picture, all False for one without.

    Raises ValueError for a box of which nothing lies inside.
    """
    masks = torch.zeros(len(boxes), height, width, dtype=torch.bool)
    for mask, own in zip(masks, boxes, strict=True):
        for box in own:
            mask[slices(clip_box(box, height, width))] = True
    return masks


def painted_mask(mask: Tensor | None) -> Tensor | None:
    """The mask as it is, or None where nothing is above 0: an unpainted mask of any size counts as no mask.

    Load Image always gives one: what was painted in its editor, otherwise black, of 64x64 px where the file has no
    alpha. NaN is something painted, and refused where the mask is read.
    """
    return None if mask is None or (len(mask) and (mask <= 0).all()) else mask


def optional_mask(mask: Tensor | None, height: int, width: int) -> Tensor | None:
    """`check_mask` of a mask that need not be, in 0..1: None for no mask, and for an unpainted one."""
    mask = painted_mask(mask)
    return None if mask is None else check_mask(mask, height, width).clamp_(0, 1)


def mask_inside(mask: Tensor, boxes: Boxes) -> Tensor:
    """The part of masks [B,H,W] that lies in the boxes of their pictures, [B,H,W]; one of either serves several.

    Without boxes for any picture, [], all of it. Raises ValueError when no mask has such a part, or the numbers do not
    pair up.
    """
    if not boxes:
        return mask
    paired(masks=len(mask), pictures_with_boxes=len(boxes))
    inside = torch.where(boxes_mask(boxes, *mask.shape[1:]).to(mask.device), mask, 0)
    if not inside.any():
        raise ValueError("The mask is empty inside the box. Move the box over what is painted, or take it away.")
    return inside


def chosen_places(
    pictures: Tensor, mask: Tensor | None, bounding_box: Any, box: Box | None, *, count: int | None = None
) -> tuple[Tensor | None, Boxes]:
    """(mask, boxes) that say where in pictures [B,H,W,C], out of a node's mask, BOUNDING_BOX and box of widgets.

    The one rule of the pack: what is connected replaces the widgets' box, and an unpainted mask is not connected. A
    mask and a BOUNDING_BOX are both meant: what is masked within the boxes. Raises ValueError for what
    `from_bounding_boxes` refuses, and for boxes of another number of pictures. `count` is that number where one of
    these pictures serves several others.
    """
    count = count or len(pictures)
    mask = painted_mask(mask)
    if bounding_box is None:
        return mask, [[box]] if box and mask is None else []
    boxes = from_bounding_boxes(bounding_box, *pictures.shape[1:3])
    if len(boxes) not in (1, count):
        raise ValueError(
            f"The bounding boxes are those of {len(boxes)} pictures, but {count} are connected. Detect or draw "
            "them in these pictures, or give one list for all."
        )
    return mask, boxes


def mask_in_boxes(pictures: Tensor, mask: Tensor | None, bounding_box: Any, *, count: int) -> Tensor | None:
    """The masks [B,H,W] of pictures [B,H,W,C] that a node's mask, its BOUNDING_BOX or both together say; None for none.

    `count` is that of `chosen_places`. Raises ValueError for what that, `check_mask` and `mask_inside` refuse.
    """
    height, width = pictures.shape[1:3]
    mask, boxes = chosen_places(pictures, mask, bounding_box, None, count=count)
    if mask is None:
        return boxes_mask(boxes, height, width).float() if boxes else None
    return mask_inside(check_mask(mask, height, width), boxes) if boxes else mask


def chosen_boxes(pictures: Tensor, mask: Tensor | None, bounding_box: Any, box: Box | None) -> Boxes:
    """The boxes of each picture that `chosen_places` says; of a mask the one around what is masked within them.

    Raises ValueError for what `chosen_places` and `masks_to_boxes` refuse.
    """
    mask, boxes = chosen_places(pictures, mask, bounding_box, box)
    return boxes if mask is None else masks_to_boxes(mask, boxes, *pictures.shape[1:3])


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
    """The masks of scenes in any form of `mask_batch` as [B,H,W] float32, without noise; what is below 0 counts as 0.

    A mask of a batch may be empty: its picture stays as it is, and the log names it. Raises ValueError where all are
    empty or one is nothing but noise, and for another size than the scene's, NaN or infinity.
    """
    mask = mask_batch(mask)
    check_finite(mask.sum(dtype=torch.float32), "The mask")  # what is not finite stays so in the sum
    painted = (mask > 0).flatten(1).any(1)
    if not painted.any():
        raise ValueError(
            "The mask is empty: nothing is painted in it, and here one is needed. Paint it, or make one with Box to "
            "Mask."
        )
    check_size(mask, height, width, "The mask", of="the scene", advice="Resize the mask to the scene first.")
    for index in (~painted).nonzero()[:, 0].tolist():
        LOG.warning("Visual Insertion: mask %d of 0 to %d is empty; its picture stays as it is.", index, len(mask) - 1)
    return torch.stack([without_noise(one) for one in mask]).clamp_min_(0)


def without_noise(mask: Tensor) -> Tensor:
    """A mask [H,W] without what a file or a brush left beside what was painted; itself where there is nothing such.

    Values below 3.5/255 are noise where they cover a quarter or more of all that is not clearer. A connected part of
    which no value reaches 1/16 of the mask's largest is a stray. A soft rim is neither. Raises ValueError for a mask of
    nothing but noise.
    """
    peak = float(mask.max())
    if peak <= 0:
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
    labels = labelled_parts(painted)
    stray = np.ones(labels.max() + 1, bool)
    stray[labels[(mask >= peak * STRAY).cpu().numpy()]] = False
    stray[0] = False  # what is not painted
    return mask.masked_fill(noise | torch.from_numpy(stray[labels]).to(mask.device), 0)


def touched_cells(mask: Tensor, cell: int) -> Tensor:
    """Masks [B,H,W] in latent cells of `cell` px, [B,1,h,w]: as free as a cell's freest pixel; no stroke is too thin.

    At the far sides a part of a cell is a cell.
    """
    return F.max_pool2d(mask[:, None], cell, ceil_mode=True)


def masks_to_boxes(mask: Tensor, inside: Boxes, height: int, width: int) -> list[list[Box]]:
    """The box around each mask of a picture, or around what of it lies `inside` boxes; none for an empty one.

    Raises ValueError for what `check_mask` and `mask_inside` refuse, and for a mask that has no pixel of 0.5 or more
    and is not empty.
    """
    masks = mask_inside(check_mask(mask, height, width), inside)
    boxes = [mask_box(one) for one in masks]
    if any(box is None and one.any() for box, one in zip(boxes, masks, strict=True)):
        raise ValueError("The mask is too faint for a box: no pixel of it is 0.5 or more.")
    return [[box] if box else [] for box in boxes]
