"""The same UNet told in words: Paint by Inpaint and InstructPix2Pix as published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionInstructPix2PixPipeline

from ..encoders.text import TextEncoder, load_text_encoder
from ..pictures.files import Picture
from ..sampling.guidance import Guidance
from ..sampling.pix2pix import DEFAULT, GuidedPix2Pix, Insertion, check_folder, guidance_in, load_pix2pix
from ..weights.pretrained import present

NEEDED = (
    "a base that follows words, with its text_encoder and tokenizer, such as paint-by-inpaint/add-base; the "
    "playroom's shipped models know no words"
)


class TextPipeline(GuidedPix2Pix):
    """Edits scenes by an instruction."""

    def __init__(
        self, pipeline: StableDiffusionInstructPix2PixPipeline, text: TextEncoder, guidance: Guidance = DEFAULT
    ):
        """Raises ValueError when the text encoder is not the UNet's."""
        super().__init__(pipeline, guidance)
        width, read = text.network.config.hidden_size, pipeline.unet.config.cross_attention_dim
        if width != read:
            raise ValueError(
                f"The text encoder gives contexts of width {width}, but the UNet's cross-attention reads width {read} "
                "(768 is SD1.5)."
            )
        self.text = text

    @property
    def networks(self) -> list[torch.nn.Module]:
        return [*super().networks, self.text.network]

    @classmethod
    def from_folder(
        cls, folder: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
    ) -> TextPipeline:
        """From a diffusers InstructPix2Pix folder with text_encoder and tokenizer.

        Raises FileNotFoundError naming what is missing, ValueError for unreadable weights or parts that do not pair.
        """
        folder = Path(folder)
        check_folder(folder)
        for needed in ("text_encoder/config.json", "tokenizer/tokenizer_config.json"):
            present(folder / needed, NEEDED)
        text = load_text_encoder(folder)
        text.network.to(device, dtype)
        return cls(load_pix2pix(folder, device, dtype), text, guidance_in(folder))

    def __call__(
        self, scene: Picture, instruction: str, guidance: Guidance | None = None, **sampling: Any
    ) -> Insertion:
        """Edit a scene of any size as told; the empty prompt is the null. `sampling` and the errors are `sample`'s."""
        return self.sample(scene, self.text.context(instruction), self.text.context(""), guidance, **sampling)
