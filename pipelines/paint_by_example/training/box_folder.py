"""Pictures with boxes in a folder.

The layout is that of Hugging Face datasets' image folders for object detection: a `metadata.jsonl` with one picture per
line, its `file_name` and `objects`, whose `bbox` lists boxes as [x, y, width, height] in px of the upright picture.
Everything else in a line is left alone.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ...pictures.files import open_picture
from ...triplets.folder import METADATA

READERS = min(8, os.cpu_count() or 1)  # threads
SLACK = 1.0  # px that a box may reach outside the picture, because somebody rounded
ORIENTATION = 0x0112  # in EXIF; from 5 on width and height are exchanged
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class BoxedPicture:
    path: Path
    boxes: np.ndarray  # [N,4] int32: x0, y0, x1, y1 in px, the far sides exclusive, inside the picture

    def pixels(self) -> Tensor:
        """[3,H,W] uint8, upright. Raises ValueError naming a broken file."""
        picture = ImageOps.exif_transpose(open_picture(self.path)).convert("RGB")
        return torch.from_numpy(np.array(picture)).movedim(-1, 0)


@dataclass(frozen=True)
class BoxFolder:
    """The pictures that have a box of use, and what was left out."""

    folder: Path
    pictures: list[BoxedPicture]
    small: int  # boxes
    empty: int  # pictures in which no box is left

    def __str__(self) -> str:
        boxes = sum(len(picture.boxes) for picture in self.pictures)
        left_out = f"{self.small:,} boxes that are too small, {self.empty:,} pictures without any other"
        return f"{self.folder}: {len(self.pictures):,} pictures with {boxes:,} boxes; left out: {left_out}"


@dataclass(frozen=True)
class _Row:
    where: str
    path: Path
    boxes: list[list[float]]


def read_folder(folder: Path, smallest: float = 0.0, progress: Progress | None = None) -> BoxFolder:
    """The pictures of a folder and their boxes; of the pictures only the sizes are read.

    Boxes narrower or lower than `smallest` of the picture's width or height are left out. Raises FileNotFoundError for
    a missing `metadata.jsonl` or missing pictures, ValueError for a line that is not of this layout, a box that reaches
    outside its picture, and when nothing is left; all name the file and the line.
    """
    index = folder / METADATA
    if not index.is_file():
        raise FileNotFoundError(
            f"{index} does not exist. A folder of pictures with boxes needs it: one JSON object per line, with "
            "file_name and objects."
        )
    lines = enumerate(index.read_text(encoding="utf-8").splitlines(), 1)
    rows = [_parse(line, folder, f"{index}, line {number}") for number, line in lines if line.strip()]
    if missing := [row.where.rpartition(", ")[2] for row in rows if not row.path.is_file()]:
        raise FileNotFoundError(f"{len(missing)} pictures of {index} are missing, such as that of {missing[0]}.")
    kept, small = [], 0
    with ThreadPoolExecutor(READERS) as readers:
        for done, (row, size) in enumerate(zip(rows, readers.map(_size, rows), strict=True), 1):
            boxes = [box for box in row.boxes if _wide_enough(_inside(box, size, row.where), size, smallest)]
            small += len(row.boxes) - len(boxes)
            if boxes:
                kept.append(BoxedPicture(row.path, _corners(boxes, size)))
            if progress and (done % 1000 == 0 or done == len(rows)):
                progress(done, len(rows))
    if not kept:
        raise ValueError(
            f"{index} has no box to train on: {len(rows)} pictures, {small} boxes that are too small (below "
            f"{100 * smallest:.3g} % of the picture's width or height)."
        )
    return BoxFolder(folder, kept, small, len(rows) - len(kept))


def _parse(line: str, folder: Path, where: str) -> _Row:
    try:
        row = json.loads(line)
        name, boxes = row["file_name"], row["objects"]["bbox"]
        if not isinstance(name, str) or not isinstance(boxes, list):
            raise ValueError("'file_name' must be a text and 'bbox' a list of boxes")
        for box in boxes:
            if not isinstance(box, list) or len(box) != 4 or not all(_is_number(side) for side in box):
                raise ValueError(f"the box {box} is not four numbers, [x, y, width, height]")
            if box[2] <= 0 or box[3] <= 0:
                raise ValueError(f"the box {box} has no area; its last two numbers are width and height")
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{where} is not a picture with boxes: {reason}.") from error
    return _Row(where, folder / name, boxes)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _size(row: _Row) -> tuple[int, int]:
    """Width and height of an upright picture, from its file's beginning."""
    try:
        with Image.open(row.path) as file:
            told = "exif" in file.info or file.format == "TIFF"  # or getexif() might decode all of it
            turned = told and file.getexif().get(ORIENTATION, 1) >= 5
            return (file.height, file.width) if turned else (file.width, file.height)
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{row.where}: {row.path} is not a readable picture: {error}") from error


def _inside(box: list[float], size: tuple[int, int], where: str) -> list[float]:
    x, y, width, height = box
    over = max(-x, -y, x + width - size[0], y + height - size[1])
    if over > SLACK:
        raise ValueError(
            f"{where}: the box {box} reaches {over:.4g} px outside the picture of {size[0]}x{size[1]} px. Boxes are "
            "[x, y, width, height] in px of the upright picture, x and y the top left corner."
        )
    return box


def _wide_enough(box: list[float], size: tuple[int, int], smallest: float) -> bool:
    return box[2] >= smallest * size[0] and box[3] >= smallest * size[1]


def _corners(boxes: list[list[float]], size: tuple[int, int]) -> np.ndarray:
    given = np.array(boxes, np.float64)
    low, high = np.floor(given[:, :2]), np.ceil(given[:, :2] + given[:, 2:])
    return np.concatenate([low.clip(0), high.clip(max=size)], 1).astype(np.int32)
