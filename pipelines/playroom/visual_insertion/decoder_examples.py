"""What a decoder is polished on: latents of rendered pictures, and latents that the UNet draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from ...sampling.guidance import Guidance
from ...visual_insertion.context_encoder import ContextEncoder
from ...visual_insertion.training.insertion_task import preview
from ..models import noise_schedule
from ..pictures import decode_latents, encode_mode, to_pictures, to_signed
from ..world.dataset import Arrays
from .encoded_triplets import encode_objects

BATCH = 64  # pictures that are encoded, or drawn, at a time


@dataclass(frozen=True)
class DecoderExamples:
    """Latents and what they should become: first `true` ones, of rendered pictures, then drawn ones, the UNet's.

    Of drawn latents nobody knows the true picture. Theirs is what the decoder made of them before: it tells the
    colours, not the edges.
    """

    latents: Tensor  # [N,4,h,w]
    pictures: np.ndarray  # [N,8h,8w,3] uint8
    true: int


@torch.no_grad()
def encode_exactly(vae: AutoencoderKL, pictures: np.ndarray) -> Tensor:
    """Latents [N,4,h,w] (the mode) of uint8 pictures [N,H,W,3], in full precision, made on the VAE's device."""
    latents = []
    for start in range(0, len(pictures), BATCH):
        signed = to_signed(pictures[start : start + BATCH])
        latents.append(encode_mode(vae, signed.to(vae.device)).cpu())
    return torch.cat(latents)


@torch.no_grad()
def decode_exactly(vae: AutoencoderKL, latents: Tensor) -> np.ndarray:
    """uint8 pictures [N,H,W,3] of latents [N,4,h,w], made on the VAE's device."""
    parts = [to_pictures(decode_latents(vae, part.to(vae.device))) for part in latents.split(BATCH)]
    return np.concatenate(parts)


@dataclass(frozen=True)
class ExampleMaker:
    """Makes examples of rendered triplets with networks on one device; the vision encoder stays on the CPU."""

    vae: AutoencoderKL
    unet: Any
    vision_encoder: nn.Module
    context_encoder: ContextEncoder
    guidance: Guidance

    def __call__(self, triplets: Arrays, drawn: int, *, seed: int) -> DecoderExamples:
        """Scenes and targets of all triplets, and what the UNet draws for the first `drawn`."""
        pictures = np.concatenate([triplets["scene"], triplets["target"]])
        latents = encode_exactly(self.vae, pictures)
        if drawn:
            features = encode_objects(self.vision_encoder, triplets["objects"][:drawn, :1])[:, 0]
            made = self._draw(features, latents[:drawn], seed)
            latents = torch.cat([latents, made])
            pictures = np.concatenate([pictures, decode_exactly(self.vae, made)])
        return DecoderExamples(latents, pictures, true=2 * len(triplets["scene"]))

    @torch.no_grad()
    def _draw(self, features: Tensor, scenes: Tensor, seed: int) -> Tensor:
        """Latents [N,4,h,w] that the UNet draws: objects of vision tokens [N,T,D] put into scenes [N,4,h,w]."""
        device = self.vae.device
        drawn = []
        for number, (tokens, scene) in enumerate(zip(features.split(BATCH), scenes.split(BATCH), strict=True)):
            context = self.context_encoder(tokens.float().to(device))
            null = self.context_encoder.null
            latents = preview(
                self.unet, context, null, scene.to(device), noise_schedule(), self.guidance, seed=seed + number
            )
            drawn.append(latents.cpu())
        return torch.cat(drawn)
