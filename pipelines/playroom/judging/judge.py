"""A small judge of shape and pattern. It is trained on true pictures only, apart from every model it judges."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...training.task import Batch, Task
from ...weights.reading import describe_misfit, read_weights, shapes_of
from ...weights.writing import save_tensors
from ..pictures import to_signed
from ..world.dataset import Arrays
from ..world.rooms import SIZE
from ..world.toys import PATTERNS, SHAPES

CROP = 40  # px, the side of what the judge looks at


def crop(pictures: Tensor, boxes: Tensor, margin: float = 3.0) -> Tensor:
    """Square crops [B,3,40,40] around boxes [B,4] (x0,y0,x1,y1 px) of pictures [B,3,128,128], wider by `margin` px."""
    half = (boxes[:, 2:] - boxes[:, :2]).amax(1) / 2 + margin
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    scale = half / (SIZE / 2)
    shift = centre / (SIZE / 2) - 1
    zero = torch.zeros_like(scale)
    theta = torch.stack([torch.stack([scale, zero, shift[:, 0]], 1), torch.stack([zero, scale, shift[:, 1]], 1)], 1)
    where = F.affine_grid(theta, [len(pictures), 3, CROP, CROP], align_corners=False)
    return F.grid_sample(pictures, where, padding_mode="border", align_corners=False)


class Judge(nn.Module):
    """Crops [B,3,40,40] in -1..1 -> logits (shape [B,8], pattern [B,3])."""

    def __init__(self):
        super().__init__()
        layers: list[nn.Module] = []
        width = 3
        for channels, stride in ((32, 1), (48, 2), (64, 1), (96, 2), (96, 1)):
            layers += [nn.Conv2d(width, channels, 3, stride, padding=1), nn.BatchNorm2d(channels), nn.ReLU()]
            width = channels
        self.look = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(5), nn.Flatten(), nn.Dropout(0.2))
        self.shape = nn.Linear(25 * width, len(SHAPES))
        self.pattern = nn.Linear(25 * width, len(PATTERNS))

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        features = self.look(crops)
        return self.shape(features), self.pattern(features)


class JudgeTask(Task):
    """True crops with a shaky box, blur, tint and grain, so that the judge forgives softness but not a wrong form."""

    def __init__(self, training: Arrays, batch: int = 64):
        self.data = training
        self.batch = batch
        self.judge = Judge()

    def modules(self):
        return {"judge": self.judge}

    def draw(self, step: int, generator: torch.Generator) -> Batch:
        def noise(*shape):
            return torch.randn(shape, generator=generator)

        index = torch.randint(len(self.data["target"]), (self.batch,), generator=generator).numpy()
        boxes = torch.from_numpy(self.data["box"][index]) + 2 * noise(self.batch, 4)
        crops = crop(to_signed(self.data["target"][index]), boxes)
        if step % 2:
            crops = F.interpolate(F.avg_pool2d(crops, 2), scale_factor=2, mode="bilinear")
        crops = crops * (1 + 0.15 * noise(self.batch, 3, 1, 1)) + 0.1 * noise(self.batch, 3, 1, 1)
        crops = crops + 0.05 * noise(*crops.shape)
        return {"crops": crops} | {name: torch.from_numpy(self.data[name][index]) for name in ("shape", "pattern")}

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        shape, pattern = self.judge(batch["crops"])
        losses = {
            "shape": F.cross_entropy(shape.float(), batch["shape"]),
            "pattern": F.cross_entropy(pattern.float(), batch["pattern"]),
        }
        return losses | {"loss": losses["shape"] + losses["pattern"]}


def save_judge(judge: Judge, path: Path) -> None:
    """Write the judge in half precision."""
    state = judge.state_dict()
    save_tensors(path, {name: t.half() if t.is_floating_point() else t for name, t in state.items()})


def load_judge(path: Path) -> Judge:
    """A saved judge, ready to look. Raises FileNotFoundError, ValueError."""
    judge = Judge()
    state, _ = read_weights(path)
    if misfit := describe_misfit(shapes_of(judge.state_dict()), shapes_of(state)):
        raise ValueError(f"{path} is not the playroom's judge: {misfit}.")
    judge.load_state_dict({name: t.float() if t.is_floating_point() else t for name, t in state.items()})
    return judge.eval()


@torch.no_grad()
def name_toys(judge: Judge, pictures: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices [B] of the shape and the pattern that the judge sees in boxes [B,4] of pictures uint8 [B,128,128,3]."""
    shape, pattern = judge(crop(to_signed(pictures), torch.as_tensor(boxes, dtype=torch.float32)))
    return shape.argmax(1).numpy(), pattern.argmax(1).numpy()
