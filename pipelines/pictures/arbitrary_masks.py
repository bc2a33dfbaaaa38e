"""The arbitrary shape around a box that Paint by Example trains with (arXiv 2211.13227, section 3.3).

Masks are bool [H,W], True where the picture may change.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from .boxes import Box, Boxes, clip_box

SAMPLES, JITTER, SHARE = 18, 5, 0.4  # of Paint by Example, as its authors' code has them


def extended_box(box: Box, height: int, width: int, generator: Generator, *, share: float = SHARE) -> Box:
    """The box with each side moved out by a random part, at most `share` 0..1, of the room to the picture's border."""
    x0, y0, x1, y1 = clip_box(box, height, width)

    def part(room: int) -> int:
        return int(torch.randint(int(share * room) + 1, (), generator=generator))

    return (x0 - part(x0), y0 - part(y0), x1 + part(width - x1), y1 + part(height - y1))


def outline(box: Box, extended: Box, generator: Generator, *, samples: int = SAMPLES, jitter: int = JITTER) -> Tensor:
    """Points [4*samples,2] (x, y) around a box: one quadratic Bezier curve per side, corner to corner.

    A side's middle control point lies on the same side of the `extended` box. Points are `samples` per side at
    t = k / (samples + 2), moved by whole numbers of px from -`jitter` to `jitter`. At 18 samples: t = .05 to .90.
    """
    x0, y0, x1, y1 = box
    left, top, right, bottom = extended
    middle_x = (x0 + x1) / 2
    middle_y = (y0 + y1) / 2
    start = torch.tensor([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=torch.float32)[:, None]
    control = torch.tensor([[middle_x, top], [right, middle_y], [middle_x, bottom], [left, middle_y]])[:, None]
    end = start.roll(-1, 0)
    t = (torch.arange(1, samples + 1) / (samples + 2))[:, None]
    points = (1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * end
    jittered = torch.randint(-jitter, jitter + 1, points.shape, generator=generator)
    return (points + jittered).flatten(0, 1)


def polygon_mask(points: Tensor, height: int, width: int) -> Tensor:
    """Pixels [H,W] whose centre a closed polygon [N,2] (x, y) winds around, whatever its direction.

    Each edge adds its direction where a row of pixel centres crosses it; summed from the left this is the winding
    number, so a polygon that crosses itself has no holes.
    """
    start = points.double()
    end = start.roll(-1, 0)
    rows = torch.arange(height, dtype=torch.float64) + 0.5
    direction = (end[:, 1:] > rows).int() - (start[:, 1:] > rows).int()  # [N,H]: 1 down, -1 up, 0 no crossing
    edge, row = direction.nonzero(as_tuple=True)
    x, y = start[edge].T
    dx, dy = (end - start)[edge].T
    first = (x + (rows[row] - y) / dy * dx - 0.5).ceil().clamp(0, width).long()  # first centre right of the crossing
    winding = torch.zeros(height, width + 1, dtype=torch.int32)
    winding.index_put_((row, first), direction[edge, row].int(), accumulate=True)
    return winding.cumsum(1)[:, :width] != 0


def arbitrary_mask(
    box: Box,
    height: int,
    width: int,
    generator: Generator,
    *,
    samples: int = SAMPLES,
    jitter: int = JITTER,
    extended: Box | None = None,
) -> Tensor:
    """An arbitrary shape around a box, Paint by Example's mask augmentation.

    `extended` is how far the shape may bulge, a random `extended_box` by default. The box's middle always belongs,
    so the mask is never empty. `jitter` is in px of this picture; the reference's 5 suits pictures of 512 px.
    Raises ValueError for a box outside the picture, less than one sample a side, or a negative jitter.
    """
    if samples < 1 or jitter < 0:
        raise ValueError(f"samples must be 1 or more and jitter 0 or more; got {samples} and {jitter}.")
    x0, y0, x1, y1 = box = clip_box(box, height, width)
    extended = extended or extended_box(box, height, width, generator)
    mask = polygon_mask(outline(box, extended, generator, samples=samples, jitter=jitter), height, width)
    mask[(y0 + y1) // 2, (x0 + x1) // 2] = True
    return mask


def arbitrary_masks(
    boxes: Boxes,
    height: int,
    width: int,
    *,
    seed: int,
    samples: int = SAMPLES,
    jitter: int = JITTER,
    extension: float = SHARE,
) -> Tensor:
    """Masks [B,H,W] float32, 0 or 1, of an arbitrary shape around each box, drawn one after the other from one seed.

    Several boxes of a picture make one mask, and none an empty one. `extension` is the `share` of `extended_box`.
    Raises ValueError for what `arbitrary_mask` refuses.
    """
    generator = Generator().manual_seed(seed)
    masks = torch.zeros(len(boxes), height, width, dtype=torch.bool)
    for mask, own in zip(masks, boxes, strict=True):
        for box in own:
            extended = extended_box(box, height, width, generator, share=extension)
            mask |= arbitrary_mask(box, height, width, generator, samples=samples, jitter=jitter, extended=extended)
    return masks.float()
