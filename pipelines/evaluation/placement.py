"""What an edit changed, told from what JPEG or a VAE does to every pixel, and where the object went.

A mask-free method may put its object anywhere, so what appeared is found first: the largest connected part where the
picture differs from the scene. Shadows belong to it. The rule:

* difference: result - scene, smoothed with its sign by a Gaussian of 1/64 of the longer side (a blurred edge cancels),
  the largest absolute channel; of what is found so, the pixels that differ as much unsmoothed;
* light: where less than a fifth of the pixels is as it was, within 6 of 255, the scene is put in the result's light
  first, shifted or scaled per channel, if it is then twice as near as a plain colour: what is darkened, brightened or
  tinted as a whole is no object. Light that differs from place to place, and contrast, may count as one;
* limit: 30 of 255; where the VAE's own version of the scene is given, 1.5 times the 99.9th percentile of that one's
  difference, but 12 of 255 at least and 60 at most;
* object-sized: at least 1/32 of the shorter side in both directions, at most 80 % of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from PIL.Image import Image
from scipy import ndimage

from ..pictures.masks import Box
from .cases import mask_box

SMOOTH = 1 / 64  # of the longer side
LIMIT, LEAST, MOST = 30 / 255, 12 / 255, 60 / 255
NOISE, QUANTILE = 1.5, 0.999
SMALLEST = 1 / 32  # of the shorter side
LARGEST = 0.8  # of the picture
LIGHT, PLAIN = 6 / 255, 0.5


@dataclass(frozen=True)
class Region:
    """What appeared."""

    mask: np.ndarray  # [H,W] bool
    box: Box


def _pixels(picture: Image) -> np.ndarray:
    """[H,W,3] in 0..1."""
    return np.asarray(picture.convert("RGB"), np.float32) / 255


def _differences(new: np.ndarray, old: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[H,W] in 0..1 each: how much pictures of one size differ, smoothed and not."""
    sigma = SMOOTH * max(new.shape)
    smooth = np.asarray(ndimage.gaussian_filter(new - old, (sigma, sigma, 0)))
    return np.abs(smooth).max(-1), np.abs(new - old).max(-1)


def _relit(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """The scene [H,W,3] in the result's light; itself where the light is the same, or the result another picture."""
    if np.quantile(np.abs(new - old).max(-1), 1 - LARGEST) <= LIGHT:
        return old
    shift = np.median(new - old, (0, 1))
    gain = np.median((new + 1e-3) / (old + 1e-3), (0, 1))  # black is not divided by
    plain = np.median(new, (0, 1))
    lit = min((np.clip(old + shift, 0, 1), np.clip(old * gain, 0, 1)), key=lambda scene: np.abs(new - scene).mean())
    return lit if np.abs(new - lit).mean() <= PLAIN * np.abs(new - plain).mean() else old


def calibrate(scene: Image, restored: Image | None) -> float:
    """The difference above which something changed; `restored` is what the VAE alone makes of the scene."""
    if restored is None:
        return LIMIT
    noise = float(np.quantile(_differences(_pixels(restored), _pixels(scene))[0], QUANTILE))
    return float(np.clip(NOISE * noise, LEAST, MOST))


def find_region(result: Image, scene: Image, limit: float = LIMIT) -> Region | None:
    """What appeared in the result, or None where nothing object-sized did."""
    new, old = _pixels(result), _pixels(scene)
    smooth, sharp = _differences(new, _relit(old, new))
    labels, count = cast(Any, ndimage.label(smooth > limit, np.ones((3, 3))))
    if not count:
        return None
    largest = labels == np.bincount(labels.ravel())[1:].argmax() + 1
    mask = np.asarray(ndimage.binary_fill_holes(largest & (sharp > limit)))
    if not mask.any():
        return None
    x0, y0, x1, y1 = box = mask_box(mask)
    if min(x1 - x0, y1 - y0) < SMALLEST * min(scene.size) or mask.mean() > LARGEST:
        return None
    return Region(mask, box)


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes."""
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    return width * height / (area(a) + area(b) - width * height)


def area(box: Box) -> int:
    """px."""
    return (box[2] - box[0]) * (box[3] - box[1])


def distance(a: Box, b: Box, size: tuple[int, int]) -> float:
    """Between the centres of two boxes, as a share of the diagonal of a picture of (width, height)."""
    dx, dy = ((a[i] + a[i + 2] - b[i] - b[i + 2]) / 2 for i in (0, 1))
    return float(np.hypot(dx, dy) / np.hypot(*size))
