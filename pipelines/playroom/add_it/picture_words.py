"""The network by which a picture of a toy says the words of its phrase."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from ...weights.reading import read_weights
from .captions import PHRASE

TEXT_WIDTH = 128
VISION_WIDTH = 128


class PictureWords(nn.Module):
    """Says pattern, hue and shape of a toy, seen by the playroom's frozen vision encoder, as embeddings of words."""

    def __init__(self, width: int = TEXT_WIDTH, vision_width: int = VISION_WIDTH):
        super().__init__()
        self.look = nn.Sequential(nn.LayerNorm(vision_width), nn.Linear(vision_width, vision_width))
        self.queries = nn.Parameter(torch.randn(PHRASE, vision_width) * vision_width**-0.5)
        self.say = nn.Sequential(
            nn.LayerNorm(vision_width),
            nn.Linear(vision_width, 2 * vision_width),
            nn.GELU(),
            nn.Linear(2 * vision_width, width),
        )

    def forward(self, vision: Tensor) -> Tensor:
        """Words [...,3,128] of vision tokens [...,65,128]."""
        seen = self.look(vision.to(self.queries.dtype))
        attention = torch.softmax(self.queries @ seen.transpose(-1, -2), -1)
        return self.say(attention @ seen + seen[..., :1, :])


def load_picture_words(path: Path) -> PictureWords:
    """The words that pictures say, from a folder's picture_words.safetensors. Raises OSError, RuntimeError."""
    words = PictureWords()
    state, _ = read_weights(path)
    words.load_state_dict({name: value.float() for name, value in state.items()})
    return words.eval()
