"""Pictures of the playroom as arrays, as tensors, as latents, and side by side on a sheet."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor


def to_signed(pictures: np.ndarray | Tensor) -> Tensor:
    """uint8 NHWC 0..255 -> float NCHW -1..1."""
    return torch.as_tensor(pictures).movedim(-1, -3).float() / 127.5 - 1


def to_pictures(signed: Tensor) -> np.ndarray:
    """float NCHW -1..1 -> uint8 NHWC."""
    return ((signed.float().clamp(-1, 1) + 1) * 127.5).round().byte().movedim(-3, -1).cpu().numpy()


def grid(columns: list[np.ndarray], height: int = 128, across: int = 2) -> Image.Image:
    """A picture sheet: entry i of every column side by side, `across` entries per row. Columns are uint8 NHWC."""

    def fit(picture):
        image = Image.fromarray(picture)
        return np.asarray(image.resize((height, height), Image.Resampling.BICUBIC))

    strips = [np.concatenate([fit(p) for p in entry], axis=1) for entry in zip(*columns, strict=True)]
    strips = strips[: len(strips) // across * across]
    rows = [np.concatenate(strips[i : i + across], axis=1) for i in range(0, len(strips), across)]
    return Image.fromarray(np.concatenate(rows, axis=0))


def encode_mode(vae: AutoencoderKL, pictures: Tensor) -> Tensor:
    """Latents [B,4,h,w] of pictures [B,3,H,W] in -1..1: the posterior's mode."""
    return cast(Any, vae.encode(pictures)).latent_dist.mean


def decode_latents(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """Pictures [B,3,H,W], about -1..1, of latents [B,4,h,w]."""
    return cast(Any, vae.decode(cast(Any, latents))).sample


@torch.no_grad()
def encode_pictures(vae: AutoencoderKL, pictures, batch: int = 25) -> Tensor:
    """uint8 NHWC -> latents [N,4,h,w] (the mode, float32)."""
    latents = []
    for start in range(0, len(pictures), batch):
        with torch.autocast("cpu", torch.bfloat16):
            mode = encode_mode(vae, to_signed(pictures[start : start + batch]))
        latents.append(mode.float())
    return torch.cat(latents)
