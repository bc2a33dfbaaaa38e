"""CLIP's vision tokens dropped in for text, untrained: where the authors began."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPVisionModelWithProjection

from ..encoders.vision import find_encoder, load_encoder
from ..sampling.pix2pix import check_folder
from ..visual_insertion.context_encoder import ContextEncoder
from ..visual_insertion.pipeline import VisualInsertionPipeline
from ..visual_insertion.released_optimizers import set_null
from .base_null import base_null


class TokensForWords(ContextEncoder):
    """Vision tokens in the place of words, as many as words have; nothing is trained.

    The class token comes first, where words have their start token; the others follow in reading order, averaged in
    `context_tokens - 1` groups (SD1.5: 256 in 76). `project` brings them to the context's width.
    """

    def __init__(
        self, *, encoder_width: int, context_width: int, context_tokens: int, project: nn.Module | None = None
    ):
        super().__init__(encoder_width=encoder_width, context_width=context_width, context_tokens=context_tokens)
        self.project = project or nn.Identity()

    def forward(self, features: Tensor, details: Tensor | None = None, queries: Tensor | None = None) -> Tensor:
        tokens = self.project(features)
        groups = F.adaptive_avg_pool1d(tokens[:, 1:].mT, len(self.null) - 1).mT
        return torch.cat([tokens[:, :1], groups], 1)


def untrained_projection(encoder: CLIPVisionModelWithProjection, width: int) -> nn.Module:
    """From an encoder's tokens to contexts of this width: nothing, or else the way CLIP's class token goes.

    That way, the encoder's last layer norm and its projection into the space of CLIP's texts (ViT-L/14: 1024 to 768),
    is the only one that nobody has to train. Raises ValueError when it leads elsewhere.
    """
    network: Any = encoder
    if network.config.hidden_size == width:
        return nn.Identity()
    if network.config.projection_dim != width:
        raise ValueError(
            f"The vision encoder's tokens have width {network.config.hidden_size}, its projection gives "
            f"{network.config.projection_dim}, and the UNet's cross-attention reads {width}: nothing untrained leads "
            "there. SD1.5 (768) pairs with openai/clip-vit-large-patch14."
        )
    return nn.Sequential(network.vision_model.post_layernorm, network.visual_projection)


def frozen_swap(
    folder: str | Path,
    image_encoder: str | Path | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> VisualInsertionPipeline:
    """A base's diffusers folder with vision tokens in the place of text, its empty prompt as the null.

    `image_encoder` is a CLIP vision folder, by default the base's own. Raises FileNotFoundError naming what is
    missing, ValueError for unreadable weights or parts that do not pair.
    """
    folder = Path(folder)
    check_folder(folder)
    encoder = load_encoder(*find_encoder(folder, image_encoder))
    null = base_null(folder)
    network: Any = encoder.network
    _, context_tokens, context_width = null.shape
    swap = TokensForWords(
        encoder_width=network.config.hidden_size,
        context_width=context_width,
        context_tokens=context_tokens,
        project=untrained_projection(network, context_width),
    )
    set_null(swap, "empty prompt", null)
    return VisualInsertionPipeline.around(folder, encoder, swap, device=device, dtype=dtype)
