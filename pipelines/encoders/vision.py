"""Vision encoders without ComfyUI: what they want to see, and their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..pictures.files import Picture, mask_tensor, picture_tensor
from ..pictures.objects import prepare_object
from ..weights.configs import CONFIG, PIXELS, pixel_statistics, read_json
from ..weights.pretrained import load_whole, present, reading

CLIP_STATISTICS = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))  # OpenAI's mean, spread


@dataclass(frozen=True)
class Encoder:
    """A vision encoder and what it wants to see."""

    network: nn.Module  # a transformers vision model
    size: int  # px
    mean: Sequence[float]  # [3]
    std: Sequence[float]  # [3]

    @property
    def width(self) -> int:
        """Of its tokens."""
        config: Any = self.network.config
        return config.hidden_size

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

    needed = "a vision encoder with its preprocessor_config.json"
    config = present(folder / CONFIG, needed)
    mean, std = pixel_statistics(present((pixels or folder) / PIXELS, needed))
    read_json(config)
    with reading(str(config)):
        kind: Any = AutoConfig.from_pretrained(folder, local_files_only=True).model_type
    loader = CLIPVisionModelWithProjection if kind.startswith("clip") else AutoModel
    network, unused = load_whole(loader, folder, "The vision encoder")
    if deeper := [name for name in unused if ".layer" in name and not name.startswith("text_model.")]:
        raise ValueError(
            f"The weights in {folder} have more layers than their own config: {len(deeper)} tensors are left over "
            f"(such as {deeper[0]})."
        )
    # The network's own size, as ComfyUI feeds it; DINOv2's preprocessor would make it 224 in place of 518.
    return Encoder(network, network.config.image_size, mean, std)


def encoder_pixels(picture: Tensor, size: int, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Pictures [B,H,W,3] as the vision encoder's input [B,3,size,size]: resized to a square, 8 bit, normalised."""
    pixels = picture.movedim(-1, 1)
    if pixels.shape[-2:] != (size, size):
        pixels = F.interpolate(pixels, (size, size), mode="bicubic", antialias=True)
    pixels = (pixels * 255).clamp(0, 255).round() / 255
    shift, scale = (torch.tensor(values).to(pixels).view(3, 1, 1) for values in (mean, std))
    return (pixels - shift) / scale


def as_views(
    objects: Picture | Sequence[Picture], masks: Picture | Sequence[Picture | None] | None
) -> tuple[Sequence[Picture], Sequence[Picture | None]]:
    """Pictures and masks of an object, one mask or None for each picture. Raises ValueError when they do not pair."""
    objects = objects if isinstance(objects, Sequence) else [objects]
    masks = masks if isinstance(masks, Sequence) else [masks] * len(objects)
    if not objects or len(masks) != len(objects):
        raise ValueError(f"{len(masks)} masks do not pair up with {len(objects)} pictures of the object.")
    return objects, masks


def encoder_input(
    encoder: Encoder,
    pictures: Sequence[Picture],
    masks: Sequence[Picture | None],
    framing: str,
    background: str,
) -> Tensor:
    """The pictures and their masks as an encoder wants to see them, [V,3,size,size]."""
    mean, std = encoder.mean, encoder.std
    prepared = (
        prepare_object(
            picture_tensor(picture),
            None if mask is None else mask_tensor(mask),
            framing=framing,
            background=background,
            mean_colour=mean,
        )
        for picture, mask in zip(pictures, masks, strict=True)
    )
    return torch.cat([encoder_pixels(picture, encoder.size, mean, std) for picture in prepared])


def vision_tokens(
    encoder: Encoder,
    pictures: Sequence[Picture],
    masks: Sequence[Picture | None],
    framing: str,
    background: str,
) -> Tensor:
    """What an encoder sees of the pictures and their masks, [V,T,D]."""
    return encoder.tokens(encoder_input(encoder, pictures, masks, framing, background))


def find_encoder(folder: Path, image_encoder: str | Path | None = None) -> tuple[Path, Path]:
    """The folders of a vision encoder and of its preprocessor_config.json, by default those of the model in `folder`.

    Raises FileNotFoundError naming what is missing.
    """
    needed = "a CLIP vision encoder with its preprocessor_config.json"
    encoder = present(Path(image_encoder or folder / "image_encoder") / "config.json", needed).parent
    name = "preprocessor_config.json"
    pixels = next((place for place in (encoder, folder / "feature_extractor") if (place / name).is_file()), encoder)
    return encoder, present(pixels / name, needed).parent
