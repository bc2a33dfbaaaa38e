"""How sharp what a VAE gives back is where the true picture has an edge, and how true it is elsewhere.

*Gradient*: of the mean of the three channels, by differences to the pixel below and to the right, its length.
*Edge*: a pixel where the true picture's gradient is above `EDGE`. *Sharpness*: the mean gradient at true edges, as a
share of the true picture's; 1 is as sharp as the truth, and an edge that lies elsewhere does not count.
*Flat*: what is more than `NEAR` px from every edge.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

EDGE = 0.12  # of pictures in -1..1: 15 of 255
NEAR = 3  # px: here a softer edge may still be felt
STRONGEST = 0.05  # share of a picture's pixels


def gradient(pictures: Tensor) -> Tensor:
    """The gradient's length [B,1,H-1,W-1] in pictures [B,3,H,W]."""
    light = pictures.mean(1, keepdim=True)
    corner = light[..., :-1, :-1]
    down = light[..., 1:, :-1] - corner
    right = light[..., :-1, 1:] - corner
    return (down.square() + right.square() + 1e-8).sqrt()  # an even patch must not have an infinite slope in training


def edges(true: Tensor) -> Tensor:
    """Where true pictures [B,3,H,W] in -1..1 have an edge, [B,1,H-1,W-1] bool."""
    return gradient(true) > EDGE


def flat(true: Tensor) -> Tensor:
    """Pixels [B,1,H,W] bool of true pictures [B,3,H,W] in -1..1 that are far from every edge."""
    near = F.max_pool2d(edges(true).float(), 2 * NEAR + 1, stride=1, padding=NEAR)
    return F.pad(near, (0, 1, 0, 1), mode="replicate") == 0


def sharpness(pictures: Tensor, true: Tensor) -> float:
    """The mean gradient of pictures [B,3,H,W] at the edges of the true ones, as a share of theirs; both in -1..1."""
    at_edges = edges(true)
    return float(gradient(pictures)[at_edges].mean() / gradient(true)[at_edges].mean())


def strongest_gradient(pictures: Tensor) -> float:
    """The mean gradient of each picture's steepest 5 %: sharpness where no truth is known. [B,3,H,W] in -1..1."""
    lengths = gradient(pictures).flatten(1)
    return float(lengths.topk(round(STRONGEST * lengths.shape[1]), dim=1).values.mean())


def psnr(pictures: Tensor, true: Tensor) -> float:
    """The mean over the pictures [B,3,H,W] in -1..1 of their PSNR in dB, against the true ones."""
    error = (pictures.clamp(-1, 1) - true).square().mean((1, 2, 3))
    return float((10 * torch.log10(4 / error.clamp(min=1e-10))).mean())


def flat_psnr(pictures: Tensor, true: Tensor) -> float:
    """As `psnr`, of flat pixels alone; a picture that has none does not count."""
    where = flat(true).float()
    errors = (where * (pictures.clamp(-1, 1) - true).square()).sum((1, 2, 3))
    counts = 3 * where.sum((1, 2, 3))
    error = errors[counts > 0] / counts[counts > 0]
    return float((10 * torch.log10(4 / error.clamp(min=1e-10))).mean())
