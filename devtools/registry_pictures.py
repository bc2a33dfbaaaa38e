"""The registry's icon and banner, drawn by the playroom's own renderer: a toy put into a picture by a frame.

.dev/venv/bin/python devtools/pack.py devtools.registry_pictures
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..pipelines.playroom.world.toys import Toy, draw_toy
from .environment import ROOT

FOLDER = ROOT / "docs" / "images"
ICON_SIZE = (400, 400)  # px, the registry's largest
BANNER_SIZE = (1260, 540)  # px, 21:9 as the registry asks
WALL = np.array([0.93, 0.80, 0.78], np.float32)
FLOOR = np.array([0.55, 0.62, 0.45], np.float32)
SHADE = 0.55  # of the floor right below a toy
FRAME = (40, 40, 48)
LETTERS = (40, 40, 48)

MUG = Toy("mug", "stripes", np.array([0.16, 0.38, 0.82], np.float32))
BEHIND = (
    Toy("tree", "plain", np.array([0.20, 0.52, 0.30], np.float32)),
    Toy("bottle", "dots", np.array([0.78, 0.14, 0.20], np.float32)),
    Toy("ball", "stripes", np.array([0.95, 0.72, 0.20], np.float32), stripe_angle=0.6),
)


def room(width: int, height: int, horizon: float) -> np.ndarray:
    """A wall and a floor that meet at a share of the height, [height,width,3] in 0..1."""
    picture = np.empty((height, width, 3), np.float32)
    picture[:] = WALL
    picture[round(height * horizon) :] = FLOOR
    return picture


def put(picture: np.ndarray, toy: Toy, foot: tuple[float, float], height: float) -> None:
    """Draw a toy with its shadow into `picture` [H,W,3], in place; `foot` is its bottom centre, px."""
    rows, columns = np.mgrid[0 : picture.shape[0], 0 : picture.shape[1]].astype(np.float32)
    half = height / 2 * toy.half_width
    away = np.hypot((columns - foot[0]) / (1.25 * half), (rows - foot[1]) / (0.14 * height))
    picture *= 1 - (1 - SHADE) * np.clip(1 - away, 0, 1)[..., None]
    draw_toy(picture, toy, foot=foot, height=height, light=-0.5)


def dashed_frame(image: Image.Image, box: tuple[int, int, int, int], dash: int, width: int) -> None:
    """A dashed rectangle, as a selection looks."""
    draw = ImageDraw.Draw(image)
    left, top, right, bottom = box
    for x in range(left, right, 2 * dash):
        for y in (top, bottom):
            draw.line([(x, y), (min(x + dash, right), y)], fill=FRAME, width=width)
    for y in range(top, bottom, 2 * dash):
        for x in (left, right):
            draw.line([(x, y), (x, min(y + dash, bottom))], fill=FRAME, width=width)


def to_image(picture: np.ndarray) -> Image.Image:
    return Image.fromarray((picture.clip(0, 1) * 255).round().astype(np.uint8))


def icon() -> Image.Image:
    picture = room(*ICON_SIZE, horizon=0.62)
    put(picture, MUG, (200, 332), 250)
    image = to_image(picture)
    dashed_frame(image, (44, 56, 356, 352), dash=19, width=8)
    return image


def banner() -> Image.Image:
    picture = room(*BANNER_SIZE, horizon=0.6)
    for toy, x, height in zip(BEHIND, (610, 765, 1160), (330, 280, 160), strict=True):
        put(picture, toy, (x, 440), height)
    put(picture, MUG, (975, 460), 230)
    image = to_image(picture)
    dashed_frame(image, (850, 210, 1104, 482), dash=18, width=6)
    draw = ImageDraw.Draw(image)
    draw.text((70, 62), "Visual\nInsertion", fill=LETTERS, font=ImageFont.load_default(104), spacing=4)
    return image


def main() -> int:
    for name, draw in (("icon", icon), ("banner", banner)):
        path = FOLDER / f"{name}.png"
        draw().save(path, optimize=True)
        print(f"wrote {path}")
    return 0
