"""From pictures to latents and back, and the noise between: what a run without ComfyUI begins and ends with.

Latents [B,C,h,w] are unscaled, like the host's LATENT. Noise is drawn as the host draws it: on the CPU by the seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Generator, Tensor

from ..pictures.checks import check_result
from ..pictures.files import pil_pictures
from ..pictures.scene import CELL, check_scene, crop_to, pad_to_multiple

SEEDS = 2**64
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
    """Pictures [B,H,W,3] float32 in 0..1 of latents [B,C,h,w].

    Raises ValueError where a run's latents, or what the VAE makes of them, are not finite.
    """
    check_result(latents, "What was sampled")
    pictures = vae.decode(latents.to(vae.dtype)).sample.float()
    check_result(pictures, "What the VAE decoded")
    return pictures.div(2).add(0.5).clamp(0, 1).movedim(1, -1)


@torch.no_grad()
def round_trip(vae: Any, scene: Tensor, cell: int = CELL) -> Tensor:
    """What a VAE alone makes of scenes [B,H,W,C] in 0..1: [B,H,W,3] float32 on the CPU; `cell` is in px."""
    scene = check_scene(scene)
    pictures = decode(vae, encode(vae, pad_to_multiple(scene, cell)))
    height, width = scene.shape[1:3]
    return crop_to(pictures, height, width, cell).cpu()


def first_noise(noise: Tensor | None, scene_latents: Tensor, seed: int | Sequence[int]) -> Tensor:
    """Unit-variance noise [B,C,h,w] float32 beside a scene's latents: the one that is given, or the seed's.

    Of B seeds each picture has the noise that it would have alone. Raises ValueError for noise of another shape, seeds
    of another number, or a seed that is none.
    """
    if noise is None:
        noise = _drawn(scene_latents.shape, seed)
    if noise.shape != scene_latents.shape:
        raise ValueError(f"The noise is {tuple(noise.shape)}, the scene's latent {tuple(scene_latents.shape)}.")
    return noise.to(scene_latents.device, torch.float32)


def _drawn(shape: torch.Size, seed: int | Sequence[int]) -> Tensor:
    if isinstance(seed, int):
        return torch.randn(shape, generator=seeded(Generator(), seed))
    if len(seed) != shape[0]:
        raise ValueError(f"There are {len(seed)} seeds for {shape[0]} pictures: give one, or one for each.")
    return torch.cat([torch.randn(1, *shape[1:], generator=seeded(Generator(), one)) for one in seed])


def step_generators(seed: int | Sequence[int], device: torch.device) -> Generator | list[Generator]:
    """What `step_generator` gives, for one seed or for each of several pictures."""
    if isinstance(seed, int):
        return step_generator(seed, device)
    return [step_generator(one, device) for one in seed]


def step_generator(seed: int, device: torch.device) -> Generator:
    """What draws the noise of a run's steps: as in the host on the run's device, on a CPU from the next seed.

    Raises ValueError for a seed that is none.
    """
    generator = seeded(Generator(device), seed)
    return generator.manual_seed((seed + 1) % SEEDS) if device.type == "cpu" else generator


def seeded(generator: Generator, seed: int) -> Generator:
    """A generator that begins with a seed. Raises ValueError for one that 64 bits do not hold."""
    if not -SEEDS // 2 <= seed < SEEDS:
        raise ValueError(f"The seed must be a whole number from 0 to {SEEDS - 1}; got {seed}.")
    return generator.manual_seed(seed)
