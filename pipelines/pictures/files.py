"""Pictures as tensors, and as files to be written. What reads files is `opening`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from ..provenance import PNG_TEXT
from ..whole_files import whole
from .opening import DEEP, mask_picture

Picture = Image.Image | Tensor  # a tensor is [H,W,C] or [B,H,W,C], 0..1


class OutputFormat(NamedTuple):
    """How a picture is written: nothing lost where the format can, next to nothing in a JPEG."""

    name: str
    alpha: bool  # whether it keeps transparency
    side: int  # px, the longest
    options: dict[str, Any]


PNG = OutputFormat("PNG", True, 2**31 - 1, {})
JPEG = OutputFormat("JPEG", False, 65500, dict(quality=98, subsampling=0))
WEBP = OutputFormat("WEBP", True, 16383, dict(lossless=True, exact=True))
TIFF = OutputFormat("TIFF", True, 2**31 - 1, {})
BMP = OutputFormat("BMP", False, 2**31 - 1, {})  # of 32 bits only some programs take the last 8 for alpha
OUTPUTS = {".png": PNG, ".jpg": JPEG, ".jpeg": JPEG, ".webp": WEBP, ".tif": TIFF, ".tiff": TIFF, ".bmp": BMP}


def check_output(path: Path, scene: Image.Image, noun: str = "the scene") -> None:
    """Raise ValueError for a name that a result of the scene's size and transparency cannot be written to.

    `noun` is what the error calls the picture. Raises FileNotFoundError for a folder that is not there.
    """
    output = OUTPUTS.get(path.suffix.lower())
    if not output:
        raise ValueError(f"{path} names no picture format that can be written; use .png, .jpg, .webp, .tiff or .bmp.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"The folder of {path} does not exist.")
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name a file in it.")
    if max(scene.size) > output.side:
        raise ValueError(f"{path} cannot be as large as {noun}: {output.name} ends at {output.side} px. Use .png.")
    if is_transparent(scene) and not output.alpha:
        raise ValueError(f"{path} would lose {noun}'s transparency, which {output.name} cannot keep; use .png.")


def is_transparent(picture: Image.Image) -> bool:
    """Whether any pixel is less than opaque."""
    if not picture.has_transparency_data:
        return False
    least: Any = picture.convert("RGBA").getchannel("A").getextrema()[0]
    return least < 255


def colour_facts(picture: Image.Image) -> dict[str, Any]:
    """What a file says of an RGB picture's colours and size in print: its profile and dpi, where they make sense."""
    facts = {}
    profile = picture.info.get("icc_profile")
    if profile and profile[16:20] == b"RGB ":  # not that of ink or of grey: the result is RGB
        facts["icc_profile"] = profile
    try:
        dpi = tuple(float(side) for side in picture.info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):  # a TIFF's are fractions, also of nothing
        return facts
    return facts | ({"dpi": dpi} if len(dpi) == 2 and all(1 <= side < 65535 for side in dpi) else {})


def save_picture(
    picture: Image.Image, path: Path, like: Image.Image | None = None, record: Mapping[str, Any] | None = None
) -> None:
    """Write a picture, whole or not at all, in the format of the file's name (see `check_output`).

    The file says of its colours what that of `like` does; a PNG holds `record`, what made it, as JSON in its text.
    """
    output = OUTPUTS[path.suffix.lower()]
    facts = colour_facts(like) if like else {}
    if record and output is PNG:
        facts["pnginfo"] = PngInfo()
        facts["pnginfo"].add_itxt(PNG_TEXT, json.dumps(record, ensure_ascii=False))
    if picture.mode == "RGBA" and not is_transparent(picture):
        picture = picture.convert("RGB")
    with whole(path) as part:
        picture.save(part, format=output.name, **output.options, **facts)


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
    """Pictures [B,H,W,3|4] in 0..1 in 8 bits."""
    return [Image.fromarray(image) for image in (images * 255).round().byte().cpu().numpy()]
