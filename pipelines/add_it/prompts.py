"""Prompts of a public FLUX folder, CLIP's pooled vector and T5's tokens; and what a model must offer in their place."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import AutoTokenizer, CLIPTextModel, T5EncoderModel

from ..weights.pretrained import load_whole, reading
from .sampling import Prompt
from .subject_tokens import BARE, spellings

T5_LENGTH = 512  # tokens, FLUX.1-dev's
CLIP_LENGTH = 77


class Prompter(Protocol):
    """How a model is told what to make."""

    @property
    def left_out(self) -> Collection[int]:
        """Tokens that are no part of a subject, such as T5's bare word start."""
        ...

    def caption(self, subject: str, text: str) -> str:
        """A caption of a whole picture with the subject in it, out of one that may name it in other words."""
        ...

    def tokens(self, text: str) -> list[int]:
        """A text's tokens to the full length, as many as its context has. Raises ValueError for what it cannot read."""
        ...

    def prompt(self, captions: Sequence[str]) -> Prompt:
        """Prompts of captions. Raises ValueError as `tokens` does."""
        ...

    def shown_prompt(self, caption: str, positions: Sequence[int], picture: Tensor) -> tuple[Prompt, list[int]]:
        """The prompt of a caption in which tokens in a row are said by a picture [1,H,W,3] in 0..1, and their places.

        Raises ValueError for a model that takes no pictures.
        """
        ...


class FluxPrompts:
    """The two text encoders of FLUX.1."""

    left_out = BARE

    def __init__(self, folder: Path, device: torch.device, dtype: torch.dtype):
        """Raises FileNotFoundError, or ValueError naming the folder and what is wrong with it."""
        clip, _ = load_whole(CLIPTextModel, folder / "text_encoder", "The text encoder")
        t5, _ = load_whole(T5EncoderModel, folder / "text_encoder_2", "The second text encoder")
        self.clip: Any = clip.to(device, dtype)
        self.t5: Any = t5.to(device, dtype)
        self.device = device
        with reading(f"The tokenizers in {folder}"):
            self.clip_tokenizer: Any = AutoTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
            self.t5_tokenizer: Any = AutoTokenizer.from_pretrained(folder / "tokenizer_2", local_files_only=True)

    def caption(self, subject: str, text: str) -> str:
        return text if spellings(text, subject) else f"{text.rstrip(' .')}, with {subject}".lstrip(", ")

    def tokens(self, text: str) -> list[int]:
        return self.t5_tokenizer(text, padding="max_length", max_length=T5_LENGTH, truncation=True)["input_ids"]

    @torch.no_grad()
    def prompt(self, captions: Sequence[str]) -> Prompt:
        ids = torch.tensor([self.tokens(text) for text in captions], device=self.device)
        options = dict(padding="max_length", max_length=CLIP_LENGTH, truncation=True)
        clip_ids = self.clip_tokenizer(list(captions), return_tensors="pt", **options)["input_ids"].to(self.device)
        pooled = self.clip(clip_ids).pooler_output
        return Prompt(self.t5(ids).last_hidden_state, pooled)

    def shown_prompt(self, caption: str, positions: Sequence[int], picture: Tensor) -> tuple[Prompt, list[int]]:
        raise ValueError(
            "This model is told what to add in words alone. Leave the object's picture out and describe it, or use the "
            "nodes, where a Redux model shows it."
        )
