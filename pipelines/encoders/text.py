"""CLIP's text encoder: contexts of words, and the empty prompt that stands for no object."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..weights.pretrained import load_whole, reading


@dataclass(frozen=True)
class TextEncoder:
    """transformers' CLIP text model and its tokenizer."""

    network: Any
    tokenizer: Any

    @torch.no_grad()
    def context(self, text: str) -> Tensor:
        """Last hidden states [1,N,C] of a text; what is too long is cut off."""
        length = self.network.config.max_position_embeddings
        tokens = self.tokenizer(text, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        return self.network(tokens["input_ids"].to(self.network.device)).last_hidden_state


def load_text_encoder(folder: Path) -> TextEncoder:
    """From a folder that holds both, or has them in `text_encoder` and `tokenizer` (diffusers); frozen, in float32.

    Raises FileNotFoundError, ValueError.
    """
    from transformers import CLIPTextModel, CLIPTokenizer

    places = [folder / part if (folder / part).is_dir() else folder for part in ("text_encoder", "tokenizer")]
    for path in (places[0] / "config.json", places[1] / "tokenizer_config.json"):
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing. Needed is a CLIP text encoder with its tokenizer.")
    network = load_whole(CLIPTextModel, places[0], "The text encoder")[0]
    with reading(f"The tokenizer in {places[1]}"):
        return TextEncoder(network, CLIPTokenizer.from_pretrained(places[1]))


def empty_prompt(folder: Path) -> Tensor:
    """What the text encoder of a folder gives for "", [1,N,C]. Raises what `load_text_encoder` does."""
    return load_text_encoder(folder).context("")
