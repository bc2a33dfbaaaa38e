"""What a UNet sees of a training picture beside the noise, where the object is to appear."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...paint_by_example.inpainting import latent_mask, masked_scene
from ...pictures.filling import filled

Encode = Callable[[Tensor], Tensor]
Beside = Callable[[Tensor, Tensor], Tensor]  # pictures [B,3,S,S] in 0..1, holes [B,S,S] (1 inside) -> [B,D,h,w]


def with_hole(latents: Encode) -> Beside:
    """Paint by Example's: latents [B,C,h,w] of the picture with a grey hole, and 1 where it is whole."""

    def beside(pictures: Tensor, holes: Tensor) -> Tensor:
        masked = masked_scene(pictures.movedim(1, -1), holes).movedim(-1, 1)
        return torch.cat([latents(masked), 1 - latent_mask(holes).to(masked)], 1)

    return beside


def without_object(scenes: Encode) -> Beside:
    """InstructPix2Pix's: latents [B,C,h,w] of the scene without the object. It is not known: its hole is filled."""

    def beside(pictures: Tensor, holes: Tensor) -> Tensor:
        return scenes(filled(pictures, holes))

    return beside
