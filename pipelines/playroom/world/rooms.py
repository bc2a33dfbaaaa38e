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


def _blend(picture, mask, colour):
    picture += np.clip(mask, 0, 1)[..., None] * (colour - picture)


def _box(xx, yy, x0, y0, x1, y1):
    """Antialiased coverage of an axis-aligned rectangle."""
    return np.clip(np.minimum(np.minimum(xx - x0, x1 - xx), np.minimum(yy - y0, y1 - yy)) + 0.5, 0, 1)


def _wall(picture, xx, yy, rng, horizon, light):
    base = random_colour(rng, (0.08, 0.4), (0.65, 0.95))
    glow = 1 + 0.14 * light * (xx / SIZE - 0.5) - 0.1 * (yy / horizon - 0.5)
    picture[:] = base * glow[..., None]
    decoration = rng.integers(4)
    if decoration == 0:  # a window
        w, h = rng.uniform(22, 36), rng.uniform(18, 26)
        x0, y0 = rng.uniform(4, SIZE - w - 4), rng.uniform(4, max(5.0, horizon - h - 8))
        frame = np.clip(base * 0.55, 0, 1)
        sky = np.array([0.74, 0.87, 0.97], np.float32) * np.float32(rng.uniform(0.9, 1.02))
        _blend(picture, _box(xx, yy, x0 - 2, y0 - 2, x0 + w + 2, y0 + h + 2), frame)
        _blend(picture, _box(xx, yy, x0, y0, x0 + w, y0 + h), sky)
        _blend(picture, _box(xx, yy, x0 + w / 2 - 1, y0, x0 + w / 2 + 1, y0 + h), frame)
    elif decoration == 1:  # a painting
        w, h = rng.uniform(16, 28), rng.uniform(14, 22)
        x0, y0 = rng.uniform(4, SIZE - w - 4), rng.uniform(4, max(5.0, horizon - h - 8))
        _blend(picture, _box(xx, yy, x0 - 2, y0 - 2, x0 + w + 2, y0 + h + 2), np.clip(base * 0.45, 0, 1))
        _blend(picture, _box(xx, yy, x0, y0, x0 + w, y0 + h), random_colour(rng, (0.2, 0.5), (0.7, 0.95)))
        hill = y0 + h * 0.6 + 2 * np.sin(xx / rng.uniform(4, 8))
        lower = _box(xx, yy, x0, y0, x0 + w, y0 + h) * np.clip(yy - hill, 0, 1)
        _blend(picture, lower, random_colour(rng, (0.2, 0.5), (0.5, 0.8)))
    elif decoration == 2:  # wainscot
        _blend(picture, np.clip(yy - horizon * 0.55, 0, 1), np.clip(base * 0.84, 0, 1))


def _floor(picture, xx, yy, rng, horizon, light):
    base = random_colour(rng, (0.1, 0.45), (0.4, 0.8))
    depth = np.clip((yy - horizon) / (SIZE - horizon), 0, 1)
    tone = (0.92 + 0.16 * depth) * (1 + 0.1 * light * (xx / SIZE - 0.5))
    distance = 40 / np.maximum(yy - horizon + 8, 1)
    kind = rng.integers(3)
    if kind == 1:  # planks towards the viewer
        tone = tone * (1 - 0.07 * (np.floor((xx - SIZE / 2) * distance / 26) % 2))
    elif kind == 2:  # tiles
        tone = tone * (1 - 0.07 * ((np.floor((xx - SIZE / 2) * distance / 28) + np.floor(distance * 5)) % 2))
    ground = base * tone[..., None]
    mask = np.clip(yy - horizon, 0, 1)[..., None]
    picture += mask * (ground - picture)
    _blend(picture, np.clip(1.5 - np.abs(yy - horizon), 0, 1), np.clip(base * 0.6, 0, 1))


def _draw_table(picture, xx, yy, rng, table):
    wood = random_colour(rng, (0.3, 0.6), (0.4, 0.75))
    for x in (table.left + 4, table.right - 10):
        _blend(picture, _box(xx, yy, x, table.front, x + 6, table.bottom), wood * 0.6)
    slope = np.clip((table.front - yy) / (table.front - table.back), 0, 1) * table.inset
    top = _box(xx, yy, 0, table.back, SIZE, table.front) * np.clip(
        np.minimum(xx - table.left - slope, table.right - slope - xx) + 0.5, 0, 1
    )
    _blend(picture, top, np.clip(wood * 1.15, 0, 1))
    _blend(picture, _box(xx, yy, table.left, table.front, table.right, table.front + 6), wood * 0.8)


def random_room(rng: np.random.Generator) -> Room:
    yy, xx = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) + np.float32(0.5)
    horizon = float(rng.uniform(44, 60))
    light = float(rng.choice([-1, 1]) * rng.uniform(0.35, 0.8))
    picture = np.empty((SIZE, SIZE, 3), np.float32)
    _wall(picture, xx, yy, rng, horizon, light)
    _floor(picture, xx, yy, rng, horizon, light)
    support = yy > horizon + 3
    table = None
    if rng.random() < 0.4:
        width, back = rng.uniform(66, 104), rng.uniform(60, 74)
        left = rng.uniform(-6, SIZE - width + 6)
        table = Table(left, left + width, back, back + rng.uniform(15, 20), width * 0.08)
        _draw_table(picture, xx, yy, rng, table)
        column = (xx > table.left) & (xx < table.right)
        support &= ~(column & (yy > table.front) & (yy < table.bottom + 2))
        slope = np.clip((table.front - yy) / (table.front - table.back), 0, 1) * table.inset
        on_top = (yy > table.back) & (yy <= table.front + 1)
        support |= on_top & (xx > table.left + slope) & (xx < table.right - slope)
        behind = column & (yy > horizon) & (yy <= table.back)
        support &= ~behind
    return Room(np.clip(picture, 0, 1), horizon, light, float(rng.uniform(0.94, 1.05)), table, support)
