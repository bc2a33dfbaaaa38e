"""What is known of a toy, and a head that reads it off a context, so that training does not forget it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .models import CONTEXT_TOKENS, CONTEXT_WIDTH
from .world.dataset import Arrays
from .world.toys import PATTERNS, SHAPES

LABELS = ("shape", "pattern", "colour", "accent")  # columns of rendered triplets


class ToyHead(nn.Module):
    """Reads a toy's identity off its context [B,16,128]; thrown away after training."""

    def __init__(self):
        super().__init__()
        self.sizes = [len(SHAPES), len(PATTERNS), 3, 3]  # of LABELS
        self.read = nn.Linear(CONTEXT_TOKENS * CONTEXT_WIDTH, sum(self.sizes))

    def loss(self, context: Tensor, labels: dict[str, Tensor]) -> dict[str, Tensor]:
        """How far the reading is from the labels, part by part: shape [B], pattern [B], colour [B,3], accent [B,3]."""
        shape, pattern, colour, accent = self.read(context.flatten(1)).float().split(self.sizes, dim=1)
        patterned = (labels["pattern"] > 0).float()[:, None]
        parts = {
            "shape": F.cross_entropy(shape, labels["shape"]),
            "pattern": F.cross_entropy(pattern, labels["pattern"]),
            "colour": F.mse_loss(colour, labels["colour"]),
            "accent": (patterned * (accent - labels["accent"]).square()).mean(),
        }
        return parts | {"identity": parts["shape"] + parts["pattern"] + 8 * parts["colour"] + 3 * parts["accent"]}


def label_tensors(arrays: Arrays) -> dict[str, Tensor]:
    """What `ToyHead.loss` compares with, of all toys: shape [N], pattern [N], colour [N,3], accent [N,3]."""
    return {name: torch.from_numpy(arrays[name]) for name in LABELS}
