"""One row of a source -> one triplet: pure functions of the row's bytes and the settings.

Masks are [H,W] bool; boxes are (left, top, right, bottom) in px of the target, right and bottom excluded.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..pictures.opening import PictureError, mask_picture, open_picture
from .settings import BuildSettings

Box = tuple[int, int, int, int]
Mask = NDArray[np.bool_]
Stored = dict[str, Any]  # {"bytes", "path"}: a picture as Hugging Face datasets store it; "missing" is why it has none

MIN_PIXELS = 16  # of a mask; object_picture.MIN_PIXELS, which loads torch


class RowError(ValueError):
    """A row that cannot be a triplet; `reason` is one of a few, `detail` says more of this one."""

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Cut:
    """What a row's pictures come to: columns of the output, and what the statistics want."""

    columns: dict[str, Any]
    size: tuple[int, int]  # px, of scene and target
    side: int  # px, the longer one of the object
    area: float | None  # share of the picture; None without a mask


def in_validation(img_id: str, share: float) -> bool:
    """Whether a picture is held out: by its name alone, so that no object of it is ever in both splits."""
    return int.from_bytes(hashlib.sha256(img_id.encode()).digest()[:8], "big") < share * 2**64


def decode(stored: Stored | None, what: str) -> Image.Image:
    """A stored picture, upright and wholly read. Raises RowError for a missing or broken one."""
    data = (stored or {}).get("bytes")
    if not data:
        raise RowError(f"no {what}", (stored or {}).get("missing", ""))
    try:
        return open_picture(data, what)
    except PictureError as error:
        raise RowError(f"unreadable {what}", error.reason) from error


def png(pixels: NDArray[np.uint8]) -> Stored:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=3)
    return {"bytes": buffer.getvalue(), "path": None}


def scale_mask(picture: Image.Image, size: tuple[int, int]) -> Mask:
    """A mask's picture at another (width, height), each axis scaled by itself, nearest pixel.

    Masks of 0 and 1, of 0 and 255 and lossy ones are understood: on is what is above half of the maximum.
    """
    scaled = np.asarray(mask_picture(picture).resize(size, Image.Resampling.NEAREST))
    return scaled > scaled.max() / 2


def bounds(mask: Mask) -> Box:
    """The smallest box around a mask that is not empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def with_margin(box: Box, margin: float, size: tuple[int, int]) -> Box:
    """A box grown by `margin` of its sides in every direction, within a picture of `size`."""
    left, top, right, bottom = box
    dx = round(margin * (right - left))
    dy = round(margin * (bottom - top))
    width, height = size
    return max(left - dx, 0), max(top - dy, 0), min(right + dx, width), min(bottom + dy, height)


def hide_background(pixels: NDArray[np.uint8], mask: Mask, background: str) -> NDArray[np.uint8]:
    """An object's pixels [H,W,3] with what is outside its mask replaced; [H,W,4] where it becomes transparent.

    What is hidden is really gone: no pixel of the scene stays below the transparency.
    """
    if background == "keep":
        return pixels
    hidden = np.where(mask[..., None], pixels, np.uint8(255 if background == "white" else 0))
    return hidden if background == "white" else np.dstack([hidden, mask.astype(np.uint8) * 255])


def _target(row: Mapping[str, Any]) -> Image.Image:
    """The target of a row whose scene can be read, too, and has its size."""
    scene = decode(row["scene"], "scene")
    target = decode(row["target"], "target")
    if scene.size != target.size:
        sizes = f"{scene.width}x{scene.height} and {target.width}x{target.height} px"
        raise RowError("scene and target differ in size", sizes)
    return target


def _check_side(width: int, height: int, settings: BuildSettings) -> None:
    if min(width, height) < settings.min_side:
        raise RowError("object too small", f"{width}x{height} px")


def _check_pixels(count: int) -> None:
    if count < MIN_PIXELS:
        raise RowError("object too small", f"{count} pixels")


def cut_with_mask(row: Mapping[str, Any], mask: Stored, settings: BuildSettings) -> Cut:
    """The triplet of a row with scene, target and the mask of the object in any size. Raises RowError."""
    target = _target(row)
    stored = decode(mask, "mask")
    on = scale_mask(stored, target.size)
    if not on.any():
        raise RowError("empty mask")
    left, top, right, bottom = box = bounds(on)
    _check_side(right - left, bottom - top, settings)
    _check_pixels(on.sum())
    area = float(on.mean())
    if not settings.min_area <= area <= settings.max_area:
        raise RowError("object's area out of range", f"{area:.5f} of the picture")
    crop = with_margin(box, settings.margin, target.size)
    window = np.s_[crop[1] : crop[3], crop[0] : crop[2]]
    pixels = hide_background(np.asarray(target.crop(crop).convert("RGB")), on[window], settings.background)
    white_on_black = on.astype(np.uint8) * 255
    unchanged = stored.mode == "L" and np.array_equal(np.asarray(stored), white_on_black)
    columns = {
        "object": [png(pixels)],
        "object_mask": [png(white_on_black[window])],
        "mask": mask if unchanged else png(white_on_black),
        "box": list(box),
    }
    return Cut(columns, target.size, max(right - left, bottom - top), area)


def cut_released(row: Mapping[str, Any], settings: BuildSettings) -> Cut:
    """The triplet of a row that brings the object's picture and no mask. Raises RowError."""
    target = _target(row)
    picture = decode(row["object"], "object")
    width, height = picture.size
    _check_side(width, height, settings)
    _check_pixels(int(np.count_nonzero(np.asarray(picture.convert("RGBA"))[..., 3])))
    columns = {"object": [row["object"]], "object_mask": [], "mask": None, "box": None}
    return Cut(columns, target.size, max(width, height), None)
