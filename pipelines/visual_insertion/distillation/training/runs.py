"""Runs that a student learns from: where its teacher's sampling led, for many scenes and scales.

A latent here is as the UNet sees it, of variance 1: x / sqrt(1 + sigma^2) of k-diffusion's x.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ....sampling.guidance import BRANCHES, Branch
from ....training.columns import Column
from ....training.task import Batch

Predict = Callable[[Tensor, Tensor], Tensor]  # latents [B,C,h,w], timestep -> the UNet's output [B,C,h,w]


@dataclass
class Runs:
    """N runs with S noise levels each."""

    scene: Column  # [N,C,h,w] latents of the scene, not scaled
    context: Column  # [N,T,D] of the object
    scales: Column  # [N,2] object and scene scale of the run
    latent: Column  # [N,S,C,h,w]
    time: Column  # [N,S] timesteps, falling
    output: Column | None = None  # [N,S,C,h,w] the guided output of the UNet; None where only latents are learned from

    def __len__(self) -> int:
        return len(self.scene)

    def fetch(self, share: Batch) -> Batch:
        """The rows `index` [B] of what does not depend on a noise level."""
        index = share["index"]
        return {name: getattr(self, name)[index].float() for name in ("scene", "context", "scales")}


def clean_of(output: Tensor, latent: Tensor, sigma: Tensor, velocity: bool) -> Tensor:
    """The clean latents [B,C,h,w] that an output at noise levels [B,1,1,1] means."""
    signal = (1 + sigma**2).rsqrt()
    if velocity:
        return signal * latent - signal * sigma * output
    return latent / signal - sigma * output


class Teacher:
    """A UNet under guidance with scales of each sample's own."""

    def __init__(self, unet: Any, null: Tensor):
        self.unet = unet
        self.null = null

    @torch.no_grad()
    def __call__(self, latent: Tensor, time: Tensor, scene: Tensor, context: Tensor, scales: Tensor) -> Tensor:
        """The guided output [B,C,h,w] for scenes [B,C,h,w], contexts [B,N,D] and scales [B,2]."""
        null = self.null.to(context).expand_as(context)
        scenes: dict[Branch, Tensor] = {"empty": torch.zeros_like(scene), "scene": scene, "full": scene}
        inputs = torch.cat([torch.cat([latent, scenes[branch]], 1) for branch in BRANCHES])
        contexts = torch.cat([context if branch == "full" else null for branch in BRANCHES])
        outputs = self.unet(inputs.to(self.unet.dtype), time, encoder_hidden_states=contexts.to(self.unet.dtype))
        empty, shown, full = outputs.sample.float().chunk(3)
        wanted, kept = scales[:, :, None, None, None].unbind(1)
        return empty + kept * (shown - empty) + wanted * (full - shown)


def guided_run(
    predict: Predict,
    times: Tensor,
    levels: Tensor,
    shape: tuple[int, ...],
    velocity: bool,
    generator: torch.Generator,
    *,
    ancestral: bool,
) -> tuple[Tensor, Tensor]:
    """(latents, outputs) [B,S,C,h,w] at timesteps [S] of a run of Euler's method from noise."""
    sigmas = torch.cat([levels[times], torch.zeros(1)]).tolist()
    x = torch.randn(shape, generator=generator) * (1 + sigmas[0] ** 2) ** 0.5
    latents, outputs = [], []
    for time, sigma, below in zip(times, sigmas, sigmas[1:], strict=False):
        latent = x / (1 + sigma**2) ** 0.5
        output = predict(latent, time)
        clean = clean_of(output, latent, torch.tensor(sigma), velocity)
        fresh = (below**2 * (sigma**2 - below**2) / sigma**2) ** 0.5 if ancestral else 0.0
        down = (below**2 - fresh**2) ** 0.5
        x = clean + down / sigma * (x - clean)
        if fresh:
            x = x + fresh * torch.randn(shape, generator=generator)
        latents.append(latent)
        outputs.append(output)
    return torch.stack(latents, 1), torch.stack(outputs, 1)


def smooth_run(
    predict: Predict, times: Tensor, levels: Tensor, shape: tuple[int, ...], velocity: bool, generator: torch.Generator
) -> Tensor:
    """Latents [B,S+1,C,h,w], the clean ones last, of a run of DPM-Solver++(2M) (arXiv 2211.01095) from noise."""
    sigmas = torch.cat([levels[times], torch.zeros(1)])
    x = torch.randn(shape, generator=generator) * (1 + sigmas[0] ** 2).sqrt()
    latents: list[Tensor] = []
    before, step_before = None, torch.tensor(0.0)
    for time, sigma, below in zip(times, sigmas, sigmas[1:], strict=False):
        latent = x / (1 + sigma**2).sqrt()
        clean = clean_of(predict(latent, time), latent, sigma, velocity)
        latents.append(latent)
        step = (sigma / below).log()  # infinite in the last one
        ahead = clean
        if before is not None and below:
            ahead = clean + (clean - before) * step / (2 * step_before)
        x = below / sigma * x - torch.expm1(-step) * ahead
        before, step_before = clean, step
    return torch.stack([*latents, x], 1)


def spread_times(count: int, total: int, generator: torch.Generator) -> Tensor:
    """`count` timesteps of `total`, falling from the last one, each anywhere in its own part of them."""
    shares = torch.linspace(1, 0, count + 1)[:-1] - torch.rand(count, generator=generator) / count
    shares[0] = 1.0
    return (shares * (total - 1)).round().long().clamp(0, total - 1)


def simple_times(steps: int, total: int) -> Tensor:
    """[steps] timesteps of the host's "simple" scheduler, which is diffusers' spacing "trailing"."""
    return torch.tensor([total - 1 - int(n * total / steps) for n in range(steps)])
