"""The guidance schedule as a small picture for the node."""

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from .guidance import Guidance, scales_at

SIZE = (320, 140)
MARGIN = 24
SAMPLES = 121
COLOURS = {"object": (232, 140, 62), "scene": (86, 152, 214)}


def schedule_picture(guidance: Guidance) -> torch.Tensor:
    """IMAGE [1,140,320,3]: both scales over the run, from pure noise (left) to the clean picture (right)."""
    image = Image.new("RGB", SIZE, (34, 36, 40))
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(11)
    width, height = SIZE[0] - 2 * MARGIN, SIZE[1] - 2 * MARGIN
    top = max(guidance.object_scale, guidance.scene_scale, 1.0)
    progress = np.linspace(0, 1, SAMPLES)
    rows = [scales_at(guidance, 1 - share, lambda percent: 1 - percent) for share in progress]
    ground = MARGIN + height - height / top
    draw.line([(MARGIN, ground), (MARGIN + width, ground)], fill=(90, 92, 96))
    for offset, (name, colour) in enumerate(COLOURS.items()):
        values = [getattr(scales, name) for scales in rows]
        points = [
            (MARGIN + width * share, MARGIN + height * (1 - value / top))
            for share, value in zip(progress, values, strict=True)
        ]
        draw.line(points, fill=colour, width=2)
        label = f"{name} {getattr(guidance, name + '_scale'):g}"
        draw.text((MARGIN + 110 * offset, 5), label, fill=colour, font=font)
    draw.text((MARGIN, SIZE[1] - 18), "noise", fill=(150, 152, 156), font=font)
    draw.text((SIZE[0] - MARGIN - 40, SIZE[1] - 18), "picture", fill=(150, 152, 156), font=font)
    return torch.from_numpy(np.asarray(image, dtype=np.float32) / 255)[None]
