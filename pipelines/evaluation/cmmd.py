"""CMMD, arXiv 2401.09603: maximum mean discrepancy of CLIP embeddings with a Gaussian kernel."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor

SIGMA, SCALE, CHUNK = 10.0, 1000.0, 1024


def centre_square(picture: Image.Image, side: int) -> Image.Image:
    """The middle square of a picture at side x side px, bicubic: what CMMD embeds."""
    short = min(picture.size)
    left, top = ((length - short) // 2 for length in picture.size)
    return picture.crop((left, top, left + short, top + short)).resize((side, side), Image.Resampling.BICUBIC)


def _mean_kernel(a: Tensor, b: Tensor) -> Tensor:
    parts = [torch.exp(-(torch.cdist(part, b) ** 2) / (2 * SIGMA**2)).sum() for part in a.split(CHUNK)]
    return torch.stack(parts).sum() / (len(a) * len(b))


def cmmd(a: Tensor, b: Tensor) -> float:
    """1000 times the biased squared discrepancy of unit embeddings [N,D] and [M,D], in float64."""
    a, b = a.double(), b.double()
    return float(SCALE * (_mean_kernel(a, a) + _mean_kernel(b, b) - 2 * _mean_kernel(a, b)))
