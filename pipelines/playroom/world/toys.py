"""Toys: eight shapes, continuous colour, three patterns, drawn from signed distances.

Object coordinates: u to the right, v down, the toy stands on v = 1 and its top is near v = -1; one unit is
half the toy's height. Colours are float32 RGB in 0..1. `light` is the horizontal direction of the light, -1..1.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass, field

import numpy as np

SHAPES = ("ball", "block", "cone", "ring", "star", "mug", "bottle", "tree")
PATTERNS = ("plain", "stripes", "dots")
HALF_WIDTH = dict(ball=1.0, block=0.95, cone=0.8, ring=1.0, star=1.0, mug=1.0, bottle=0.52, tree=0.8)

LIGHT_ACCENT = np.array([0.97, 0.96, 0.92], np.float32)
DARK_ACCENT = np.array([0.13, 0.12, 0.2], np.float32)
TRUNK = np.array([0.42, 0.28, 0.16], np.float32)


@dataclass(frozen=True)
class Toy:
    """Identity of a toy; everything else (place, size, light, view) belongs to the picture it is in."""

    shape: str
    pattern: str
    colour: np.ndarray = field(repr=False)  # [3] RGB 0..1
    stripe_angle: float = 0.0  # radians, 0 = horizontal bands
    pattern_phase: float = 0.0  # 0..1

    @property
    def accent(self) -> np.ndarray:
        """Second colour of stripes and dots: dark on light colours, light on dark ones."""
        luminance = float(self.colour @ np.array([0.299, 0.587, 0.114], np.float32))
        return DARK_ACCENT if luminance > 0.55 else LIGHT_ACCENT

    @property
    def half_width(self) -> float:
        return HALF_WIDTH[self.shape]


def random_colour(rng: np.random.Generator, saturation=(0.65, 1.0), value=(0.6, 1.0)) -> np.ndarray:
    return np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(*saturation), rng.uniform(*value)), np.float32)


def random_toy(rng: np.random.Generator) -> Toy:
    return Toy(
        shape=SHAPES[rng.integers(len(SHAPES))],
        pattern=PATTERNS[rng.integers(len(PATTERNS))],
        colour=random_colour(rng),
        stripe_angle=float(rng.choice([0.0, 0.6, -0.6])),
        pattern_phase=float(rng.random()),
    )


@dataclass
class Surface:
    """What a shape says about each pixel: signed distance (inside < 0), brightness, parts with a paint of their own."""

    distance: np.ndarray
    shade: np.ndarray
    highlight: np.ndarray | float = 0.0
    painted: tuple[tuple[np.ndarray, np.ndarray], ...] = ()  # (distance, colour) drawn over the pattern


def _polygon(u, v, points):
    """Signed distance (a bound of it) to a convex polygon whose corners are given clockwise on screen."""
    edges = []
    for (x0, y0), (x1, y1) in zip(points, (*points[1:], points[0]), strict=True):
        ex = x1 - x0
        ey = y1 - y0
        edges.append(((u - x0) * ey - (v - y0) * ex) / np.hypot(ex, ey))
    return np.maximum.reduce(edges)


def _ellipse(u, v, cx, cy, a, b):
    return (np.sqrt(((u - cx) / a) ** 2 + ((v - cy) / b) ** 2) - 1) * min(a, b)


def _turned(u, half_width, light):
    """Brightness of a body of revolution: a cylinder's normal against a light from the side and front."""
    n = np.clip(u / half_width, -1, 1)
    return 0.5 + 0.52 * np.clip(n * light + np.sqrt(1 - n * n) * 0.85, 0, 1)


def _ball(u, v, light):
    n = np.sqrt(np.clip(1 - u * u - v * v, 0, 1))
    facing = np.clip(u * light * 0.6 - v * 0.55 + n * 0.6, 0, 1)
    return Surface(np.hypot(u, v) - 1, 0.45 + 0.58 * facing, facing**24 * 0.5)


def _block(u, v, light):
    x = u if light >= 0 else -u
    front = _polygon(x, v, [(-0.95, -0.45), (0.45, -0.45), (0.45, 1), (-0.95, 1)])
    top = _polygon(x, v, [(-0.95, -0.45), (-0.45, -0.95), (0.95, -0.95), (0.45, -0.45)])
    side = _polygon(x, v, [(0.45, -0.45), (0.95, -0.95), (0.95, 0.5), (0.45, 1)])
    shade = np.where(front < 0, 0.85, np.where(top < side, 1.06, 0.55))
    return Surface(np.minimum(np.minimum(front, top), side), shade)


def _cone(u, v, light):
    body = np.minimum(_polygon(u, v, [(0, -1), (0.8, 0.8), (-0.8, 0.8)]), _ellipse(u, v, 0, 0.8, 0.8, 0.2))
    return Surface(body, _turned(u, np.clip((v + 1) / 1.8, 0.06, 1) * 0.8, light))


def _ring(u, v, light):
    radius = np.hypot(u, v)
    across = np.clip((radius - 0.7) / 0.3, -1, 1)
    facing = np.clip(across * (u * light - v * 0.7) / np.maximum(radius, 1e-3) + np.sqrt(1 - across**2) * 0.75, 0, 1)
    return Surface(np.abs(radius - 0.7) - 0.3, 0.45 + 0.55 * facing)


def _star(u, v, light):
    step = 2 * np.pi / 5
    angle = np.arctan2(u, -(v - 0.1))
    radius = np.hypot(u, v - 0.1)
    folded = np.abs((angle + step / 2) % step - step / 2)
    x, y = radius * np.cos(folded), radius * np.sin(folded)
    outer = 1.1
    inner = 0.52
    ex = inner * np.cos(step / 2) - outer
    ey = inner * np.sin(step / 2)
    distance = ((x - outer) * ey - y * ex) / np.hypot(ex, ey)
    lit = ((angle + step / 2) % step - step / 2) * light > 0
    return Surface(distance, np.where(lit, 1.05, 0.74))


