"""What a VAE alone makes of a picture: the noise that every result of a latent model carries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image

from ..pictures.files import pil_pictures
from ..weights.pretrained import load_model
from ..weights.reading import fingerprint
from .pixel_metrics import to_tensor

RoundTrip = Callable[[Image.Image], Image.Image]  # a picture to what a VAE alone makes of it, of the same size


@dataclass(frozen=True)
class VaeRoundTrip:
    """Encoding and decoding by an AutoencoderKL; `fingerprint` tells its weights from others."""

    vae: Any
    device: str | torch.device
    fingerprint: str

    @torch.no_grad()
    def __call__(self, picture: Image.Image) -> Image.Image:
        cell = 2 ** (len(self.vae.config.block_out_channels) - 1)  # px
        width, height = picture.size
        pixels = F.pad(to_tensor(picture)[None], (0, -width % cell, 0, -height % cell), mode="replicate")
        latents = self.vae.encode((2 * pixels - 1).to(self.device)).latent_dist.mode()
        decoded = self.vae.decode(latents).sample
        return pil_pictures((decoded[:, :, :height, :width] / 2 + 0.5).clamp(0, 1).movedim(1, -1))[0]


def load_round_trip(folder: Path, device: str | torch.device = "cpu") -> RoundTrip:
    """Encoding and decoding by the AutoencoderKL in a diffusers folder. Raises FileNotFoundError, ValueError."""
    from diffusers import AutoencoderKL

    vae: Any = load_model(AutoencoderKL, folder)
    vae.requires_grad_(False).eval().to(device)
    return VaeRoundTrip(vae, device, fingerprint([vae]))
