"""A text encoder for a UNet that is told what to add: it stands where CLIP's stands in Paint by Inpaint."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...visual_insertion.context_encoder import ContextEncoder
from ..models import CONTEXT_TOKENS, CONTEXT_WIDTH
from ..world.words import VOCABULARY


class WordEncoder(ContextEncoder):
    """Contexts [B,16,128] of word numbers [B,3,1]; in training it stands where an embedding optimizer does.

    Token 0 is constant, as a causal text encoder's start token is; the words follow, then what fills up.
    """

    def __init__(self):
        super().__init__(encoder_width=1, context_width=CONTEXT_WIDTH, context_tokens=CONTEXT_TOKENS)
        self.words = nn.Embedding(len(VOCABULARY), CONTEXT_WIDTH)
        self.places = nn.Parameter(0.5 * torch.randn(CONTEXT_TOKENS, CONTEXT_WIDTH))
        self.norm = nn.LayerNorm(CONTEXT_WIDTH)

    def forward(self, features: Tensor, details: Tensor | None = None, queries: Tensor | None = None) -> Tensor:
        numbers = features[..., 0].round().long()
        line = numbers.new_zeros(len(numbers), CONTEXT_TOKENS)
        line[:, 1 : 1 + numbers.shape[1]] = numbers
        return self.norm(self.words(line) + self.places)
