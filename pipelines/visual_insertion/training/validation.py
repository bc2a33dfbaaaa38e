"""Looks at a run: errors on held-out triplets, and a sheet of pictures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ...encoders.vision import Encoder
from ...sampling.guidance import Guidance
from ...training.columns import Column
from ...training.task import Modules
from .encoded_triplets import EncodedTriplets
from .insertion import preview
from .preparation import Objects

TIMES = (100, 300, 500, 700, 900)  # of 1000
GUIDANCE = Guidance(object_scale=5.0, scene_scale=1.5)  # of the sheet
SHOWN = 8  # triplets on it, and in one batch
MEASURED = 64  # triplets


@dataclass(frozen=True)
class HeldOut:
    """Triplets that are not trained on, and what is needed to look at them."""

    triplets: EncodedTriplets
    objects: Objects
    encoder: Encoder
    vae: Any
    noise_schedule: Any
    device: torch.device

    def rows(self, count: int) -> dict[str, Tensor]:
        """The first rows, first variant, first view, as float32 on the device."""
        data, count = self.triplets, min(count, len(self.triplets))
        index, zero = torch.arange(count), torch.zeros(count, dtype=torch.long)
        columns = {"target": data.target, "scene": data.scene, "features": data.features, "details": data.details}
        there = {name: cast(Column, column) for name, column in columns.items() if column is not None}
        return {name: column[index, zero].float().to(self.device) for name, column in there.items()}

    def autocast(self):
        return torch.autocast(self.device.type, torch.bfloat16)


def metrics(held: HeldOut, modules: Modules) -> dict[str, float]:
    """Noise errors, with the same noise every time: "error" with the right object; "object_gain", by what share
    another triplet's object is worse. A gain of zero means that the UNet does not look at the object."""
    rows, schedule = held.rows(MEASURED), held.noise_schedule
    context = modules["embedding_optimizer"](rows["features"], rows.get("details"))
    sums = {"right": 0.0, "wrong": 0.0}
    for number, moment in enumerate(TIMES):
        noise = torch.randn(rows["target"].shape, generator=torch.Generator().manual_seed(number)).to(held.device)
        time = torch.full((len(noise),), moment, device=held.device)
        noisy = schedule.add_noise(rows["target"], noise, time)
        velocity = schedule.config.prediction_type == "v_prediction"
        wanted = schedule.get_velocity(rows["target"], noise, time) if velocity else noise
        inputs = torch.cat([noisy, rows["scene"]], 1)
        for name, shown in (("right", context), ("wrong", context.roll(1, 0))):
            for part in (slice(start, start + SHOWN) for start in range(0, len(noise), SHOWN)):
                with held.autocast():
                    out = modules["unet"](inputs[part], time[part], encoder_hidden_states=shown[part]).sample
                sums[name] += F.mse_loss(out.float(), wanted[part]).item() * len(out)
    error = sums["right"] / (len(context) * len(TIMES))
    return {"error": error, "object_gain": sums["wrong"] / max(sums["right"], 1e-12) - 1}


def sheet(held: HeldOut, modules: Modules) -> Image.Image:
    """Scene, object, true picture, and what the networks make of it: one row per triplet."""
    rows, optimizer, scale = held.rows(SHOWN), modules["embedding_optimizer"], held.vae.config.scaling_factor
    context = optimizer(rows["features"], rows.get("details"))
    with held.autocast():
        made = preview(modules["unet"], context, optimizer.null, rows["scene"], held.noise_schedule, GUIDANCE)
    scene, target, result = (_pictures(held.vae, x) for x in (rows["scene"] * scale, rows["target"], made))
    side = scene.shape[1]
    shown = [held.objects.picture(index, 0, replace(held.encoder, size=side)) for index in range(len(made))]
    objects = (torch.stack(shown) * 255).round().byte().movedim(1, -1).numpy()
    lines = [np.concatenate(line, axis=1) for line in zip(scene, objects, target, result, strict=True)]
    return Image.fromarray(np.concatenate(lines, axis=0))


def _pictures(vae: Any, latents: Tensor) -> np.ndarray:
    """uint8 [B,H,W,3] of latents times the VAE's scaling factor."""
    decoded = vae.decode(latents.to(vae.device) / vae.config.scaling_factor).sample
    return ((decoded.float().clamp(-1, 1) + 1) * 127.5).round().byte().movedim(1, -1).cpu().numpy()
