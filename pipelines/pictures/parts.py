"""Connected parts of a mask."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def labelled_parts(mask: np.ndarray, corners: bool = True) -> np.ndarray:
    """The number of the connected part that each pixel of a mask [H,W] bool is in, from 1 on; 0 is none.

    `corners` says whether pixels that touch at a corner are connected.
    """
    labels = np.empty(mask.shape, np.int32)
    ndimage.label(mask, np.ones((3, 3)) if corners else None, output=labels)
    return labels


def largest_part(mask: np.ndarray, corners: bool = True) -> np.ndarray | None:
    """The largest connected part [H,W] bool of a mask [H,W] bool, None where it is empty; `corners` as above."""
    labels = labelled_parts(mask, corners)
    sizes = np.bincount(labels.ravel())[1:]
    return labels == sizes.argmax() + 1 if len(sizes) else None
