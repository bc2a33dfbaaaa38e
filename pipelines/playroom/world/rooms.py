"""Rooms: a wall, a floor, sometimes a table; one light; and where a toy may stand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .toys import random_colour

SIZE = 128  # px, the side of every playroom picture


@dataclass(frozen=True)
class Table:
    """A table seen from the front: its top spans rows back..front, its columns left..right at the front edge."""

    left: float
    right: float
    back: float
    front: float
    inset: float

    @property
    def bottom(self) -> float:
        return self.front + 34


@dataclass
class Room:
    picture: np.ndarray  # [SIZE,SIZE,3] float32 0..1, empty room
    horizon: float  # row where wall and floor meet
    light: float  # -1..1, where the light comes from
    brightness: float
    table: Table | None
    support: np.ndarray  # [SIZE,SIZE] bool: a toy's bottom centre may be here


class _Canvas:
    """A picture [SIZE,SIZE,3] to paint on, and its pixels' centres: xx, yy [SIZE,SIZE]."""

    def __init__(self):
        self.picture = np.empty((SIZE, SIZE, 3), np.float32)
        self.yy, self.xx = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) + np.float32(0.5)

    def box(self, x0, y0, x1, y1):
        """Antialiased coverage of an axis-aligned rectangle."""
        horizontally = np.minimum(self.xx - x0, x1 - self.xx)
        vertically = np.minimum(self.yy - y0, y1 - self.yy)
        return np.clip(np.minimum(horizontally, vertically) + 0.5, 0, 1)

    def blend(self, mask, colour):
        self.picture += np.clip(mask, 0, 1)[..., None] * (colour - self.picture)


def _wall(canvas: _Canvas, rng, horizon, light):
    xx = canvas.xx
    yy = canvas.yy
    base = random_colour(rng, (0.08, 0.4), (0.65, 0.95))
    glow = 1 + 0.14 * light * (xx / SIZE - 0.5) - 0.1 * (yy / horizon - 0.5)
    canvas.picture[:] = base * glow[..., None]
    decoration = rng.integers(4)
    if decoration == 0:
        _window(canvas, rng, horizon, base)
    elif decoration == 1:
        _painting(canvas, rng, horizon, base)
    elif decoration == 2:  # wainscot
        canvas.blend(np.clip(yy - horizon * 0.55, 0, 1), np.clip(base * 0.84, 0, 1))


def _hang(rng, horizon, width, height):
    """A place on the wall: x0, y0, x1, y1."""
    x0 = rng.uniform(4, SIZE - width - 4)
    y0 = rng.uniform(4, max(5.0, horizon - height - 8))
    return x0, y0, x0 + width, y0 + height


def _window(canvas: _Canvas, rng, horizon, base):
    width = rng.uniform(22, 36)
    height = rng.uniform(18, 26)
    x0, y0, x1, y1 = _hang(rng, horizon, width, height)
    frame = np.clip(base * 0.55, 0, 1)
    sky = np.array([0.74, 0.87, 0.97], np.float32) * np.float32(rng.uniform(0.9, 1.02))
    canvas.blend(canvas.box(x0 - 2, y0 - 2, x1 + 2, y1 + 2), frame)
    canvas.blend(canvas.box(x0, y0, x1, y1), sky)
    canvas.blend(canvas.box(x0 + width / 2 - 1, y0, x0 + width / 2 + 1, y1), frame)


def _painting(canvas: _Canvas, rng, horizon, base):
    width = rng.uniform(16, 28)
    height = rng.uniform(14, 22)
    x0, y0, x1, y1 = _hang(rng, horizon, width, height)
    canvas.blend(canvas.box(x0 - 2, y0 - 2, x1 + 2, y1 + 2), np.clip(base * 0.45, 0, 1))
    canvas.blend(canvas.box(x0, y0, x1, y1), random_colour(rng, (0.2, 0.5), (0.7, 0.95)))
    hill = y0 + height * 0.6 + 2 * np.sin(canvas.xx / rng.uniform(4, 8))
    lower = canvas.box(x0, y0, x1, y1) * np.clip(canvas.yy - hill, 0, 1)
    canvas.blend(lower, random_colour(rng, (0.2, 0.5), (0.5, 0.8)))


def _floor(canvas: _Canvas, rng, horizon, light):
    xx = canvas.xx
    yy = canvas.yy
    base = random_colour(rng, (0.1, 0.45), (0.4, 0.8))
    depth = np.clip((yy - horizon) / (SIZE - horizon), 0, 1)
    tone = (0.92 + 0.16 * depth) * (1 + 0.1 * light * (xx / SIZE - 0.5))
    distance = 40 / np.maximum(yy - horizon + 8, 1)
    kind = rng.integers(3)
    if kind == 1:  # planks towards the viewer
        tone = tone * (1 - 0.07 * (np.floor((xx - SIZE / 2) * distance / 26) % 2))
    elif kind == 2:  # tiles
        tone = tone * (1 - 0.07 * ((np.floor((xx - SIZE / 2) * distance / 28) + np.floor(distance * 5)) % 2))
    canvas.blend(yy - horizon, base * tone[..., None])
    canvas.blend(1.5 - np.abs(yy - horizon), np.clip(base * 0.6, 0, 1))


def _draw_table(canvas: _Canvas, rng, table: Table):
    xx = canvas.xx
    wood = random_colour(rng, (0.3, 0.6), (0.4, 0.75))
    for x in (table.left + 4, table.right - 10):
        canvas.blend(canvas.box(x, table.front, x + 6, table.bottom), wood * 0.6)
    slope = _slope(canvas, table)
    sides = np.clip(np.minimum(xx - table.left - slope, table.right - slope - xx) + 0.5, 0, 1)
    canvas.blend(canvas.box(0, table.back, SIZE, table.front) * sides, np.clip(wood * 1.15, 0, 1))
    canvas.blend(canvas.box(table.left, table.front, table.right, table.front + 6), wood * 0.8)


def _slope(canvas: _Canvas, table: Table):
    """How far the table's top is drawn in at each pixel, towards the back."""
    return np.clip((table.front - canvas.yy) / (table.front - table.back), 0, 1) * table.inset


def random_room(rng: np.random.Generator) -> Room:
    canvas = _Canvas()
    xx = canvas.xx
    yy = canvas.yy
    horizon = float(rng.uniform(44, 60))
    light = float(rng.choice([-1, 1]) * rng.uniform(0.35, 0.8))
    _wall(canvas, rng, horizon, light)
    _floor(canvas, rng, horizon, light)
    support = yy > horizon + 3
    table = None
    if rng.random() < 0.4:
        width = rng.uniform(66, 104)
        back = rng.uniform(60, 74)
        left = rng.uniform(-6, SIZE - width + 6)
        front = back + rng.uniform(15, 20)
        table = Table(left=left, right=left + width, back=back, front=front, inset=width * 0.08)
        _draw_table(canvas, rng, table)
        column = (xx > table.left) & (xx < table.right)
        support &= ~(column & (yy > table.front) & (yy < table.bottom + 2))
        slope = _slope(canvas, table)
        on_top = (yy > table.back) & (yy <= table.front + 1)
        support |= on_top & (xx > table.left + slope) & (xx < table.right - slope)
        behind = column & (yy > horizon) & (yy <= table.back)
        support &= ~behind
    return Room(
        picture=np.clip(canvas.picture, 0, 1),
        horizon=horizon,
        light=light,
        brightness=float(rng.uniform(0.94, 1.05)),
        table=table,
        support=support,
    )
