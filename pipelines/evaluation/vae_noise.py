"""What a VAE alone makes of a picture: the noise that every result of a latent model carries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image

from ..pictures.files import pil_pictures
from ..weights.pretrained import load_model
from .pixel_metrics import to_tensor

RoundTrip = Callable[[Image.Image], Image.Image]  # a picture to what a VAE alone makes of it, of the same size


def load_round_trip(folder: Path, device: str | torch.device = "cpu") -> RoundTrip:
    """Encoding and decoding by the AutoencoderKL in a diffusers folder. Raises FileNotFoundError, ValueError."""
    from diffusers import AutoencoderKL

    vae: Any = load_model(AutoencoderKL, folder)
    vae.requires_grad_(False).eval().to(device)
    cell = 2 ** (len(vae.config.block_out_channels) - 1)  # px

    @torch.no_grad()
    def round_trip(picture: Image.Image) -> Image.Image:
        width, height = picture.size
        pixels = F.pad(to_tensor(picture)[None], (0, -width % cell, 0, -height % cell), mode="replicate")
        decoded = vae.decode(vae.encode((2 * pixels - 1).to(device)).latent_dist.mode()).sample
        return pil_pictures((decoded[:, :, :height, :width] / 2 + 0.5).clamp(0, 1).movedim(1, -1))[0]

    return round_trip
