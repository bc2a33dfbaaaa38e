"""The scene's frame: padding to whole latent cells and back. Nothing is cropped away or stretched."""

from __future__ import annotations

import torch
from torch import Tensor

from .checks import check_finite, check_pictures, rgb

CELL = 8  # px per latent cell, of every VAE of Stable Diffusion's family


def check_scene(scene: Tensor) -> Tensor:
    """Scene pictures [B,H,W,C] as RGB: greyscale is repeated, an alpha channel dropped.

    Raises ValueError for an empty picture, another channel count, or values that are not finite.
    """
    check_pictures(scene, "A scene")
    if 0 in scene.shape:
        raise ValueError(f"The scene is empty: {tuple(scene.shape)}.")
    check_finite(scene, "The scene")
    return rgb(scene)


def with_alpha(pictures: Tensor, scene: Tensor) -> Tensor:
    """Pictures [B,H,W,3] with the alpha of their scene [1|B,H,W,C], if it has one."""
    if scene.shape[-1] != 4:
        return pictures
    alpha = scene[..., 3:].to(pictures)
    return torch.cat([pictures, alpha.expand(len(pictures), -1, -1, -1)], -1)


def pad_to_multiple(pictures: Tensor, multiple: int) -> Tensor:
    """Repeat the last column and row of pictures [B,H,W,C] until both sides are multiples of `multiple`."""
    height, width = pictures.shape[1:3]
    rows = torch.arange(height + -height % multiple, device=pictures.device).clamp_max(height - 1)
    columns = torch.arange(width + -width % multiple, device=pictures.device).clamp_max(width - 1)
    return pictures[:, rows][:, :, columns]


def crop_to(pictures: Tensor, height: int, width: int, multiple: int = CELL) -> Tensor:
    """Undo `pad_to_multiple`: the top left `height` x `width` px of pictures [B,H,W,C].

    Raises ValueError when the pictures are not of the padded size: they belong to another scene.
    """
    padded = (height + -height % multiple, width + -width % multiple)
    if pictures.shape[1:3] != padded:
        raise ValueError(
            f"The decoded picture is {pictures.shape[2]}x{pictures.shape[1]} px, but a scene of {width}x{height} px "
            f"decodes to {padded[1]}x{padded[0]} px. Connect the scene that the latent was sampled for."
        )
    return pictures[:, :height, :width]
