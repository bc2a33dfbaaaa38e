"""What an edit changed: the object and its shadow, told from what a VAE does to every pixel."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

FAINT, CLEAR = 12 / 255, 36 / 255  # a VAE stays below the second nearly everywhere
SMALLEST = 1 / 16  # of the picture's shorter side: what is smaller in both directions is the VAE's
SMOOTH = 1 / 64  # of the longer side


def changed_pixels(edited: np.ndarray, original: np.ndarray) -> np.ndarray:
    """Pixels [H,W] bool of a picture [H,W,3], 0..1, that an edit changed.

    The rule: the difference, smoothed by a Gaussian of 1/64 of the longer side, is above 12/255 in some channel, in a
    connected part that rises above 36/255 on 1/16 of the shorter side; holes in it belong to it. It is smoothed with
    its sign: where a VAE blurs an edge, it takes on one side what it gives on the other.
    """
    height, width = original.shape[:2]
    sigma = SMOOTH * max(height, width)
    difference = np.abs(np.asarray(ndimage.gaussian_filter(edited - original, (sigma, sigma, 0)))).max(-1)
    labels = np.empty((height, width), np.int32)
    ndimage.label(difference > FAINT, np.ones((3, 3)), output=labels)
    smallest = SMALLEST * min(height, width)
    kept = np.zeros(labels.max() + 1, bool)
    for label, found in enumerate(ndimage.find_objects(labels), 1):
        clear = (labels[found] == label) & (difference[found] > CLEAR)
        kept[label] = max(clear.any(1).sum(), clear.any(0).sum()) >= smallest
    return np.asarray(ndimage.binary_fill_holes(kept[labels]))


def changes(edited: Tensor, originals: Tensor) -> Tensor:
    """Masks [N,H,W], 0 or 1, of what is different in edited pictures [N,H,W,3] of `originals`."""
    pairs = zip(edited.float().cpu().numpy(), originals.float().cpu().numpy(), strict=True)
    return torch.from_numpy(np.stack([changed_pixels(new, old) for new, old in pairs])).float()
