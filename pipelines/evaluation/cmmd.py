"""CMMD, arXiv 2401.09603: maximum mean discrepancy of CLIP embeddings with a Gaussian kernel."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor

SIGMA = 10.0  # of the kernel
SCALE = 1000.0  # of the published figures
CHUNK = 1024  # embeddings compared at once


def centre_square(picture: Image.Image, side: int) -> Image.Image:
    """The middle square of a picture at side x side px, bicubic: what CMMD embeds."""
    short = min(picture.size)
    left = (picture.width - short) // 2
    top = (picture.height - short) // 2
    return picture.crop((left, top, left + short, top + short)).resize((side, side), Image.Resampling.BICUBIC)


def mean_kernel(a: Tensor, b: Tensor) -> Tensor:
    """The mean of the Gaussian kernel over all pairs of embeddings [N,D] and [M,D]."""
    parts = [torch.exp(-(torch.cdist(part, b) ** 2) / (2 * SIGMA**2)).sum() for part in a.split(CHUNK)]
    return torch.stack(parts).sum() / (len(a) * len(b))


def cmmd(a: Tensor, b: Tensor) -> float:
    """1000 times the biased squared discrepancy of unit embeddings [N,D] and [M,D], in float64."""
    a = a.double()
    b = b.double()
    return float(SCALE * (mean_kernel(a, a) + mean_kernel(b, b) - 2 * mean_kernel(a, b)))
