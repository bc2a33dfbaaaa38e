"""The shadow of an object on the ground it stands on, in soft light from straight above.

Two shadows lie over each other: a wide and faint one, the silhouette laid flat on the ground, and a narrow and dark one
that follows the silhouette's lower edge and fades above the ground. Their measures are chosen by eye.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

DEPTH = 0.22  # of the width: how deep the object's footprint is seen, as from a little above
BEFORE = 0.35  # of that depth: the part in front of the lower edge
WIDE, NARROW = 0.55, 0.9  # how dark the two shadows are at most
BLUR = 0.5  # of the depth: standard deviation of the wide one at full softness
SHARPER = 0.25  # the same of the narrow one
SHIFT = 0.4  # how far the narrow one is moved down, in standard deviations of the wide one
FLAT = 0.4  # blur in depth, of that along the ground
REACH = 3  # standard deviations
FADE = 2.5  # of the depth: from so far above the ground on there is no shadow
ENOUGH = 512  # px of the longer side: a larger shadow is only blurred more
LEAST = 1 / 255  # of darkness: what is fainter than one level is none


def ground_shadow(opacity: Tensor, *, strength: float, softness: float) -> tuple[Tensor, int, int]:
    """(darkness [H,W] in 0..1, left, top) of an object of opacity [h,w]; the corner is counted from the object's own.

    A scene is multiplied with 1 - darkness. Strength and softness are in 0..1; at softness 0 it still is a little soft.
    """
    height, width = opacity.shape
    step = -(-max(height, width) // ENOUGH)
    if step > 1:
        coarse = F.interpolate(opacity[None, None], (-(-height // step), -(-width // step)), mode="area")[0, 0]
        darkness, left, top = ground_shadow(coarse, strength=strength, softness=softness)
        fine = F.interpolate(darkness[None, None], scale_factor=step, mode="bilinear")[0, 0]
        return torch.where(fine < LEAST, 0.0, fine), left * step, height + (top - len(coarse)) * step
    depth = max(2, round(DEPTH * min(width, 2 * height)))
    sigma = max(0.5, (0.3 + 0.7 * softness) * BLUR * depth)
    margin = int(np.ceil(REACH * sigma))
    below = int(np.ceil(depth + REACH * FLAT * sigma))
    above = int(np.ceil(FADE * depth))
    flat = F.interpolate(opacity[None, None], (depth, width), mode="area")[0, 0]
    ground = F.pad(flat, (margin, margin, above - depth + round(BEFORE * depth), below - round(BEFORE * depth)))
    lower = opacity[-above:]
    standing = F.pad(lower, (margin, margin, above - len(lower), below)).roll(max(1, round(SHIFT * sigma)), 0)
    wide = np.asarray(ndimage.gaussian_filter(ground.numpy(), (FLAT * sigma, sigma)))
    narrow = np.asarray(ndimage.gaussian_filter(standing.numpy(), SHARPER * sigma))
    height_above = np.arange(above, -below, -1).clip(0)[:, None]
    narrow = narrow * np.exp(-((height_above / depth) ** 2))
    darkness = strength * (1 - (1 - WIDE * wide) * (1 - NARROW * narrow))
    shadow = torch.from_numpy(darkness.astype(np.float32)).clamp(0, 1)
    return torch.where(shadow < LEAST, 0.0, shadow), -margin, height - above
