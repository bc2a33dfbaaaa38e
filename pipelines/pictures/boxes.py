"""Boxes in pictures: (x0, y0, x1, y1) in px, the far sides exclusive; and as the host's BOUNDING_BOX, both ways.

The host's nodes hand over one table of x, y, width and height (its own box widget), a list of tables (the same boxes
for every picture), or a list of such lists, one for each picture (its box canvas, SAM 3, RT-DETR); detectors in floats.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor
from numbers import Real
from typing import Any

Box = tuple[int, int, int, int]
Boxes = Sequence[Sequence[Box]]  # those of each picture, which may be none
SIDES: tuple[str, ...] = ("x", "y", "width", "height")
FARTHEST = 2**31  # px; no picture reaches so far


def corners(x: int, y: int, width: int, height: int) -> Box:
    """The box of a corner and a size."""
    return (x, y, x + width, y + height)


def slices(box: Box) -> tuple[slice, slice]:
    """Rows and columns of a box, for indexing [H,W]."""
    x0, y0, x1, y1 = box
    return slice(y0, y1), slice(x0, x1)


def moved(box: Box, x: int, y: int) -> Box:
    """The box so many px further to the right and down."""
    x0, y0, x1, y1 = box
    return (x0 + x, y0 + y, x1 + x, y1 + y)


def shared(one: Box, other: Box) -> Box:
    """What two boxes share; without width or height when they share nothing."""
    x0, y0 = max(one[0], other[0]), max(one[1], other[1])
    return (x0, y0, max(x0, min(one[2], other[2])), max(y0, min(one[3], other[3])))


def clip_box(box: Box, height: int, width: int) -> Box:
    """The part of a box inside a picture. Raises ValueError when there is none."""
    inside = shared(box, (0, 0, width, height))
    if inside[0] == inside[2] or inside[1] == inside[3]:
        x0, y0, x1, y1 = box
        raise ValueError(
            f"The box from ({x0}, {y0}) to ({x1}, {y1}) covers no pixel of the {width}x{height} px picture. "
            "Move it inside, and give it a width and a height of 1 px or more."
        )
    return inside


def outer_box(table: Any, height: int, width: int) -> Box:
    """One table of the host's BOUNDING_BOX as the whole pixels of a picture that it touches.

    Raises ValueError for another thing than a table of four numbers of pixels, no width or height, or a box outside.
    """
    numbers: list[Any] = [table.get(side) for side in SIDES] if isinstance(table, dict) else []
    if not numbers or not all(isinstance(number, Real) for number in numbers):
        raise ValueError(
            f"A bounding box must be a table of x, y, width and height, each a number; got {str(table)[:80]}. Connect "
            "a node that gives the host's BOUNDING_BOX."
        )
    x, y, box_width, box_height = numbers
    if not (all(abs(number) < FARTHEST for number in numbers) and box_width > 0 and box_height > 0):
        raise ValueError(
            f"The bounding box at ({x}, {y}) of {box_width}x{box_height} px is none: its numbers must be finite and "
            "below 2^31, its width and height above 0."
        )
    right = float(x) + float(box_width)  # numpy's own small integers would begin anew at 256
    bottom = float(y) + float(box_height)
    return clip_box((floor(x), floor(y), ceil(right), ceil(bottom)), height, width)


def from_bounding_boxes(value: Any, height: int, width: int) -> list[list[Box]]:
    """The host's BOUNDING_BOX in any form as the boxes of each picture of `height` x `width` px.

    Floats are rounded outwards, what lies outside a picture is cut off. One list stands for every picture; a picture
    among several may have no box. Raises ValueError for what `outer_box` refuses, and where no picture has a box.
    """
    pictures = value if isinstance(value, (list, tuple)) else [value]
    if not all(isinstance(tables, (list, tuple)) for tables in pictures):
        pictures = [pictures]
    if not any(pictures):
        raise ValueError(
            "The connected bounding boxes are none: nothing was drawn, or nothing detected. Draw a box, lower the "
            "detector's threshold, or disconnect them."
        )
    return [[outer_box(table, height, width) for table in tables] for tables in pictures]


def to_bounding_boxes(boxes: Boxes) -> dict[str, int] | list[list[dict[str, int]]]:
    """The boxes of each picture as the host's BOUNDING_BOX: a single one as its table, otherwise a list per picture."""
    tables = [[dict(zip(SIDES, (x0, y0, x1 - x0, y1 - y0), strict=True)) for x0, y0, x1, y1 in one] for one in boxes]
    return tables[0][0] if [len(one) for one in tables] == [1] else tables


def square_around(box: Box) -> tuple[float, float, float, float]:
    """The square of a box's longer side with the same middle; it may reach out of the picture."""
    x0, y0, x1, y1 = box
    half = max(x1 - x0, y1 - y0) / 2
    x = (x0 + x1) / 2
    y = (y0 + y1) / 2
    return (x - half, y - half, x + half, y + half)
