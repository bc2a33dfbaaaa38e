"""Looks at a run: errors in right and wrong contexts, and latents by a few steps of DDIM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from .denoising import DenoisingTask
from .precision import autocast
from .task import Batch

TIMES = (100, 300, 500, 700, 900)  # of 1000
SHOWN = 8  # examples on a sheet, and in one batch
MEASURED = 64  # examples


def right_against_wrong(task: DenoisingTask, rows: Batch, context: Tensor) -> tuple[float, float]:
    """The noise error of held-out rows in their own contexts [B,N,D], and by what share another row's are worse.

    The noise is the same every time. A share of zero means that the UNet does not look at what it is to insert.
    """
    target = rows["target"]
    sums = {"right": 0.0, "wrong": 0.0}
    for seed, moment in enumerate(TIMES):
        noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(seed)).to(target)
        batch = rows | {"noise": noise, "time": torch.full((len(target),), moment, device=target.device)}
        for name, contexts in (("right", context), ("wrong", context.roll(1, 0))):
            for part in torch.arange(len(target), device=target.device).split(SHOWN):
                with autocast(target.device):
                    error = task.squared_error({key: values[part] for key, values in batch.items()}, contexts[part])
                sums[name] += error.mean((1, 2, 3)).sum().item()
    error = sums["right"] / (len(target) * len(TIMES))
    return error, sums["wrong"] / max(sums["right"], 1e-12) - 1


def ddim(
    predict: Callable[[Tensor, Tensor], Tensor], like: Tensor, noise_schedule: DDIMScheduler, *, steps: int, seed: int
) -> Tensor:
    """Latents [B,C,h,w] from noise shaped `like` these, by DDIM: a quick look.

    `predict` gives the guided prediction [B,C,h,w] for latents [B,C,h,w] at a timestep.
    """
    schedule = cast(Any, noise_schedule)
    schedule.set_timesteps(steps)
    latents = torch.randn(like.shape, generator=torch.Generator().manual_seed(seed)).to(like)
    for time in schedule.timesteps:
        latents = schedule.step(predict(latents, time), time, latents).prev_sample
    return latents
