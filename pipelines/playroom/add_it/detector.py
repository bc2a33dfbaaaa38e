"""A detector of toys in pictures, the judge of text to picture: which shapes, patterns and hues stand where.

It learns from true pictures alone, apart from every model that it judges. The playroom's oracle asks what changed,
which says nothing where every pixel is new.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...training.precision import autocast
from ..world.toys import PATTERNS, SHAPES
from .columns import Scenes, mirrored, signed
from .limits import Limits, cosine, warm
from .scenes import HUE_NAMES
from .updating import update

GRID = 16  # cells a side
CELL = 8  # px
THRESHOLD = 0.3  # of the heat of a find; the trial's value
HEADS = (1, len(SHAPES), len(PATTERNS), len(HUE_NAMES), 4)  # heat, shape, pattern, hue, box


@dataclass(frozen=True)
class Find:
    """A toy that the detector sees; shape, pattern and hue are indices, the box is x0, y0, x1, y1 in px."""

    score: float
    shape: int
    pattern: int
    hue: int
    box: tuple[float, float, float, float]


class _Block(nn.Module):
    def __init__(self, width: int, dilation: int):
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.conv = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(F.silu(self.norm(x)))


class Detector(nn.Module):
    """Pictures [B,3,128,128] in -1..1 -> heat, shape, pattern, hue, box [B,1|8|3|8|4,16,16].

    A box is given as the distances of its four sides from the cell's middle, in units of 32 px.
    """

    def __init__(self, width: int = 96):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 32, 5, 2, padding=2),
            _Block(32, 1),
            nn.Conv2d(32, 64, 3, 2, padding=1),
            _Block(64, 1),
            _Block(64, 1),
            nn.Conv2d(64, width, 3, 2, padding=1),
        )
        self.blocks = nn.Sequential(*(_Block(width, dilation) for dilation in (1, 2, 1, 2, 1)))
        self.heads = nn.Conv2d(width, sum(HEADS), 1)

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        return self.heads(F.silu(self.blocks(self.stem(pictures)))).float().split(HEADS, 1)

    @torch.no_grad()
    def find(self, pictures: Tensor, threshold: float = THRESHOLD) -> list[list[Find]]:
        """The toys of each picture, the surest first."""
        finds = []
        for part in pictures.split(256):
            finds += self._find(part, threshold)
        return finds

    def _find(self, pictures: Tensor, threshold: float) -> list[list[Find]]:
        heat, shape, pattern, hue, box = (head.cpu() for head in self(pictures))
        heat = heat.sigmoid()
        peaks = (F.max_pool2d(heat, 5, 1, 2) == heat) & (heat > threshold)
        finds: list[list[Find]] = [[] for _ in pictures]
        for index, _, row, column in peaks.nonzero().tolist():
            left, up, right, down = (32 * box[index, :, row, column]).tolist()
            x = CELL * (column + 0.5)
            y = CELL * (row + 0.5)
            finds[index].append(
                Find(
                    score=float(heat[index, 0, row, column]),
                    shape=int(shape[index, :, row, column].argmax()),
                    pattern=int(pattern[index, :, row, column].argmax()),
                    hue=int(hue[index, :, row, column].argmax()),
                    box=(x - left, y - up, x + right, y + down),
                )
            )
        return [sorted(of_one, key=lambda find: -find.score) for of_one in finds]


def train_detector(
    scenes: Scenes, *, limits: Limits, report: Callable[[str], None], batch: int = 192, generator: torch.Generator
) -> Detector:
    """A detector learned from the scenes' true pictures, softened, tinted and grained, on their device."""
    device = scenes.picture.device
    detector = Detector().to(device)
    average = Detector().to(device).requires_grad_(False)
    average.load_state_dict(detector.state_dict())
    optimizer = torch.optim.AdamW(detector.parameters(), 2e-3, betas=(0.9, 0.98), weight_decay=1e-2)
    for step, share in limits.run():
        index = torch.randint(len(scenes), (batch,), generator=generator, device=device)
        flip = torch.rand(batch, generator=generator, device=device) < 0.5
        pictures = signed(scenes.picture[index])
        pictures = _worn(
            torch.where(flip[:, None, None, None], pictures.flip(-1), pictures), generator, soft=step % 2 == 1
        )
        boxes = mirrored(scenes.box[index], flip, pictures.shape[-1])
        with autocast(device):
            heads = detector(pictures)
        loss, parts = _loss(heads, boxes, scenes.label[index], scenes.present[index])
        rate = 2e-3 * warm(step, 50) * cosine(share)
        update(loss, detector, average, [optimizer], rate=rate, step=step, longest=0.995)
        if step % 100 == 0:
            report(
                f"detector step {step} share {share:.2f} " + " ".join(f"{k} {v.item():.4f}" for k, v in parts.items())
            )
    report(f"detector ends after {step + 1} steps of {batch} pictures")
    return average.eval()


