"""Vision encoders without ComfyUI: what they want to see, and their tokens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..pretrained import load_whole, reading


@dataclass(frozen=True)
class Encoder:
    """A vision encoder and what it wants to see."""

    network: nn.Module  # a transformers vision model
    size: int  # px
    mean: Sequence[float]  # [3]
    std: Sequence[float]  # [3]

    def normalise(self, pictures: Tensor) -> Tensor:
        """Pictures [...,3,H,W] in 0..1 as the encoder's input."""
        shift, scale = (torch.tensor(values).to(pictures).view(3, 1, 1) for values in (self.mean, self.std))
        return (pictures - shift) / scale

    @torch.no_grad()
    def tokens(self, pixels: Tensor) -> Tensor:
        """Last hidden states [B,T,D] of normalised pictures [B,3,size,size]."""
        parameter = next(self.network.parameters())
        return self.network(pixel_values=pixels.to(parameter)).last_hidden_state


def load_encoder(folder: Path, pixels: Path | None = None) -> Encoder:
    """A vision encoder (CLIP's image tower, DINOv2) from a transformers folder, frozen.

    `pixels` is the folder of its preprocessor_config.json, by default the same. Raises FileNotFoundError, ValueError.
    """
    from transformers import AutoConfig, AutoModel, CLIPVisionModelWithProjection

    statistics = (pixels or folder) / "preprocessor_config.json"
    for path in (folder / "config.json", statistics):
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing. Needed is a vision encoder with its preprocessor_config.json.")
    with reading(str(folder / "config.json")):
        kind: Any = AutoConfig.from_pretrained(folder).model_type
    with reading(str(statistics)):
        facts = json.loads(statistics.read_text("utf-8"))
        mean, std = facts["image_mean"], facts["image_std"]
    loader = CLIPVisionModelWithProjection if kind.startswith("clip") else AutoModel
    network = load_whole(loader, folder, "The vision encoder")[0]
    # The network's own size, as ComfyUI feeds it; DINOv2's preprocessor would make it 224 in place of 518.
    return Encoder(network, network.config.image_size, mean, std)
