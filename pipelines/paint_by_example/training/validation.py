"""Looks at a run: errors on held-out pictures, and a sheet of pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ...pictures.files import pil_pictures
from ...training.precision import autocast
from ...training.task import Batch, Modules
from ...training.validation import MEASURED, SHOWN, right_against_wrong
from ..inpainting import masked_scene
from .exemplar_task import ExemplarTask, preview
from .pictures import Pictures

SCALE = 5.0  # guidance of the sheet, the published default


@dataclass(frozen=True)
class HeldOut:
    """Pictures that are not trained on, as a task sees them."""

    task: ExemplarTask
    pictures: Pictures
    vae: Any  # diffusers' AutoencoderKL, of the task's frozen encoders

    def rows(self, count: int) -> Batch:
        """The first pictures, encoded on the device, each with the same hole every time."""
        index = torch.arange(min(count, len(self.pictures)))
        device = self.task.unet.device
        parts = []
        for part in index.split(SHOWN):
            batch = self.pictures.fetch({"index": part, "view": part})
            with autocast(device):
                parts.append(self.task.encode({name: values.to(device) for name, values in batch.items()}))
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def metrics(self, modules: Modules) -> dict[str, float]:
        """Noise errors: "error" with the right exemplar; "exemplar_gain", by what share another picture's is worse."""
        rows = self.rows(MEASURED)
        error, gain = right_against_wrong(self.task, rows, self.task.exemplar_encoder(rows["pooled"]))
        return {"error": error, "exemplar_gain": gain}

    def sheet(self, modules: Modules) -> Image.Image:
        """Scene with its hole, exemplar, true picture, and what the networks make of it: one row per picture."""
        task = self.task
        rows = self.rows(SHOWN)
        target = rows["target pixels"]
        with autocast(target.device):
            context = task.exemplar_encoder(rows["pooled"])
            latents = preview(
                task.unet,
                context,
                task.exemplar_encoder.null,
                rows["masked"],
                rows["hole"].float(),
                task.noise_schedule,
                scale=SCALE,
            )
            images = self.vae.decode(latents / self.vae.config.scaling_factor).sample.float() / 2 + 0.5
        holed = masked_scene(target.movedim(1, -1), rows["hole pixels"].float())
        exemplars = F.interpolate(rows["exemplar pixels"], target.shape[-2:], mode="bicubic", antialias=True)
        columns = [holed, *(pictures.movedim(1, -1) for pictures in (exemplars, target, images))]
        return Image.fromarray(np.concatenate([_strip(column) for column in columns], axis=1))


def _strip(pictures: Tensor) -> np.ndarray:
    """uint8 [B*H,W,3] of pictures [B,H,W,3]."""
    return np.concatenate([np.asarray(picture) for picture in pil_pictures(pictures.clamp(0, 1))], axis=0)
