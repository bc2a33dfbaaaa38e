"""Where a VAE's training begins and ends: in principal components, and in latents of unit variance."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor


class PatchBasis:
    """The strongest principal components of 8x8 patches of pictures [N,3,H,W]: a linear VAE that needs no training.

    It is the teacher of the first steps. From random weights and an L1 loss the VAE stays on a grey plateau.
    """

    def __init__(self, pictures: Tensor, channels: int = 4):
        patches = F.pixel_unshuffle(pictures, 8).movedim(1, -1).reshape(-1, 192)
        self.mean = patches.mean(0)
        _, _, components = torch.linalg.svd(patches - self.mean, full_matrices=False)
        scores = (patches - self.mean) @ components[:channels].T
        self.weight = (components[:channels] / scores.std(0)[:, None]).view(channels, 192, 1, 1)

    def encode(self, pictures: Tensor) -> Tensor:
        """[B,3,H,W] -> unit-variance latents [B,channels,H/8,W/8]."""
        return F.conv2d(F.pixel_unshuffle(pictures, 8) - self.mean.view(1, -1, 1, 1), self.weight)


@torch.no_grad()
def whiten(vae: AutoencoderKL, latents: Tensor) -> None:
    """Fold mean and spread of `latents` [N,C,h,w] into the 1x1 convolutions around them: they get unit variance."""
    mean = latents.mean((0, 2, 3))
    deviation = latents.std((0, 2, 3))
    channels = latents.shape[1]
    before = cast(Any, vae.quant_conv)
    before.weight[:channels] /= deviation.view(-1, 1, 1, 1)
    before.bias[:channels] = (before.bias[:channels] - mean) / deviation
    before.weight[channels:] = 0  # the log variance is never used: a sample is the mode
    before.bias[channels:] = -30
    after = cast(Any, vae.post_quant_conv)
    after.bias += after.weight[:, :, 0, 0] @ mean
    after.weight *= deviation.view(1, -1, 1, 1)
