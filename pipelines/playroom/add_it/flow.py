"""Rectified flow on packed latents: what is learned, and how it is sampled.

x = (1 - sigma) z + sigma eps; the network names the velocity eps - z (Liu et al. 2022, arXiv:2209.03003; as FLUX).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...add_it.flux_velocity import flux_velocity
from .models import Networks, null_tokens

STEPS = 20
GUIDANCE = 3.0  # the trial's best of a few


def velocity(networks: Networks, latents: Tensor, sigma: Tensor, context: Tensor, pooled: Tensor) -> Tensor:
    """The velocity [B,C,H,W] at noisy latents [B,C,H,W] of noise levels sigma [B] in 0..1."""
    return flux_velocity(networks.transformer, latents, sigma, context, pooled)


@torch.no_grad()
def sample(
    networks: Networks,
    prompt: tuple[Tensor, Tensor],
    noise: Tensor,
    *,
    null: tuple[Tensor, Tensor],
    steps: int = STEPS,
    guidance: float = GUIDANCE,
) -> Tensor:
    """Latents [B,C,H,W] from noise of that shape: Euler steps of equal size in sigma, classifier-free guidance.

    `prompt` and `null` are what `Networks.prompt` makes of captions.
    """
    sigmas = torch.linspace(1, 0, steps + 1).tolist()
    context = torch.cat([null[0], prompt[0]])
    pooled = torch.cat([null[1], prompt[1]])
    latents = noise
    for sigma, lower in zip(sigmas, sigmas[1:], strict=False):
        level = noise.new_full((2 * len(noise),), sigma)
        without, with_prompt = velocity(networks, torch.cat([latents] * 2), level, context, pooled).float().chunk(2)
        latents = latents + (lower - sigma) * (without + guidance * (with_prompt - without))
    return latents


def null_prompt(networks: Networks, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The empty caption's context and pooled vector, `count` times."""
    end = networks.text_encoder.end
    return networks.prompt(null_tokens(count, start=end - 1, end=end).to(device))
