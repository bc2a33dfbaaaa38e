"""The same UNet told in words: Paint by Inpaint and InstructPix2Pix as published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionInstructPix2PixPipeline
from torch import Tensor

from ..pictures import Picture
from ..visual_insertion.guidance import Guidance
from ..visual_insertion.sampling import (
    DEFAULT,
    GuidedPix2Pix,
    Insertion,
    check_folder,
    guidance_in,
    load_pix2pix,
    present,
)

NEEDED = (
    "a base that follows words, with its text_encoder and tokenizer, such as paint-by-inpaint/add-base; the "
    "playroom's shipped models know no words"
)


class TextPipeline(GuidedPix2Pix):
    """Edits scenes by an instruction."""

    def __init__(
        self,
        pipeline: StableDiffusionInstructPix2PixPipeline,
        text_encoder: Any,
        tokenizer: Any,
        guidance: Guidance = DEFAULT,
    ):
        """`text_encoder` and `tokenizer` are transformers' CLIP; raises ValueError when they are not the UNet's."""
        super().__init__(pipeline, guidance)
        width, read = text_encoder.config.hidden_size, pipeline.unet.config.cross_attention_dim
        if width != read:
            raise ValueError(
                f"The text encoder gives contexts of width {width}, but the UNet's cross-attention reads width {read} "
                "(768 is SD1.5)."
            )
        self.text_encoder, self.tokenizer = text_encoder, tokenizer

    @classmethod
    def from_folder(
        cls, folder: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
    ) -> TextPipeline:
        """From a diffusers InstructPix2Pix folder with text_encoder and tokenizer.

        Raises FileNotFoundError naming what is missing, ValueError for unreadable weights or parts that do not pair.
        """
        from transformers import CLIPTextModel, CLIPTokenizer

        folder = Path(folder)
        check_folder(folder)
        encoder = present(folder / "text_encoder" / "config.json", NEEDED).parent
        words = present(folder / "tokenizer" / "tokenizer_config.json", NEEDED).parent
        try:
            network: Any = CLIPTextModel.from_pretrained(encoder, dtype=torch.float32)
            tokenizer = CLIPTokenizer.from_pretrained(words)
        except (OSError, ValueError, RuntimeError) as error:
            raise ValueError(f"The text encoder in {folder} cannot be read: {error}") from error
        network = network.requires_grad_(False).eval().to(device, dtype)
        return cls(load_pix2pix(folder, device, dtype), network, tokenizer, guidance_in(folder))

    @torch.no_grad()
    def context(self, text: str) -> Tensor:
        """What the text encoder makes of a text, [1,N,C]; what is too long for it is cut off."""
        length = self.text_encoder.config.max_position_embeddings
        tokens = self.tokenizer(text, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        return self.text_encoder(tokens["input_ids"].to(self.text_encoder.device)).last_hidden_state

    def __call__(
        self, scene: Picture, instruction: str, guidance: Guidance | None = None, **sampling: Any
    ) -> Insertion:
        """Edit a scene of any size as told; the empty prompt is the null. `sampling` and the errors are `sample`'s."""
        return self.sample(scene, self.context(instruction), self.context(""), guidance, **sampling)