def _mug(u, v, light):
    x = u + 0.24
    body = np.maximum(np.abs(x) - 0.7, np.abs(v) - 0.76)
    body = np.minimum(body, np.minimum(_ellipse(x, v, 0, 0.8, 0.7, 0.2), _ellipse(x, v, 0, -0.76, 0.7, 0.2)))
    handle = np.abs(_ellipse(u, v, 0.46, 0.05, 0.42, 0.46)) - 0.12
    return Surface(
        np.minimum(body, handle),
        _turned(x, 0.7, light),
        painted=((_ellipse(x, v, 0, -0.76, 0.58, 0.14), np.array([0.16, 0.1, 0.08], np.float32)),),
    )


def _bottle(u, v, light):
    neck = np.clip((v + 0.55) / 0.4, 0, 1)
    half = 0.2 + 0.32 * neck * neck * (3 - 2 * neck)
    distance = np.maximum((np.abs(u) - half) * 0.85, np.abs(v) - 0.98)
    glint = np.exp(-(((u / half - light * 0.5) / 0.3) ** 2)) * 0.14
    return Surface(distance, _turned(u, half, light), glint, painted=((np.abs(v + 0.9) - 0.13, DARK_ACCENT),))


def _tree(u, v, light):
    tiers = [
        _polygon(u, v, [(0, -1), (0.52, -0.2), (-0.52, -0.2)]),
        _polygon(u, v, [(0, -0.6), (0.66, 0.22), (-0.66, 0.22)]),
        _polygon(u, v, [(0, -0.2), (0.8, 0.66), (-0.8, 0.66)]),
    ]
    crown = np.minimum.reduce(tiers)
    trunk = np.maximum(np.abs(u) - 0.17, np.abs(v - 0.75) - 0.25)
    down = np.where(v < -0.2, (v + 1) / 0.8, np.where(v < 0.22, (v + 0.6) / 0.82, (v + 0.2) / 0.86))
    shade = 1.06 - 0.36 * np.clip(down, 0, 1) + 0.18 * np.clip(u * light * 1.5, -1, 1)
    return Surface(np.minimum(crown, trunk), shade, painted=((np.maximum(trunk, 0.02 - crown), TRUNK),))


_SURFACES = dict(ball=_ball, block=_block, cone=_cone, ring=_ring, star=_star, mug=_mug, bottle=_bottle, tree=_tree)


def _pattern(toy: Toy, u, v):
    """Share of the accent colour per pixel, 0..1. Wide bands and big dots: they must survive a picture of 128 px."""
    if toy.pattern == "stripes":
        along = v * np.cos(toy.stripe_angle) + u * np.sin(toy.stripe_angle)
        return np.clip(0.5 + 3 * np.sin(2 * np.pi * (along / 0.72 + toy.pattern_phase)), 0, 1)
    if toy.pattern == "dots":
        row = np.floor(v / 0.62 + toy.pattern_phase)
        x = (u / 0.72 + 0.5 * (row % 2) + 0.25) % 1 - 0.5
        y = (v / 0.62 + toy.pattern_phase) % 1 - 0.5
        return np.clip((0.29 - np.hypot(x, y * 0.86)) * 12, 0, 1)
    return None


def draw_toy(
    canvas: np.ndarray,
    toy: Toy,
    *,
    foot: tuple[float, float],
    height: float,
    light: float,
    brightness: float = 1.0,
    rotation: float = 0.0,
) -> np.ndarray:
    """Draw the toy onto `canvas` [H,W,3] in 0..1, in place; its bottom centre is at `foot` (x, y) px, its height in px.

    Returns the coverage [H,W] in 0..1 (antialiased over one pixel).
    """
    rows, columns = canvas.shape[:2]
    half = height / 2
    cx = foot[0]
    cy = foot[1] - half
    reach = half * (1.5 if rotation else 1.2) + 2
    x0, x1 = max(0, int(cx - reach)), min(columns, int(cx + reach) + 2)
    y0, y1 = max(0, int(cy - reach)), min(rows, int(cy + reach) + 2)
    coverage = np.zeros((rows, columns), np.float32)
    if x0 >= x1 or y0 >= y1:
        return coverage
    yy, xx = np.mgrid[y0:y1, x0:x1].astype(np.float32) + np.float32(0.5)
    u = (xx - cx) / half
    v = (yy - cy) / half
    if rotation:
        cosine = np.cos(rotation)
        sine = np.sin(rotation)
        u, v = u * cosine + v * sine, v * cosine - u * sine
    pixel = 1 / half
    surface = _SURFACES[toy.shape](u, v, light)
    share = _pattern(toy, u, v)
    paint = np.broadcast_to(toy.colour, (*u.shape, 3))
    if share is not None:
        paint = paint + share[..., None] * (toy.accent - toy.colour)
    for distance, colour in surface.painted:
        cover = np.clip(0.5 - distance / pixel, 0, 1)[..., None]
        paint = paint * (1 - cover) + colour * cover
    highlight = np.asarray(surface.highlight, np.float32)[..., None]
    colour = np.clip((paint * surface.shade[..., None] + highlight) * brightness, 0, 1)
    alpha = np.clip(0.5 - surface.distance / pixel, 0, 1).astype(np.float32)
    window = canvas[y0:y1, x0:x1]
    window += alpha[..., None] * (colour.astype(np.float32) - window)
    coverage[y0:y1, x0:x1] = alpha
    return coverage
