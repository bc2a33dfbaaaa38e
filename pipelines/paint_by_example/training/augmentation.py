"""Chance in exemplars, so that a picture can teach from itself: without it, copying would do (section 3.3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from ...training.ranges import Degrees, Share


@dataclass(frozen=True)
class Augmentation:
    """Shares and ranges; the defaults are the reference's, which lets the light alone."""

    flip: Share = 0.5
    rotate: Share = 0.5
    rotation: Degrees = 20.0  # either way
    blur: Share = 0.3
    elastic: Share = 0.3
    bend: Share = 0.06  # of the side: typical displacement of an elastic one
    light: Share = 0.0  # of brightness and contrast, either way


def augment_exemplars(pictures: Tensor, settings: Augmentation, generator: Generator) -> Tensor:
    """Pictures [B,3,S,S] flipped, rotated, bent, blurred and lit by chance; what moves in is a reflection."""
    count = len(pictures)

    def chance(share: float) -> Tensor:
        return (torch.rand(count, generator=generator) < share).float()

    def signed(*shape: int) -> Tensor:
        return 2 * torch.rand(count, *shape, generator=generator) - 1

    mirror = 1 - 2 * chance(settings.flip)
    angle = torch.deg2rad(settings.rotation * signed()) * chance(settings.rotate)
    zero = torch.zeros(count)
    rows = [torch.stack([mirror * angle.cos(), -angle.sin(), zero], 1)]
    rows += [torch.stack([mirror * angle.sin(), angle.cos(), zero], 1)]
    where = F.affine_grid(torch.stack(rows, 1), list(pictures.shape), align_corners=False)
    bent = 2 * settings.bend * signed(2, 4, 4) * chance(settings.elastic)[:, None, None, None]
    where = where + F.interpolate(bent, pictures.shape[-2:], mode="bicubic").movedim(1, -1)
    moved = F.grid_sample(pictures, where, padding_mode="reflection", align_corners=False)
    blurred = chance(settings.blur)[:, None, None, None]
    moved = torch.lerp(moved, F.avg_pool2d(F.pad(moved, (1, 1, 1, 1), mode="replicate"), 3, 1), blurred)
    brightness = 1 + settings.light * signed()[:, None, None, None]
    contrast = 1 + settings.light * signed()[:, None, None, None]
    mean = moved.mean((1, 2, 3), keepdim=True)
    return ((moved - mean) * contrast + mean) * brightness
