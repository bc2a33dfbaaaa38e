"""Pictures through the frozen encoders, in every step: what Paint by Example's loss reads of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...encoders.vision import Encoder
from ...training.task import Batch
from ..inpainting import latent_mask, masked_scene
from ..pipeline import PaintByExamplePipeline

AT_ONCE = 8  # pictures in the VAE


class FrozenEncoders(nn.Module):
    """The VAE and the vision encoder of a model: what the loss reads of pictures."""

    def __init__(self, model: PaintByExamplePipeline, mask_resize: str):
        super().__init__()
        self.vae = model.vae.requires_grad_(False)
        self.image_encoder = model.image_encoder.requires_grad_(False)
        size: Any = model.image_encoder.config.image_size
        self.look = Encoder(self.image_encoder, size, model.image_mean, model.image_std)
        self.mask_resize = mask_resize

    @torch.no_grad()
    def latents(self, pictures: Tensor) -> Tensor:
        """[B,C,h,w] float32, the mode times the scaling factor, of pictures [B,3,H,W] in 0..1."""
        parts = [self.vae.encode(2 * part - 1).latent_dist.mode().float() for part in pictures.split(AT_ONCE)]
        return torch.cat(parts) * self.vae.config.scaling_factor

    @torch.no_grad()
    def pooled(self, exemplars: Tensor) -> Tensor:
        """[B,D] float32 of exemplars [B,3,E,E] in 0..1."""
        return self.image_encoder(pixel_values=self.look.normalise(exemplars)).pooler_output.float()

    def forward(self, target: Tensor, hole: Tensor, exemplar: Tensor) -> Batch:
        """`target`, `masked` [B,C,h,w], `hole` [B,1,h,w] and `pooled` [B,D] of targets [B,3,S,S] and exemplars
        [B,3,E,E] in 0..1 and holes [B,S,S] bool."""
        mask = hole.float()
        masked = masked_scene(target.movedim(1, -1), mask).movedim(-1, 1)
        return {
            "target": self.latents(target),
            "masked": self.latents(masked),
            "pooled": self.pooled(exemplar),
            "hole": latent_mask(mask, self.mask_resize),
        }
