"""Chance in training pictures, before they are normalised: crops and flips of a pair, other poses of an object.

Everything is a function of pixels and a seed, so that a resumed or divided run sees the same pictures.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as V

from ...training.ranges import Degrees, Share, ShareBelowOne


@dataclass(frozen=True)
class Augmentation:
    """Ranges of the object's augmentation; the defaults are strong, against copying the object's pixels."""

    flip: Share = 0.5
    rotation: Degrees = 20.0  # either way
    scale: ShareBelowOne = 0.3  # larger or smaller
    shift: Share = 0.1  # of the side
    colour: Share = 0.1  # share of brightness, contrast and saturation, either way


def augment_object(picture: Tensor, background: Tensor, settings: Augmentation, seed: int) -> Tensor:
    """A picture [3,H,W] of an object in another pose and light; `background` [3] fills what moves in."""
    chance = torch.rand(8, generator=torch.Generator().manual_seed(seed)).tolist()
    signed = [2 * x - 1 for x in chance[1:]]
    if chance[0] < settings.flip:
        picture = V.horizontal_flip(picture)
    height, width = picture.shape[-2:]
    picture = V.affine(
        picture,
        angle=settings.rotation * signed[0],
        translate=[settings.shift * width * signed[1], settings.shift * height * signed[2]],
        scale=1 + settings.scale * signed[3],
        shear=[0.0, 0.0],
        interpolation=V.InterpolationMode.BILINEAR,
        fill=background.tolist(),
    )
    picture = V.adjust_brightness(picture, 1 + settings.colour * signed[4])
    picture = V.adjust_contrast(picture, 1 + settings.colour * signed[5])
    return V.adjust_saturation(picture, 1 + settings.colour * signed[6])


def vary_pair(pictures: Tensor, size: int, variant: int, seed: int) -> Tensor:
    """Scene and target [2,3,H,W] as squares [2,3,size,size], cut alike.

    Variant 0 is the centre; odd ones are flipped; from 2 on they are random crops of 81 to 100 % of the area.
    """
    height, width = pictures.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    if variant > 1:
        generator = torch.Generator().manual_seed(seed * 1009 + variant)
        share, down, right = torch.rand(3, generator=generator).tolist()
        cut = max(1, round(side * (0.9 + 0.1 * share)))
        top += round((side - cut) * down)
        left += round((side - cut) * right)
        side = cut
    pictures = V.resized_crop(
        pictures, top, left, side, side, [size, size], V.InterpolationMode.BICUBIC, antialias=True
    )
    pictures = V.horizontal_flip(pictures) if variant % 2 else pictures
    return pictures.clamp(0, 1)
