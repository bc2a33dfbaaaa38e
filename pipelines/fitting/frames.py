"""Which part of a scene a model sees, and at what size: whole pixels, never stretched. No picture is touched here."""

from __future__ import annotations

from math import ceil, floor, log, sqrt
from typing import NamedTuple

from .families import Family, Size

METHODS = ("pad", "crop")
LEAST = 1 / 4  # of a frame that the scene fills, or of a scene that a frame keeps


class Frame(NamedTuple):
    """A part of a scene, px; it reaches out of the scene where that is padded. `size` is what the model sees of it."""

    left: int
    top: int
    width: int
    height: int
    size: Size


def nearest_shape(width: int, height: int, shapes: tuple[Size, ...]) -> Size:
    """The one of the shapes that is nearest to a picture's; among equals the one of the nearest number of pixels."""

    def distance(shape: Size) -> tuple[float, float]:
        shape_width, shape_height = shape
        turned = abs(log(shape_width / shape_height * height / width))
        return round(turned, 9), abs(log(shape_width * shape_height / (width * height)))

    return min(shapes, key=distance)


def stepped(width: float, height: float, family: Family, pad: bool) -> Size:
    """The size of a family without a list of sizes that covers (`pad`) or lies inside of a size, px."""
    rounded = ceil if pad else floor
    if family.shapes:
        across, down = nearest_shape(max(1, round(width)), max(1, round(height)), family.shapes)
        steps = max(1, rounded(max(width / across, height / down) if pad else min(width / across, height / down)))
        return across * steps, down * steps
    step = family.multiple
    least = ceil(family.shortest / step) * step
    return max(least, rounded(width / step) * step), max(least, rounded(height / step) * step)


def frame_of(width: int, height: int, family: Family, method: str) -> Frame:
    """The frame of a scene of `width` x `height` px, around its middle, and the size that a family works at.

    Nothing is resized where a size of the family is at hand; otherwise both sides are scaled by one factor, which
    rounding to whole pixels of the scene changes by less than a pixel over a side. Raises ValueError for another
    method, and for a scene so far from the family's shapes that less than a quarter of frame or scene would remain.
    """
    if method not in METHODS:
        raise ValueError(f"Unknown method '{method}'; use {', '.join(METHODS)}.")
    pad = method == "pad"
    if family.sizes:
        size = nearest_shape(width, height, family.sizes)
    else:
        size = stepped(width, height, family, pad)
        if size[0] * size[1] <= family.most:
            return _around_middle((width, height), size, size)
        scale = sqrt(family.most / (width * height))
        size = stepped(width * scale, height * scale, family, pad=False)
    factors = (width / size[0], height / size[1])
    factor = max(factors) if pad else min(factors)
    frame_size = (max(1, round(size[0] * factor)), max(1, round(size[1] * factor)))
    frame = _around_middle((width, height), frame_size, size)
    share = min(width * height, frame.width * frame.height) / max(width * height, frame.width * frame.height)
    if share < LEAST and (family.sizes or family.shapes):
        what = "is the scene's" if pad else "of the scene is kept"
        raise ValueError(
            f"The scene of {width}x{height} px is too far from all shapes of this model: at {size[0]}x{size[1]} px "
            f"only {share:.0%} {what}. Cut out a part with Local Region Crop, or use model = custom."
        )
    return frame


def _around_middle(scene: Size, frame: Size, size: Size) -> Frame:
    width, height = frame
    return Frame((scene[0] - width) // 2, (scene[1] - height) // 2, width, height, size)
