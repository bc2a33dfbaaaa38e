"""Pictures and masks in another size."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def resize(pictures: Tensor, width: int, height: int) -> Tensor:
    """Pictures [B,H,W,C] in another size: bicubic, antialiased, within their own range. The same size is untouched."""
    if pictures.shape[1:3] == (height, width):
        return pictures
    planes = pictures.movedim(-1, 1).float()
    resized = F.interpolate(planes, (height, width), mode="bicubic", antialias=True)
    low, high = planes.amin((1, 2, 3), keepdim=True), planes.amax((1, 2, 3), keepdim=True)
    return resized.clamp(low, high).movedim(1, -1).to(pictures.dtype)


def resize_mask(masks: Tensor, width: int, height: int) -> Tensor:
    """Masks [B,H,W] in another size; when they shrink a pixel takes the largest value, so no stroke is too thin."""
    planes = masks[:, None].float()
    smaller = (min(height, planes.shape[2]), min(width, planes.shape[3]))
    planes = F.adaptive_max_pool2d(planes, smaller)
    if smaller != (height, width):
        planes = F.interpolate(planes, (height, width), mode="bilinear")
    return planes[:, 0].clamp(0, 1)
