"""Pictures with boxes in a folder.

The layout is that of Hugging Face datasets' image folders for object detection: a `metadata.jsonl` with one picture per
line, its `file_name` and `objects`, whose `bbox` lists boxes as [x, y, width, height] in px of the upright picture.
Everything else in a line is left alone.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...pictures.folder import METADATA, READERS, check_pictures, file_facts, read_metadata
from ...pictures.opening import open_picture, picture_size
from ...training.columns import Progress

LAYOUT = "A folder of pictures with boxes needs it: one JSON object per line, with file_name and objects."
SLACK = 1.0  # px that a box may reach outside the picture, because somebody rounded


@dataclass(frozen=True)
class BoxedPicture:
    path: Path
    boxes: np.ndarray  # [N,4] int32: x0, y0, x1, y1 in px, the far sides exclusive, inside the picture

    def pixels(self) -> Tensor:
        """[3,H,W] uint8, upright. Raises ValueError naming a broken file."""
        picture = open_picture(self.path).convert("RGB")
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
    path: Path
    boxes: list[list[float]]


def read_folder(folder: Path, smallest: float = 0.0, progress: Progress | None = None) -> BoxFolder:
    """The pictures of a folder and their boxes; of the pictures only the sizes are read.

    Boxes narrower or lower than `smallest` of the picture's width or height are left out. Raises FileNotFoundError for
    a missing `metadata.jsonl` or missing pictures, ValueError for a line that is not of this layout, a box that reaches
    outside its picture, and when nothing is left; all name the file and the line.
    """
    index = folder / METADATA
    parsed = read_metadata(folder, partial(_parse, folder=folder), kind="a picture with boxes", layout=LAYOUT)
    check_pictures(folder, [(f"that of line {number}", picture.path) for number, picture in parsed.items()])
    places = [f"{index}, line {number}" for number in parsed]
    rows = list(parsed.values())
    kept = []
    small = 0
    with ThreadPoolExecutor(READERS) as readers:
        sizes = readers.map(_size, rows, places)
        for done, (row, place, size) in enumerate(zip(rows, places, sizes, strict=True), 1):
            _check_inside(row.boxes, size, place)
            boxes = [box for box in row.boxes if _wide_enough(box, size, smallest)]
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


def read_index(folder: Path) -> bytes:
    """What changes when the boxes of a folder do, or the size of one of its picture files."""
    rows = read_metadata(folder, partial(_parse, folder=folder), kind="a picture with boxes", layout=LAYOUT)
    pictures = [row.path for row in rows.values() if row.path.is_file()]
    return repr(((folder / METADATA).read_bytes(), file_facts(pictures, times=False))).encode()


def _parse(row: dict[str, Any], folder: Path) -> _Row:
    name, boxes = row["file_name"], row["objects"]["bbox"]
    if not isinstance(name, str) or not isinstance(boxes, list):
        raise ValueError("'file_name' must be a text and 'bbox' a list of boxes")
    for box in boxes:
        if not isinstance(box, list) or len(box) != 4 or not all(_is_number(side) for side in box):
            raise ValueError(f"the box {box} is not four numbers, [x, y, width, height]")
        if box[2] <= 0 or box[3] <= 0:
            raise ValueError(f"the box {box} has no area; its last two numbers are width and height")
    return _Row(folder / name, boxes)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _size(row: _Row, place: str) -> tuple[int, int]:
    """Width and height of an upright picture, from its file's beginning."""
    try:
        return picture_size(row.path)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error


def _check_inside(boxes: list[list[float]], size: tuple[int, int], place: str) -> None:
    for box in boxes:
        x, y, width, height = box
        over = max(-x, -y, x + width - size[0], y + height - size[1])
        if over > SLACK:
            raise ValueError(
                f"{place}: the box {box} reaches {over:.4g} px outside the picture of {size[0]}x{size[1]} px. Boxes "
                "are [x, y, width, height] in px of the upright picture, x and y the top left corner."
            )


def _wide_enough(box: list[float], size: tuple[int, int], smallest: float) -> bool:
    return box[2] >= smallest * size[0] and box[3] >= smallest * size[1]


def _corners(boxes: list[list[float]], size: tuple[int, int]) -> np.ndarray:
    """[N,4] int32, x0, y0, x1, y1: widened to whole pixels, and cut off at the picture's border."""
    sides = np.array(boxes, np.float64)
    low = np.floor(sides[:, :2])
    high = np.ceil(sides[:, :2] + sides[:, 2:])
    return np.concatenate([low.clip(0), high.clip(max=size)], 1).astype(np.int32)
