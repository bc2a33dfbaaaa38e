"""Masks made larger or smaller by a disc. Only the part of a picture that a mask lies in is gone over."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def disc(radius: float) -> np.ndarray:
    """A disc as a structuring element, of one px at least."""
    reach = max(1, round(radius))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    return x * x + y * y <= (reach + 0.3) ** 2


def dilated(mask: np.ndarray, radius: float) -> np.ndarray:
    """A mask [H,W] bool and what lies within this radius of it."""
    element = disc(radius)
    part = part_of(mask, len(element) // 2)
    made = np.zeros_like(mask)
    made[part] = ndimage.binary_dilation(mask[part], element)
    return made


def opened(mask: np.ndarray, radius: float) -> np.ndarray:
    """A mask [H,W] bool without what a disc of this radius does not fit into."""
    part = part_of(mask)
    made = np.zeros_like(mask)
    made[part] = ndimage.binary_opening(mask[part], disc(radius))
    return made


def closed(mask: np.ndarray, radius: float) -> np.ndarray:
    """A mask [H,W] bool with the gaps closed that such a disc does not fit into."""
    part = part_of(mask)
    margin = round(radius) + 1
    made = np.zeros_like(mask)
    padded = np.pad(mask[part], margin)
    made[part] = ndimage.binary_closing(padded, disc(radius))[margin:-margin, margin:-margin]
    return made


def part_of(mask: np.ndarray, margin: int = 0) -> tuple[slice, slice]:
    """The rows and columns of a mask [H,W] bool between which all of it lies, and a margin; none of an empty one."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if not len(rows):
        return slice(0), slice(0)
    ends = ((rows[0], rows[-1]), (columns[0], columns[-1]))
    down, across = (slice(max(0, first - margin), last + 1 + margin) for first, last in ends)
    return down, across
