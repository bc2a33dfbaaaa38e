"""Both scales of guidance as tokens of a context: a network that the host's UNet reads without knowing of them.

diffusers would have them in the time embedding (`time_cond_proj_dim`, as in arXiv 2310.04378, section 4.1), for which
the host's UNet of Stable Diffusion 1.5 has no place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Range = tuple[float, float]
OCTAVES = 4


def scale_features(scales: Tensor, ranges: Sequence[Range]) -> Tensor:
    """[B,16] of scales [B,2]: sines and cosines of where each is in its range, in octaves."""
    low = torch.tensor([first for first, _ in ranges]).to(scales)
    width = torch.tensor([max(last - first, 1e-6) for first, last in ranges]).to(scales)
    place = (scales - low) / width * (math.pi / 2)
    angles = place[..., None] * 2.0 ** torch.arange(OCTAVES).to(scales)
    return torch.cat([angles.sin(), angles.cos()], -1).flatten(1)


class ScaleTokens(nn.Module):
    """Tokens [B,K,D] that say with which object and scene scale [B,2] a student is to answer."""

    def __init__(self, tokens: int, width: int, ranges: Sequence[Range]):
        super().__init__()
        self.tokens = tokens
        self.ranges = tuple(ranges)
        self.hidden = nn.Linear(4 * OCTAVES, width)
        self.out = nn.Linear(width, tokens * width)

    def forward(self, scales: Tensor) -> Tensor:
        features = scale_features(scales.to(self.hidden.weight), self.ranges)
        return self.out(F.silu(self.hidden(features))).unflatten(1, (self.tokens, -1))
