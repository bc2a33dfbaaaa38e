"""What an edit changed, told from what JPEG or a VAE does to every pixel, by two rules for two uses.

`changed_pixels` is for pasting an edit back: all that it touched, in however many parts. `inserted_pixels` is for
measuring where an object went that no mask had a place for: one object-sized part, whatever the light did elsewhere.
Shadows belong to both. Both smooth the difference with its sign: where a VAE blurs an edge, it takes on one side what
it gives on the other.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from .masks import array_box
from .parts import labelled_parts, largest_part

SMOOTH = 1 / 64  # of the longer side

# What is pasted.
FAINT = 12 / 255
CLEAR = 36 / 255  # a VAE stays below it nearly everywhere
SMALLEST = 1 / 16  # of the picture's shorter side: what is smaller in both directions is the VAE's

# What counts as an object.
LIMIT = 30 / 255  # where no VAE is known
LEAST = 12 / 255  # where one is, the limit follows it from here
MOST = 60 / 255  # to here
NOISE = 1.5  # times
QUANTILE = 0.999  # of what the VAE does
SMALLEST_OBJECT = 1 / 32  # of the shorter side
LARGEST_OBJECT = 0.8  # of the picture
SAME_LIGHT = 6 / 255
PLAIN = 0.5  # how much nearer than a plain colour a scene in another light must be


def smooth_difference(edited: np.ndarray, original: np.ndarray) -> np.ndarray:
    """How much pictures [H,W,3] in 0..1 differ in some channel, smoothed by a Gaussian of 1/64 of the longer side."""
    sigma = SMOOTH * max(original.shape[:2])
    return np.abs(np.asarray(ndimage.gaussian_filter(edited - original, (sigma, sigma, 0)))).max(-1)


def changed_pixels(edited: np.ndarray, original: np.ndarray) -> np.ndarray:
    """Pixels [H,W] bool of a picture [H,W,3], 0..1, that an edit changed.

    The rule: the difference, smoothed with its sign, is above 12/255 in some channel, in a connected part that rises
    above 36/255 on 1/16 of the shorter side; holes in it belong to it.
    """
    difference = smooth_difference(edited, original)
    labels = labelled_parts(difference > FAINT)
    smallest = SMALLEST * min(original.shape[:2])
    kept = np.zeros(labels.max() + 1, bool)
    for label, place in enumerate(ndimage.find_objects(labels), 1):
        clear = (labels[place] == label) & (difference[place] > CLEAR)
        kept[label] = max(clear.any(1).sum(), clear.any(0).sum()) >= smallest
    return np.asarray(ndimage.binary_fill_holes(kept[labels]))


def changes(edited: Tensor, originals: Tensor) -> Tensor:
    """Masks [N,H,W], 0 or 1, of what is different in edited pictures [N,H,W,3] of `originals`."""
    pairs = zip(edited.float().cpu().numpy(), originals.float().cpu().numpy(), strict=True)
    return torch.from_numpy(np.stack([changed_pixels(new, old) for new, old in pairs])).float()


def relit(original: np.ndarray, edited: np.ndarray) -> np.ndarray:
    """The original [H,W,3], 0..1, in the light of its edit; itself where the light is the same or nothing explains it.

    Where less than a fifth of the pixels is as it was, within 6/255, it is shifted or scaled per channel, if it is then
    twice as near as a plain colour. Light that differs from place to place, and contrast, are not explained.
    """
    difference = edited - original
    if np.quantile(np.abs(difference).max(-1), 1 - LARGEST_OBJECT) <= SAME_LIGHT:
        return original
    shift = np.median(difference, (0, 1))
    gain = np.median((edited + 1e-3) / (original + 1e-3), (0, 1))  # black is not divided by
    lights = (np.clip(original + shift, 0, 1), np.clip(original * gain, 0, 1))
    distances = [np.abs(edited - light).mean() for light in lights]
    plain_distance = np.abs(edited - np.median(edited, (0, 1))).mean()
    return lights[int(np.argmin(distances))] if min(distances) <= PLAIN * plain_distance else original


def noise_limit(original: np.ndarray, decoded: np.ndarray) -> float:
    """The limit of `inserted_pixels` where a VAE makes `decoded` of the original, both [H,W,3] in 0..1.

    1.5 times the 99.9th percentile of their smoothed difference, but 12/255 at least and 60/255 at most.
    """
    noise = np.quantile(smooth_difference(decoded, original), QUANTILE)
    return float(np.clip(NOISE * float(noise), LEAST, MOST))


def inserted_pixels(edited: np.ndarray, original: np.ndarray, limit: float = LIMIT) -> np.ndarray | None:
    """Pixels [H,W] bool of the object that appeared in a picture [H,W,3], 0..1; None where nothing object-sized did.

    The rule: the original is put in the edit's light (`relit`); of the largest connected part where the difference,
    smoothed with its sign, is above `limit`, the pixels that differ as much unsmoothed, and the holes in them. It is
    at least 1/32 of the shorter side in both directions and at most 80 % of the picture.
    """
    original = relit(original, edited)
    part = largest_part(smooth_difference(edited, original) > limit)
    if part is None:
        return None
    mask = np.asarray(ndimage.binary_fill_holes(part & (np.abs(edited - original).max(-1) > limit)))
    if not mask.any() or mask.mean() > LARGEST_OBJECT:
        return None
    x0, y0, x1, y1 = array_box(mask)
    return mask if min(x1 - x0, y1 - y0) >= SMALLEST_OBJECT * min(mask.shape) else None
