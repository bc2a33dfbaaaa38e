"""Boxes in pictures: (x0, y0, x1, y1) in px, the far sides exclusive."""

from __future__ import annotations

Box = tuple[int, int, int, int]


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
