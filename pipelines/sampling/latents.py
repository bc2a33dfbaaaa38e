"""From pictures to latents and back, and the noise between: what a run without ComfyUI begins and ends with.

Latents [B,C,h,w] are unscaled, like the host's LATENT. Noise is drawn as the host draws it: on the CPU by the seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Generator, Tensor

from ..pictures.files import pil_pictures

Callback = Callable[[int, int, Tensor], object]  # steps done, steps in all, latents [B,C,h,w]


@dataclass(frozen=True)
class Sampled:
    """What one call of a pipeline gives."""

    images: Tensor  # [B,H,W,3] float32 on the CPU, 0..1, the scene's own size
    latents: Tensor  # [B,C,h,w] float32 on the CPU before decoding, of the padded scene

    def pictures(self) -> list[Image.Image]:
        """The images as 8-bit pictures."""
        return pil_pictures(self.images)


def encode(vae: Any, pictures: Tensor) -> Tensor:
    """Latents [B,C,h,w] float32, the VAE's mode, of pictures [B,H,W,3] in 0..1 of whole latent cells."""
    signed = 2 * pictures.movedim(-1, 1) - 1
    return vae.encode(signed.to(vae.device, vae.dtype)).latent_dist.mode().float()


def decode(vae: Any, latents: Tensor) -> Tensor:
    """Pictures [B,H,W,3] float32 in 0..1 of latents [B,C,h,w]."""
    pictures = vae.decode(latents.to(vae.dtype)).sample.float()
    return pictures.div(2).add(0.5).clamp(0, 1).movedim(1, -1)


def first_noise(noise: Tensor | None, scene_latents: Tensor, seed: int) -> Tensor:
    """Unit-variance noise [B,C,h,w] float32 beside a scene's latents: the one that is given, or the seed's.

    Raises ValueError for noise of another shape.
    """
    if noise is None:
        noise = torch.randn(scene_latents.shape, generator=Generator().manual_seed(seed))
    if noise.shape != scene_latents.shape:
        raise ValueError(f"The noise is {tuple(noise.shape)}, the scene's latent {tuple(scene_latents.shape)}.")
    return noise.to(scene_latents.device, torch.float32)


def step_generator(seed: int, device: torch.device) -> Generator:
    """What draws the noise of a run's steps: as in the host on the run's device, on a CPU from the next seed."""
    return Generator(device).manual_seed(seed + (device.type == "cpu"))
