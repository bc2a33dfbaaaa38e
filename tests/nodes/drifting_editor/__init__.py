"""A node pack of the tests: an edit model that drifts on purpose, and the same way each time.

It stands in for the models that templates name: it draws what it was asked for, and shifts, zooms, blurs and tints all
of the picture, as such models do.
"""

import torch
import torch.nn.functional as F
from comfy_api.latest import ComfyExtension, io

SHIFT = (5.0, -3.0)  # px to the right, down
ZOOM = 1.02
GAIN = (1.05, 0.99, 0.94)  # by channel: warmer
OFFSET = (0.01, 0.0, 0.015)
PLACE = (0.62, 0.55, 0.09)  # of the ball: middle and radius, in shares of the width and height, and of the shorter side
COLOUR = (0.85, 0.1, 0.15)


def drifted(pictures: torch.Tensor, place: tuple[float, float, float] = PLACE) -> torch.Tensor:
    """Pictures [B,H,W,C] in 0..1 with a red ball and its shadow, and everything a little elsewhere: [B,H,W,3]."""
    planes = pictures[..., :3].movedim(-1, 1)
    height, width = planes.shape[2:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    radius = place[2] * min(height, width)
    x = columns - place[0] * width
    y = rows - place[1] * height
    shadow = torch.exp(-(((x - 0.4 * radius) / (1.3 * radius)) ** 2 + ((y - 1.1 * radius) / (0.35 * radius)) ** 2))
    planes = planes * (1 - 0.5 * shadow)
    ball = (radius - (x**2 + y**2).sqrt() + 0.5).clamp(0, 1)
    light = (1 - ((x + 0.35 * radius) ** 2 + (y + 0.35 * radius) ** 2) / (3.5 * radius**2)).clamp(0.2, 1)
    planes = torch.lerp(planes, torch.tensor(COLOUR)[:, None, None] * light, ball)
    turned = torch.tensor([[1 / ZOOM, 0, -2 * SHIFT[0] / width], [0, 1 / ZOOM, -2 * SHIFT[1] / height]])
    grid = F.affine_grid(turned[None].expand(len(planes), -1, -1), list(planes.shape), align_corners=False)
    planes = F.grid_sample(planes, grid, mode="bicubic", padding_mode="reflection", align_corners=False)
    planes = F.avg_pool2d(planes, 3, 1, 1, count_include_pad=False)
    tint = planes.movedim(1, -1) * torch.tensor(GAIN) + torch.tensor(OFFSET)
    return tint.clamp(0, 1)


class DriftingEditor(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="DriftingEditor",
            category="tests",
            inputs=[io.Image.Input("image")],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, image) -> io.NodeOutput:
        return io.NodeOutput(drifted(image))


class DriftingEditorPack(ComfyExtension):
    async def get_node_list(self):
        return [DriftingEditor]


async def comfy_entrypoint():
    return DriftingEditorPack()
