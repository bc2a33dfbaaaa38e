"""What a chooser sees with: an encoder's tokens, or what a context encoder makes of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..encoders.vision import Encoder, encoder_pixels
from .terms import See


def encoder_eye(encoder: Encoder, then: Callable[[Tensor], Tensor] | None = None) -> See:
    """The last tokens [B,T,D] of a vision encoder; `then` makes others of them, as an embedding optimizer does."""

    @torch.no_grad()
    def see(pictures: Tensor) -> Tensor:
        tokens = encoder.tokens(encoder_pixels(pictures, encoder.size, encoder.mean, encoder.std))
        return then(tokens) if then else tokens

    return see
