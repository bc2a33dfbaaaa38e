"""What a run must not change: latents outside of a mask, kept as the host's samplers keep them.

At every noise level they are the scene's own, noised to that level; what is predicted for them is the scene. Masks
[B,1,h,w] in 0..1 say how free a latent cell is: 0 is kept. Latents [B,C,h,w] are times the VAE's scaling factor.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class KeptScene:
    """The scene of one run, and where it stays."""

    latents: Tensor  # [B,C,h,w]
    noise: Tensor  # [B,C,h,w], unit variance: what the run starts from
    mask: Tensor  # [B,1,h,w]

    def noised(self, noisy: Tensor, sigma: float, signal: float) -> Tensor:
        """Noisy latents [B,C,h,w] of a level, the scene's own where it is kept; `signal` is what they are scaled by."""
        scene = signal * (self.latents + sigma * self.noise)
        return torch.lerp(scene, noisy, self.mask)

    def predicted(self, clean: Tensor) -> Tensor:
        """Predicted clean latents [B,C,h,w], the scene's where it is kept."""
        return torch.lerp(self.latents, clean, self.mask)


def restore_kept(samples: Tensor, scene: Tensor, mask: Tensor) -> Tensor:
    """Samples [B,C,h,w] with the scene's own latents where the mask is 0: the last step rounds what it should leave."""
    return torch.where(mask == 0, scene.to(samples), samples)
