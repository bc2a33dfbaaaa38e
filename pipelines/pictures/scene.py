"""The scene's frame: padding to whole latent cells and back. Nothing is cropped away or stretched."""

from __future__ import annotations

import torch
from torch import Tensor


def check_scene(scene: Tensor) -> Tensor:
    """Scene pictures [B,H,W,C] as RGB: greyscale is repeated, an alpha channel dropped.

    Raises ValueError for an empty picture, another channel count, or values that are not finite.
    """
    if scene.ndim != 4 or scene.shape[-1] not in (1, 3, 4):
        raise ValueError(f"A scene must be pictures [B,H,W,C] with 1, 3 or 4 channels; got {tuple(scene.shape)}.")
    if 0 in scene.shape:
        raise ValueError(f"The scene is empty: {tuple(scene.shape)}.")
    if not torch.isfinite(scene).all():
        raise ValueError("The scene holds values that are not finite (NaN or infinity).")
    return scene.expand(-1, -1, -1, 3) if scene.shape[-1] == 1 else scene[..., :3]


def pad_to_multiple(pictures: Tensor, multiple: int) -> Tensor:
    """Repeat the last column and row of pictures [B,H,W,C] until both sides are multiples of `multiple`."""
    height, width = pictures.shape[1:3]
    rows = torch.arange(height + -height % multiple, device=pictures.device).clamp_max(height - 1)
    columns = torch.arange(width + -width % multiple, device=pictures.device).clamp_max(width - 1)
    return pictures[:, rows][:, :, columns]


def crop_to(pictures: Tensor, height: int, width: int, multiple: int = 8) -> Tensor:
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
