"""Training of Paint by Example on pictures: they go through the frozen encoders in every step."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import DDIMScheduler
from torch import Tensor, nn

from ...encoders.vision import Encoder
from ...training.denoising import EVEN, Weighting
from ...training.task import Batch
from ..inpainting import latent_mask, masked_scene
from ..pipeline import PaintByExamplePipeline
from .pictures import Pictures
from .task import ExemplarTask
from .validation import metrics, sheet

AT_ONCE = 8  # pictures in the VAE


class FrozenEncoders(nn.Module):
    """The VAE and the vision encoder of a model: what the loss reads of pictures."""

    def __init__(self, model: PaintByExamplePipeline, mask_resize: str):
        super().__init__()
        self.vae, self.image_encoder = model.vae.requires_grad_(False), model.image_encoder.requires_grad_(False)
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
        """`target`, `masked` [B,C,h,w], `hole` [B,1,h,w] and `pooled` [B,D] of what `Pictures` reads."""
        mask = hole.float()
        masked = masked_scene(target.movedim(1, -1), mask).movedim(-1, 1)
        read = {"target": self.latents(target), "masked": self.latents(masked), "pooled": self.pooled(exemplar)}
        return read | {"hole": latent_mask(mask, self.mask_resize)}


class PictureTask(ExemplarTask):
    """`ExemplarTask` on pictures, all networks those of `model`; looks at examples of `held_out`."""

    def __init__(
        self,
        model: PaintByExamplePipeline,
        pictures: Pictures,
        noise_schedule: DDIMScheduler,
        batch: int,
        null_share: float = 0.2,
        weighting: Weighting = EVEN,
        held_out: Pictures | None = None,
    ):
        super().__init__(
            model.unet, model.exemplar_encoder, pictures, noise_schedule, batch, null_share, weighting=weighting
        )
        self.encoders, self.held_out = FrozenEncoders(model, pictures.settings.mask_resize), held_out

    def modules(self) -> dict[str, nn.Module]:
        return super().modules() | {"encoders": self.encoders}

    def encode(self, batch: Batch) -> Batch:
        return batch | self.encoders(*(batch[f"{name} pixels"] for name in ("target", "hole", "exemplar")))

    def validate(self, modules):
        return metrics(self, self.held_out) if self.held_out else {}

    def sheet(self, modules):
        return sheet(self, self.held_out) if self.held_out else None
