"""The guidance schedule as a small picture for the node."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .guidance import Guidance, scales_at

SIZE = (640, 300)  # px, twice what a node shows of it
LEFT, RIGHT, TOP, BOTTOM = 56, 24, 44, 48
SAMPLES = 121
COLOURS = {"object": (232, 140, 62), "scene": (86, 152, 214)}
PAPER = (34, 36, 40)
LINES = (70, 72, 76)
LETTERS = (170, 172, 176)
STEPS = (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)


def ticks(top: float) -> list[float]:
    """Round numbers for an axis from 0 to `top`, at most five beside 0."""
    step = next(step for step in STEPS if top / step <= 5)
    return [step * index for index in range(int(top / step) + 1)]


def draw_schedule(guidance: Guidance) -> Image.Image:
    """Both scales over the run, 640x300 px: from pure noise (left) to the clean picture (right)."""
    image = Image.new("RGB", SIZE, PAPER)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(20)
    width = SIZE[0] - LEFT - RIGHT
    height = SIZE[1] - TOP - BOTTOM
    ground = TOP + height
    top = max(guidance.object_scale, guidance.scene_scale, 1.0)
    for value in ticks(top):
        level = ground - height * value / top
        draw.line([(LEFT, level), (LEFT + width, level)], fill=LINES, width=1)
        draw.text((LEFT - 8, level), f"{value:g}", fill=LETTERS, font=font, anchor="rm")
    for share in (0, 0.25, 0.5, 0.75, 1):
        draw.line([(LEFT + width * share, ground), (LEFT + width * share, ground + 6)], fill=LETTERS, width=2)
    for share, anchor, text in ((0, "lt", "0 noise"), (0.5, "mt", "0.5"), (1, "rt", "picture 1")):
        draw.text((LEFT + width * share, ground + 12), text, fill=LETTERS, font=font, anchor=anchor)
    progress = np.linspace(0, 1, SAMPLES)
    scales = [scales_at(guidance, 1 - share, lambda percent: 1 - percent) for share in progress]
    for offset, (name, colour) in enumerate(COLOURS.items()):
        points = [
            (LEFT + width * share, ground - height * getattr(scale, name) / top)
            for share, scale in zip(progress, scales, strict=True)
        ]
        draw.line(points, fill=colour, width=4)
        label = f"{name} {getattr(guidance, name + '_scale'):g}"
        draw.text((LEFT + 220 * offset, 12), label, fill=colour, font=font)
    return image
