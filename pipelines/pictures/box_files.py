"""The box of a picture's object in a text file, "x0 y0 x1 y1" in px, as InsertSet has it."""

from __future__ import annotations

import math
from pathlib import Path

from .boxes import Box

Corners = tuple[float, float, float, float]  # x0, y0, x1, y1 in px, perhaps between pixels


def read_box(path: Path) -> Box:
    """The whole pixels that a file's box touches. Raises what `read_corners` does."""
    return whole_box(read_corners(path))


def read_corners(path: Path) -> Corners:
    """A file's box as it stands there. Raises ValueError naming the file, OSError where there is none."""
    try:
        x0, y0, x1, y1 = (float(side) for side in path.read_text(encoding="utf-8").split())
        return with_area((x0, y0, x1, y1))
    except ValueError as error:
        raise ValueError(f"{path} holds no box: it should be four numbers of pixels, x0 y0 x1 y1 ({error}).") from error


def with_area(box: Corners) -> Corners:
    """The box. Raises ValueError for one without area, or of what is no finite number."""
    if not all(map(math.isfinite, box)) or box[2] <= box[0] or box[3] <= box[1]:
        raise ValueError(f"the box {box} has no area")
    return box


def whole_box(box: Corners) -> Box:
    """The whole pixels that a box touches. Raises what `with_area` does."""
    x0, y0, x1, y1 = with_area(box)
    return (math.floor(x0), math.floor(y0), math.ceil(x1), math.ceil(y1))
