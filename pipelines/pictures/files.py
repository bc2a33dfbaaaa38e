"""Pictures as tensors, and as files to be written. What reads files is `opening`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ..whole_files import whole
from .opening import DEEP, mask_picture

Picture = Image.Image | Tensor  # a tensor is [H,W,C] or [B,H,W,C], 0..1


def check_output(path: Path) -> None:
    """Raise ValueError for a name of no picture format, FileNotFoundError for a folder that is not there."""
    if path.suffix.lower() not in Image.registered_extensions():
        raise ValueError(f"{path} names no picture format; use .png, .jpg or .webp.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"The folder of {path} does not exist.")


def save_picture(picture: Image.Image, path: Path) -> None:
    """Write a picture, whole or not at all, in the format of the file's name (see `check_output`)."""
    with whole(path) as part:
        picture.save(part, format=Image.registered_extensions()[path.suffix.lower()])


def picture_tensor(picture: Picture) -> Tensor:
    """A picture as [B,H,W,C] float32, 0..1: orientation applied, palette and 16 bit understood, alpha kept."""
    if isinstance(picture, Tensor):
        return picture.float() if picture.ndim != 3 else picture[None].float()
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I"):
        return torch.from_numpy(np.asarray(picture, dtype=np.float32) / DEEP)[None, ..., None]
    picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    return torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255)[None]


def mask_tensor(mask: Picture) -> Tensor:
    """A mask as [B,H,W] float32, 0..1, by the rule of `mask_picture`; a tensor stays as it is."""
    if isinstance(mask, Tensor):
        return mask
    grey = mask_picture(ImageOps.exif_transpose(mask))
    return torch.from_numpy(np.asarray(grey, dtype=np.float32) / 255)[None]


def pil_pictures(images: Tensor) -> list[Image.Image]:
    """Pictures [B,H,W,3] in 0..1 in 8 bits."""
    return [Image.fromarray(image) for image in (images * 255).round().byte().cpu().numpy()]
