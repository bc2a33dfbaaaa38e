"""Affine maps between pictures of any two sizes, and pictures seen through them.

A map is [2,3] float64: it takes a place of the scene to the place of the edited picture that shows it. Both are counted
from the picture's centre, in halves of its longer side, so that a map does not depend on the resolution.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Size = tuple[int, int]  # height and width, px
ROWS = 256  # of a picture that are seen through a map at a time
MARGIN = 4  # px that a bicubic kernel reads beyond a place, and more


def size_of(picture: Tensor) -> Size:
    """Height and width of a picture [H,W,...], px."""
    height, width = picture.shape[:2]
    return height, width


def half_extents(size: Size) -> np.ndarray:
    """Half the width and half the height [2] of a picture, in halves of its longer side."""
    height, width = size
    return np.array([width, height]) / max(size)


def stretched(scene: Size, edited: Size) -> np.ndarray:
    """The map of a picture that was brought to another size, corner to corner; the identity for one of its shape."""
    scale = half_extents(edited) / half_extents(scene)
    return np.array([[scale[0], 0, 0], [0, scale[1], 0]])


def uniform(scene: Size, edited: Size, *, cover: bool) -> np.ndarray:
    """The map of a picture that was brought to another size without stretching, centre on centre.

    With `cover` the edited picture is filled and what sticks out of it is lost; without, the whole scene is in it.
    """
    scales = half_extents(edited) / half_extents(scene)
    scale = scales.max() if cover else scales.min()
    return np.array([[scale, 0, 0], [0, scale, 0]])


def places(matrix: np.ndarray, scene: Size, edited: Size, top: int = 0, rows: int | None = None) -> Tensor:
    """Where the scene's pixels lie in the edited picture, [rows,W,2] as `grid_sample` counts."""
    height, width = scene
    count = height - top if rows is None else rows
    x = (torch.arange(width, dtype=torch.float32) + 0.5 - width / 2) * (2 / max(scene))
    y = (torch.arange(top, top + count, dtype=torch.float32) + 0.5 - height / 2) * (2 / max(scene))
    x_scale, y_scale = 1 / half_extents(edited)
    a = matrix.tolist()
    columns = (a[0][0] * x + a[0][2])[None] + (a[0][1] * y)[:, None]
    lines = (a[1][0] * x + a[1][2])[None] + (a[1][1] * y)[:, None]
    return torch.stack([columns * x_scale, lines * y_scale], -1)


def inside(grid: Tensor, edited: Size) -> Tensor:
    """Which of the places [...,2] lie in the edited picture, up to half a pixel beyond its border."""
    height, width = edited
    slack = torch.tensor([1 + 1 / width, 1 + 1 / height])
    return (grid.abs() <= slack).all(-1)


def seen_through(
    matrix: np.ndarray, edited: Tensor, scene: Size, *, where: Tensor | None = None
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """The edited picture [h,w,C] laid over a scene of this size, some rows at a time; only those of `where` [H,W].

    Each time: which rows, their pixels [rows,W,C], and which of them the edited picture shows [rows,W].
    """
    size = size_of(edited)
    for top in range(0, scene[0], ROWS):
        count = min(ROWS, scene[0] - top)
        if where is not None and not where[top : top + count].any():
            continue
        grid = places(matrix, scene, size, top, count)
        shown = inside(grid, size)
        lines = ((grid[..., 1] + 1) * size[0] - 1) / 2  # px
        first = min(max(math.floor(float(lines.min())) - MARGIN, 0), size[0] - 1)
        last = min(max(math.ceil(float(lines.max())) + MARGIN, first + 1), size[0])
        grid[..., 1] = (2 * (lines - first) + 1) / (last - first) - 1
        planes = edited[first:last].movedim(-1, 0)[None].float()  # `grid_sample` copies what it reads
        rows = F.grid_sample(planes, grid[None], mode="bicubic", padding_mode="border", align_corners=False)
        yield slice(top, top + count), rows[0].movedim(0, -1), shown


def laid_over(matrix: np.ndarray, edited: Tensor, scene: Size) -> tuple[Tensor, Tensor]:
    """The edited picture [h,w,C] laid over a scene of this size [H,W,C], and which pixels it shows [H,W] bool."""
    strips = list(seen_through(matrix, edited, scene))
    return torch.cat([pixels for _, pixels, _ in strips]), torch.cat([shown for _, _, shown in strips])
