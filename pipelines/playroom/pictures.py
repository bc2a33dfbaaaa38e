"""Pictures of the playroom as arrays, as tensors, as latents, and side by side on a sheet."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor

from ..pictures.sheets import tile
from ..training.precision import autocast


def to_signed(pictures: np.ndarray | Tensor) -> Tensor:
    """uint8 NHWC 0..255 -> float NCHW -1..1."""
    return torch.as_tensor(pictures).movedim(-1, -3).float() / 127.5 - 1


def to_pictures(signed: Tensor) -> np.ndarray:
    """float NCHW -1..1 -> uint8 NHWC."""
    return ((signed.float().clamp(-1, 1) + 1) * 127.5).round().byte().movedim(-3, -1).cpu().numpy()


def grid(columns: list[np.ndarray], height: int = 128, across: int = 2) -> Image.Image:
    """A picture sheet: entry i of every column side by side, `across` entries per row. Columns are uint8 NHWC."""
    pictures = []
    for entry in zip(*columns, strict=True):
        for picture in entry:
            pictures.append(Image.fromarray(picture).resize((height, height), Image.Resampling.BICUBIC))
    return tile(pictures, columns=across * len(columns))


def encode_mode(vae: AutoencoderKL, pictures: Tensor) -> Tensor:
    """Latents [B,4,h,w] of pictures [B,3,H,W] in -1..1: the posterior's mode."""
    return cast(Any, vae.encode(pictures)).latent_dist.mean


def decode_latents(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """Pictures [B,3,H,W], about -1..1, of latents [B,4,h,w]."""
    return cast(Any, vae.decode(cast(Any, latents))).sample


@torch.no_grad()
def encode_signed(vae: AutoencoderKL, pictures: Tensor, batch: int = 25) -> Tensor:
    """Latents [N,4,h,w] (the mode, float32) of pictures [N,3,H,W] in -1..1."""
    latents = []
    for part in pictures.split(batch):
        with autocast(torch.device("cpu")):
            latents.append(encode_mode(vae, part).float())
    return torch.cat(latents)


def encode_pictures(vae: AutoencoderKL, pictures: np.ndarray) -> Tensor:
    """Latents [N,4,h,w] (the mode, float32) of uint8 pictures [N,H,W,3]."""
    return encode_signed(vae, to_signed(pictures))


@torch.no_grad()
def restored_pictures(vae: AutoencoderKL, pictures: np.ndarray, batch: int = 64) -> np.ndarray:
    """What the VAE alone makes of pictures [N,H,W,3], uint8 as they are."""
    restored = []
    for part in np.array_split(pictures, max(1, len(pictures) // batch)):
        restored.append(to_pictures(decode_latents(vae, encode_pictures(vae, part))))
    return np.concatenate(restored)
