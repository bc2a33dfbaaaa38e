"""Where a method put the object: it may put it anywhere, so what appeared is found first, then compared with the truth.

What appeared, and by which limit a VAE's noise is told from it, is `pictures.changes`' rule; shadows belong to it.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL.Image import Image
from torchvision.ops import box_iou

from ..pictures.changes import LIMIT, inserted_pixels, noise_limit
from ..pictures.masks import Box, array_box


def _pixels(picture: Image) -> np.ndarray:
    """[H,W,3] in 0..1."""
    return np.asarray(picture.convert("RGB"), np.float32) / 255


def change_limit(scene: Image, vae_scene: Image | None) -> float:
    """The difference, 0..1, above which something changed; `vae_scene` is what the VAE alone makes of the scene."""
    return LIMIT if vae_scene is None else noise_limit(_pixels(scene), _pixels(vae_scene))


def inserted_box(result: Image, scene: Image, limit: float = LIMIT) -> Box | None:
    """The box of what appeared in the result, or None where nothing object-sized did; pictures of one size."""
    mask = inserted_pixels(_pixels(result), _pixels(scene), limit)
    return None if mask is None else array_box(mask)


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, 0..1."""
    boxes = torch.tensor([a, b], dtype=torch.float64)
    return float(box_iou(boxes[:1], boxes[1:]))


def area(box: Box) -> int:
    """The number of pixels in a box."""
    x0, y0, x1, y1 = box
    return (x1 - x0) * (y1 - y0)


def distance(a: Box, b: Box, size: tuple[int, int]) -> float:
    """How far the centres of two boxes are apart, as a share of the diagonal of a picture of (width, height)."""
    dx = (a[0] + a[2] - b[0] - b[2]) / 2
    dy = (a[1] + a[3] - b[1] - b[3]) / 2
    return float(np.hypot(dx, dy) / np.hypot(*size))
