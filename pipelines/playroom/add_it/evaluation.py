"""What the small FLUX makes of held-out captions, as the detector sees it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from ...training.precision import autocast
from . import detector as judging
from .columns import Scenes
from .detector import Detector
from .flow import GUIDANCE, STEPS, null_prompt, sample
from .models import Networks
from .vae_training import decode

BATCH = 128


@dataclass
class HeldOut:
    """Scenes that nothing learned from, and their toys' vision tokens [T,65,128]."""

    scenes: Scenes
    vision: Tensor


def samples(
    networks: Networks,
    vae: AutoencoderKL,
    held_out: HeldOut,
    *,
    shown: bool = False,
    seed: int = 5,
    count: int | None = None,
) -> Tensor:
    """Pictures [N,3,128,128] in -1..1 for the full captions; `shown`: every toy is said by its picture."""
    scenes = held_out.scenes
    device = scenes.picture.device
    count = len(scenes) if count is None else min(count, len(scenes))
    tokens = scenes.tokens[:count, 0].long()
    slots = scenes.slots[:count, 0].long()
    index = scenes.view_index[:count]
    generator = torch.Generator(device).manual_seed(seed)
    pictures = []
    for start in range(0, count, BATCH):
        part = slice(start, min(start + BATCH, count))
        size = part.stop - part.start
        noise = torch.randn((size, networks.channels, 16, 16), generator=generator, device=device)
        with torch.no_grad(), autocast(device):
            spoken = networks.picture_words(held_out.vision[index[part]]) if shown else None
            prompt = networks.prompt(tokens[part], slots[part] if shown else None, spoken)
            latents = sample(
                networks, prompt, noise, null=null_prompt(networks, size, device), steps=STEPS, guidance=GUIDANCE
            )
        pictures.append(decode(vae, latents))
    return torch.cat(pictures)


def first(scenes: Scenes, count: int) -> Scenes:
    """The first so many scenes, with the pictures of all toys."""
    columns = {
        name: getattr(scenes, name)[:count] for name in ("picture", "count", "box", "label", "name", "tokens", "slots")
    }
    return Scenes(**columns, view=scenes.view)


def judged(pictures: Tensor, detector: Detector, scenes: Scenes) -> dict[str, float]:
    """The detector's figures of pictures of the first scenes, one picture each."""
    return judging.figures(detector.find(pictures), first(scenes, len(pictures)))


def score(figures: dict[str, float]) -> float:
    """One number to choose a VAE by: toys there, in their hue, of their shape."""
    return figures["present"] + figures["hue"] + figures["shape"]
