"""The small FLUX from its folder, as Add-it's pipeline runs it: prompts of words, and of toys shown by pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, FluxTransformer2DModel
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import CLIPVisionModelWithProjection

from ...add_it.pipeline import AddItPipeline, ModelDefaults
from ...add_it.sampling import FluxFlow, Prompt
from ...add_it.windows import AddItSettings
from ...weights.pretrained import load_model, load_whole
from .captions import LENGTH, PHRASE
from .models import TextEncoder
from .picture_words import PictureWords, load_picture_words
from .tokenizer import Words, read_words

FOLDER = Path(__file__).resolve().parents[3] / "playroom_flux"
SHARED = FOLDER.with_name("playroom_models")  # its VAE and vision encoder
VISION_SIZE = 64  # px
DEFAULTS = ModelDefaults(
    settings=AddItSettings(gamma=1.1, double_until=1.0, single_until=1.0, start=0.1, blend=0.6),  # docs/add_it.md
    steps=20,
    guidance=3.0,
    guided_by_null=True,
    mu=lambda tokens: 0.0,
)


@dataclass(frozen=True)
class ToyModel:
    """All networks that make pictures, float32 and frozen."""

    flow: FluxFlow
    vae: AutoencoderKL
    text_encoder: TextEncoder
    picture_words: PictureWords
    vision: CLIPVisionModelWithProjection
    words: Words
    left_out: frozenset[int] = frozenset()  # of a subject's tokens: here each is a word

    def to(self, device: torch.device) -> ToyModel:
        """The same, its transformer and VAE on a device; what reads prompts stays on the CPU."""
        for network in (self.flow.transformer, self.vae):
            nn.Module.to(network, device)
        return self

    @property
    def channels(self) -> int:
        config: Any = self.vae.config
        return config.latent_channels

    def caption(self, subject: str, text: str) -> str:
        """The playroom's own words for a room with a subject in it."""
        return f"a room with a {subject}"

    def tokens(self, text: str) -> list[int]:
        """A caption's tokens to the full length, start and end included. Raises ValueError for words it does not know
        and captions that are too long."""
        words = text.replace(",", " , ").replace(".", " ").lower().split()
        unknown = [word for word in words if f"{word}</w>" not in self.words.numbers]
        if unknown:
            raise ValueError(
                f"The playroom's model does not know the word “{unknown[0]}”: it knows rooms, tables, toys, their hues "
                "and patterns."
            )
        if len(words) > LENGTH - 2:
            raise ValueError(f"The caption has {len(words)} words; the playroom's model reads {LENGTH - 2} at most.")
        numbers = [self.words.start, *map(self.words.number, words)]
        return numbers + [self.words.end] * (LENGTH - len(numbers))

    @torch.no_grad()
    def prompt(self, captions: Sequence[str]) -> Prompt:
        """Prompts of captions in words. Raises ValueError as `tokens` does."""
        return Prompt(*self.text_encoder(torch.tensor([self.tokens(text) for text in captions])))

    @torch.no_grad()
    def shown_prompt(self, caption: str, positions: Sequence[int], picture: Tensor) -> tuple[Prompt, list[int]]:
        """The prompt of a caption in which tokens in a row are said by a toy's picture [1,H,W,3] in 0..1, and
        the places of the three words that the picture says. Raises ValueError for captions that become too long."""
        tokens = self.tokens(caption)
        start = positions[0]
        rest = tokens[start + len(positions) :]
        tokens = [*tokens[:start], *[self.words.start] * PHRASE, *rest]
        if self.words.end not in tokens[:LENGTH]:
            raise ValueError(f"The caption is too long for a picture in it: {LENGTH - 2} words at most.")
        tokens = (tokens + [self.words.end] * PHRASE)[:LENGTH]
        numbers = torch.tensor([tokens])
        words = self.text_encoder.words(numbers).clone()
        words[0, start : start + PHRASE] = self.picture_words(self.vision_tokens(picture))[0]
        return Prompt(*self.text_encoder(numbers, words)), list(range(start, start + PHRASE))

    @torch.no_grad()
    def vision_tokens(self, pictures: Tensor) -> Tensor:
        """Vision tokens [B,65,128] of toys alone [B,H,W,3] in 0..1, brought to 64 px."""
        planes = 2 * pictures.movedim(-1, 1).float() - 1
        if planes.shape[-2:] != (VISION_SIZE, VISION_SIZE):
            planes = F.interpolate(planes, (VISION_SIZE, VISION_SIZE), mode="bilinear", antialias=True)
        return self.vision(pixel_values=planes).last_hidden_state


def toy_pipeline(folder: Path = FOLDER, device: torch.device | None = None) -> AddItPipeline:
    """The networks of a folder with what goes well with them. Raises OSError, ValueError."""
    model = load_toy_model(folder)
    if device is not None:
        model.to(device)
    return AddItPipeline(model.flow, model.vae, model, DEFAULTS)


def load_toy_model(folder: Path = FOLDER, shared: Path = SHARED) -> ToyModel:
    """The networks of a folder. Raises OSError, ValueError."""
    words = read_words(folder / "tokenizer")
    encoder = TextEncoder(words.count, words.end)
    weights = load_file(folder / "text_encoder" / "model.safetensors")
    encoder.load_state_dict({name.removeprefix("text_model."): value.float() for name, value in weights.items()})
    vision, _ = load_whole(CLIPVisionModelWithProjection, shared / "image_encoder", "The image encoder")
    transformer = load_model(FluxTransformer2DModel, folder / "transformer")
    vae = load_model(AutoencoderKL, shared / "vae")
    spoken = load_picture_words(folder / "picture_words.safetensors")
    networks = (transformer, vae, encoder, spoken, vision)
    for network in networks:
        network.requires_grad_(False).eval()
    return ToyModel(FluxFlow(transformer), vae, encoder, spoken, vision, words)
