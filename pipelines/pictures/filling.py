"""Holes of pictures filled with what is around them."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def filled(pictures: Tensor, holes: Tensor) -> Tensor:
    """Pictures [B,C,H,W] with holes [B,H,W] (1 inside) filled smoothly from around; a picture that is all hole is 0.

    Means over halved pictures, laid back from the coarsest (pull and push; Gortler et al. 1996, The Lumigraph,
    section 3.4).
    """
    known = (1 - holes)[:, None].to(pictures)
    return pictures * known + _smooth(pictures * known, known) * (1 - known)


def _smooth(weighted: Tensor, weight: Tensor) -> Tensor:
    """Means [B,C,H,W] of what is known near each pixel: sums [B,C,H,W] over weights [B,1,H,W]."""
    height, width = weighted.shape[-2:]
    own = weighted / weight.clamp(min=1e-8)
    if max(height, width) == 1:
        return own
    halves = [F.avg_pool2d(plane, 2, ceil_mode=True, count_include_pad=False) for plane in (weighted, weight)]
    share = halves[1].clamp(max=1)
    coarse = _smooth(halves[0] / halves[1].clamp(min=1e-8) * share, share)
    coarse = F.interpolate(coarse, (height, width), mode="bilinear")
    known = weight.clamp(max=1)
    return own * known + coarse * (1 - known)
