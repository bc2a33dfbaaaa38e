"""Looks at a run: errors on held-out triplets, and a sheet of pictures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...encoders.vision import Encoder
from ...sampling.guidance import Guidance
from ...training.precision import autocast
from ...training.task import Batch, Modules
from ...training.validation import MEASURED, SHOWN, right_against_wrong
from .insertion_task import EncodedTriplets, InsertionTask, preview
from .preparation import Objects

GUIDANCE = Guidance(object_scale=5.0, scene_scale=1.5)  # of the sheet


@dataclass(frozen=True)
class HeldOut:
    """Triplets that are not trained on, as a task sees them, and what is needed to show them."""

    task: InsertionTask
    triplets: EncodedTriplets
    objects: Objects
    encoder: Encoder
    vae: Any
    device: torch.device

    def rows(self, count: int) -> Batch:
        """The first rows, first variant, first view, as float32 on the device."""
        index = torch.arange(min(count, len(self.triplets)))
        first = torch.zeros_like(index)
        batch = self.triplets.fetch({"index": index, "view": first, "variant": first})
        return {name: values.to(self.device) for name, values in batch.items()}

    def context(self, rows: Batch) -> Tensor:
        """[B,N,D] of the rows' objects."""
        return self.task.embedding_optimizer(rows["features"], rows.get("details"))

    def metrics(self, modules: Modules) -> dict[str, float]:
        """Noise errors: "error" with the right object; "object_gain", by what share another triplet's is worse."""
        rows = self.rows(MEASURED)
        error, gain = right_against_wrong(self.task, rows, self.context(rows))
        return {"error": error, "object_gain": gain}

    def sheet(self, modules: Modules) -> Image.Image:
        """Scene, object, true picture, and what the networks make of it: one row per triplet."""
        rows = self.rows(SHOWN)
        context = self.context(rows)
        null = self.task.embedding_optimizer.null
        with autocast(self.device):
            latents = preview(self.task.unet, context, null, rows["scene"], self.task.noise_schedule, GUIDANCE)
        scenes = self._pictures(rows["scene"] * self.vae.config.scaling_factor)
        encoder = replace(self.encoder, size=scenes.shape[1])
        objects = torch.stack([self.objects.picture(index, 0, encoder) for index in range(len(scenes))])
        objects = (objects * 255).round().byte().movedim(1, -1).numpy()
        columns = (scenes, objects, self._pictures(rows["target"]), self._pictures(latents))
        return Image.fromarray(np.concatenate([np.concatenate(list(column), axis=0) for column in columns], axis=1))

    def _pictures(self, latents: Tensor) -> np.ndarray:
        """uint8 [B,H,W,3] of latents times the VAE's scaling factor."""
        decoded = self.vae.decode(latents.to(self.vae.device) / self.vae.config.scaling_factor).sample
        return ((decoded.float().clamp(-1, 1) + 1) * 127.5).round().byte().movedim(1, -1).cpu().numpy()
