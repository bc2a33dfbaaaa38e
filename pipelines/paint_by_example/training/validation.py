"""Looks at a run: errors on held-out pictures, and a sheet of pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ...pictures.files import pil_pictures
from ...training.task import Batch
from ...visual_insertion.training.validation import MEASURED, SHOWN, TIMES
from ..inpainting import masked_scene
from .pictures import Pictures
from .task import preview

if TYPE_CHECKING:
    from .picture_task import PictureTask

SCALE = 5.0  # guidance of the sheet


def _rows(task: PictureTask, held: Pictures, count: int) -> Batch:
    """The first pictures, encoded on the device, each with the same hole every time."""
    index, device = torch.arange(min(count, len(held))), task.unet.device
    parts = []
    for part in index.split(SHOWN):
        read = {name: values.to(device) for name, values in held.fetch({"index": part, "view": part}).items()}
        with torch.autocast(device.type, torch.bfloat16):
            parts.append(task.encode(read))
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def metrics(task: PictureTask, held: Pictures) -> dict[str, float]:
    """Noise errors, with the same noise every time: "error" with the right exemplar; "exemplar_gain", by what share
    another picture's exemplar is worse. A gain of zero means that the UNet does not look at the exemplar."""
    rows = _rows(task, held, MEASURED)
    count, device, context = len(rows["target"]), task.unet.device, task.encoder(rows["pooled"])
    sums = {"right": 0.0, "wrong": 0.0}
    for number, moment in enumerate(TIMES):
        noise = torch.randn(rows["target"].shape, generator=torch.Generator().manual_seed(number)).to(device)
        batch = rows | {"noise": noise, "time": torch.full((count,), moment, device=device)}
        for name, shown in (("right", context), ("wrong", context.roll(1, 0))):
            for part in torch.arange(count, device=device).split(SHOWN):
                with torch.autocast(device.type, torch.bfloat16):
                    error = task.squared_error({key: values[part] for key, values in batch.items()}, shown[part])
                sums[name] += error.mean((1, 2, 3)).sum().item()
    error = sums["right"] / (count * len(TIMES))
    return {"error": error, "exemplar_gain": sums["wrong"] / max(sums["right"], 1e-12) - 1}


def sheet(task: PictureTask, held: Pictures) -> Image.Image:
    """Scene with its hole, exemplar, true picture, and what the networks make of it: one row per picture."""
    rows, encoder, vae = _rows(task, held, SHOWN), task.encoder, task.encoders.vae
    scene = (rows["masked"], rows["hole"].float(), task.noise_schedule)
    with torch.autocast(task.unet.device.type, torch.bfloat16):
        latent = preview(task.unet, encoder(rows["pooled"]), encoder.null, *scene, scale=SCALE)
        made = vae.decode(latent / vae.config.scaling_factor).sample.float() / 2 + 0.5
    target = rows["target pixels"]
    holed = masked_scene(target.movedim(1, -1), rows["hole pixels"].float())
    exemplar = F.interpolate(rows["exemplar pixels"], target.shape[-2:], mode="bicubic", antialias=True)
    columns = [holed, *(pictures.movedim(1, -1) for pictures in (exemplar, target, made))]
    return Image.fromarray(np.concatenate([_strip(column) for column in columns], axis=1))


def _strip(pictures: Tensor) -> np.ndarray:
    """uint8 [B*H,W,3] of pictures [B,H,W,3]."""
    return np.concatenate([np.asarray(picture) for picture in pil_pictures(pictures.clamp(0, 1))], axis=0)