def _worn(pictures: Tensor, generator: torch.Generator, *, soft: bool) -> Tensor:
    """Pictures as a model might make them, so that the detector forgives softness but not a wrong form."""
    count = len(pictures)

    def noise(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=pictures.device)

    if soft:
        pictures = F.interpolate(F.avg_pool2d(pictures, 2), scale_factor=2, mode="bilinear")
    pictures = pictures * (1 + 0.06 * noise(count, 3, 1, 1)) + 0.04 * noise(count, 3, 1, 1)
    return pictures + 0.08 * torch.rand(count, 1, 1, 1, generator=generator, device=pictures.device) * noise(
        *pictures.shape
    )


def _loss(heads: Sequence[Tensor], boxes: Tensor, labels: Tensor, present: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """How far the heads are from the toys: boxes [B,3,4] px, labels [B,3,3], present [B,3]."""
    heat, shape, pattern, hue, box = heads
    middle = CELL * (torch.arange(GRID, device=boxes.device) + 0.5)
    x0, y0, x1, y1 = (side[..., None, None] for side in boxes.unbind(-1))
    across = middle[None, None, None, :]
    down = middle[None, None, :, None]
    squared = (down - (y0 + y1) / 2) ** 2 + (across - (x0 + x1) / 2) ** 2
    target = (torch.exp(-squared / (2 * 7.0**2)) * present[..., None, None]).amax(1)
    near = ((squared < 10.0**2) & present[..., None, None]).float()  # [B,3,16,16]
    total = near.sum().clamp(min=1)
    parts = {"heat": F.binary_cross_entropy_with_logits(heat[:, 0], target)}
    for name, logits, truth in (("shape", shape, 0), ("pattern", pattern, 1), ("hue", hue, 2)):
        chances = logits.log_softmax(1)[:, None].expand(-1, boxes.shape[1], -1, -1, -1)
        chosen = labels[..., truth, None, None, None].expand(-1, -1, 1, GRID, GRID)
        parts[name] = -(chances.gather(2, chosen)[:, :, 0] * near).sum() / total
    sides = torch.stack(torch.broadcast_tensors(across - x0, down - y0, x1 - across, y1 - down), 2) / 32
    parts["box"] = ((box[:, None] - sides).abs().sum(2) * near).sum() / total
    loss = 20 * parts["heat"] + parts["shape"] + parts["pattern"] + parts["hue"] + 0.5 * parts["box"]
    return loss, parts


def matches(finds: Sequence[Find], labels: Sequence[Sequence[int]]) -> list[tuple[int, int, int, int]]:
    """Of a caption's toys (shape, pattern, hue), each: is there a find for it, are its hue, shape and pattern right.

    Every find serves once; the best one by hue, then shape, is taken.
    """
    free = list(finds)
    rows = []
    for shape, pattern, hue in labels:
        best = max(free, key=lambda find: 2 * (find.hue == hue) + (find.shape == shape), default=None)
        if best is None:
            rows.append((0, 0, 0, 0))
            continue
        free.remove(best)
        rows.append((1, int(best.hue == hue), int(best.shape == shape), int(best.pattern == pattern)))
    return rows


def figures(finds: Sequence[Sequence[Find]], scenes: Scenes) -> dict[str, float]:
    """Shares of the scenes' toys that are there, in the right hue, shape and pattern, and finds per toy."""
    rows = []
    labels = scenes.label.tolist()
    counts = scenes.count.tolist()
    for of_one, of_scene, count in zip(finds, labels, counts, strict=True):
        rows += matches(of_one, of_scene[:count])
    means = torch.tensor(rows, dtype=torch.float64).view(-1, 4).mean(0).tolist()
    found = sum(len(of_one) for of_one in finds)
    return {
        **dict(zip(("present", "hue", "shape", "pattern"), means, strict=True)),
        "finds_per_toy": found / max(1, sum(counts)),
        "toys": len(rows),
    }
