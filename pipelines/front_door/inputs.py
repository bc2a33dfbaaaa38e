"""Pictures in whatever form a caller has them: paths, PIL pictures, arrays, tensors."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..pictures.files import picture_tensor
from ..pictures.opening import open_picture

CHANNELS = (1, 3, 4)
MASKS = ("mask", "masks", "exemplar_mask")  # names of settings
FORMS = "a path, a PIL picture, or an array or tensor [H,W,C], of whole numbers to 255 or of shares of 1"


def as_picture(value: Any, name: str) -> Image.Image | Tensor:
    """A picture or mask as our pipelines take it; `name` is the setting that it is.

    A tensor is [H,W,C] or [B,H,W,C], of a mask [H,W] or [B,H,W]. Raises TypeError for what is no picture, ValueError
    for channels that come first and for numbers outside 0..1, and what `open_picture` does.
    """
    if isinstance(value, str | os.PathLike):
        return open_picture(Path(value))
    if isinstance(value, Image.Image):
        return value
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(np.ascontiguousarray(value))
    if not isinstance(value, Tensor) or value.ndim not in (2, 3, 4):
        raise TypeError(f"{name}= is {type(value).__name__}; needed is {FORMS}.")
    if name not in MASKS and value.shape[-1] not in CHANNELS:
        raise ValueError(f"{name}= is {tuple(value.shape)}; the last of its sizes must be the channels: [H,W,C].")
    pixels = value.float() / 255 if value.dtype == torch.uint8 else value.float()
    if not (pixels.min() >= 0 and pixels.max() <= 1):
        raise ValueError(f"{name}= has numbers outside of 0..1 (or 0..255 as whole numbers of 8 bits).")
    return pixels


def as_pictures(value: Any, name: str) -> Any:
    """The same of one picture, or of each in a list; None stays."""
    if value is None:
        return None
    if isinstance(value, list | tuple):
        return [as_pictures(one, name) for one in value]
    return as_picture(value, name)


def each(value: Any, count: int, name: str, *, nested: bool = False) -> list[Any]:
    """One value per scene: a list of as many is paired, anything else is that of all.

    `nested` is of a setting that is a list itself, such as several views of an object: then only a list of lists is
    paired. Raises ValueError for a list of another length.
    """
    paired = isinstance(value, Sequence) and not isinstance(value, str) and len(value) > 0
    if nested:
        paired = paired and all(isinstance(one, list | tuple) for one in value)
    if not paired:
        return [value] * count
    if len(value) != count:
        raise ValueError(f"{len(value)} of {name}= do not pair up with {count} scenes.")
    return list(value)


def scenes_of(value: Any) -> list[Tensor]:
    """The scenes, one or a list or a batch of them, each by itself as [1,H,W,C] in 0..1."""
    if isinstance(value, list | tuple):
        return [scene for one in value for scene in scenes_of(one)]
    return list(picture_tensor(as_picture(value, "image")).split(1))
