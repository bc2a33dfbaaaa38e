"""Noise levels and samplers without ComfyUI: diffusers' schedulers, with the host's noise levels where they can follow.

`levels` [T] are the sigmas of the training steps, ascending, float64. What is taken from them is rounded as in the
host: halfway between two training steps the last bit decides which one the UNet is told.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
)
from torch import Tensor

from ..weights.configs import check_choice, check_like, count_in, read_json
from ..weights.pretrained import reading

BETAS = ("linear", "scaled_linear", "squaredcos_cap_v2")
SPACINGS = ("leading", "linspace", "trailing")
PREDICTIONS = ("epsilon", "v_prediction")
MOST_LEVELS = 100_000  # of noise in training; published models have 1,000
MOST_STEPS = 1000  # of the host's samplers, and of training


def read_scheduler(path: Path) -> dict[str, Any]:
    """The noise schedule in a folder's scheduler_config.json, for any of diffusers' schedulers.

    Raises FileNotFoundError, or ValueError naming the file for what no schedule can be made of.
    """
    config = read_json(path)
    for kind in (EulerDiscreteScheduler, DDIMScheduler):
        check_like(config, kind, path)
    for name, choices in (("beta_schedule", BETAS), ("timestep_spacing", SPACINGS), ("prediction_type", PREDICTIONS)):
        check_choice(config, name, choices, path)
    if "num_train_timesteps" in config:
        count_in(config, "num_train_timesteps", path, most=MOST_LEVELS)
    with reading(str(path)):
        scheduler: Any = EulerDiscreteScheduler.from_config(config)
        DDIMScheduler.from_config(config)
        levels = training_levels(scheduler)
    if not len(levels) or not torch.isfinite(levels).all() or levels[0] <= 0 or (levels.diff() <= 0).any():
        raise ValueError(f"{path} is no noise schedule: its noise does not grow from step to step.")
    return config


def training_levels(scheduler: Any) -> Tensor:
    """Noise levels sqrt((1 - a) / a) of a diffusers scheduler's training steps, a the product of 1 - beta so far."""
    config = scheduler.config
    power = {"linear": 1, "scaled_linear": 2}.get(config.beta_schedule)
    if power is None or config.get("trained_betas") is not None or config.get("rescale_betas_zero_snr"):
        signal = scheduler.alphas_cumprod.double()
    else:
        low = config.beta_start ** (1 / power)
        high = config.beta_end ** (1 / power)
        betas = torch.linspace(low, high, config.num_train_timesteps, dtype=torch.float64) ** power
        signal = (1 - betas).cumprod(0)
    return ((1 - signal) / signal).sqrt()


def level_at(levels: Tensor, timestep: Tensor) -> Tensor:
    """Noise levels [...] at fractional training steps [...], log-linear between whole ones."""
    log_levels = levels.log().float()
    part = timestep.frac()
    return ((1 - part) * log_levels[timestep.floor().long()] + part * log_levels[timestep.ceil().long()]).exp()


def nearest_timesteps(levels: Tensor, sigmas: Tensor) -> Tensor:
    """Whole training steps [N] nearest to `sigmas` [N] in log sigma: what the host tells the UNet."""
    return (sigmas.log() - levels.log().float()[:, None]).abs().argmin(0)


def percent_to_sigma(levels: Tensor, percent: float) -> float:
    """Noise level at a share of the schedule: 0 is beyond all noise, 1 is none."""
    if percent <= 0:
        return float("inf")
    return 0.0 if percent >= 1 else float(level_at(levels, torch.tensor((1 - percent) * (len(levels) - 1))))


def normal_sigmas(levels: Tensor, steps: int) -> Tensor:
    """[steps + 1] noise levels evenly spread over the training steps, then 0: the host's "normal" scheduler."""
    return torch.cat([level_at(levels, torch.linspace(len(levels) - 1, 0, steps)), torch.zeros(1)])


def karras_sigmas(levels: Tensor, steps: int, rho: float = 7.0) -> Tensor:
    """[steps + 1] noise levels even in sigma^(1 / rho) (arXiv 2206.00364, eq. 5), then 0: the host's "karras"."""
    least, most = (float(level) ** (1 / rho) for level in levels[[0, -1]].float())
    return torch.cat([(most + torch.linspace(0, 1, steps) * (least - most)) ** rho, torch.zeros(1)])


def simple_sigmas(levels: Tensor, steps: int) -> Tensor:
    """[steps + 1] noise levels of every so many training steps, the last one never, then 0: the host's "simple"."""
    stride = len(levels) / steps
    return torch.cat([levels[[-1 - int(step * stride) for step in range(steps)]].float(), torch.zeros(1)])


SPREADS = {"normal": normal_sigmas, "karras": karras_sigmas, "simple": simple_sigmas}


def spread_sigmas(levels: Tensor, scheduler: str, steps: int, denoise: float = 1.0) -> Tensor:
    """[steps + 1] noise levels as the host's `scheduler` spreads them, below a `denoise` of 1 the end of a longer run.

    Raises ValueError for an unknown scheduler, a denoise outside of 0..1, and what `check_steps` refuses.
    """
    if scheduler not in SPREADS:
        raise ValueError(f"Unknown scheduler '{scheduler}'; use {', '.join(SPREADS)}.")
    if not 0 < denoise <= 1:
        raise ValueError(f"denoise must be above 0 and at most 1; got {denoise}.")
    check_steps(steps)
    return SPREADS[scheduler](levels, int(steps / denoise))[-(steps + 1) :]


# Samplers: diffusers' schedulers, two of them with noise levels of our choice.


def _following(euler: Any) -> Any:
    """diffusers' Euler scheduler, but with noise levels as given, and the UNet told the nearest whole training step."""

    class Following(euler):
        def follow(self, sigmas: Tensor, levels: Tensor) -> None:
            self.given = sigmas
            self.levels = levels

        def set_timesteps(self, num_inference_steps: int, device=None) -> None:
            super().set_timesteps(num_inference_steps, device=device)
            self.sigmas = self.given
            self.timesteps = nearest_timesteps(self.levels, self.given[:-1]).float().to(device)
            self.set_begin_index(0)  # not found by timestep: two noise levels may share one

        @property
        def init_noise_sigma(self) -> Tensor:
            """A run from full noise starts with variance 1 + sigma^2, as in training; a later one with sigma^2."""
            first = self.given[0]
            return (1 + first**2).sqrt() if first >= self.levels[-1] * (1 - 1e-5) else first

    return Following


SAMPLERS: dict[str, Callable[[Any], Any]] = {
    "euler_ancestral": _following(EulerAncestralDiscreteScheduler).from_config,
    "euler": _following(EulerDiscreteScheduler).from_config,
    "ddim": partial(DDIMScheduler.from_config, clip_sample=False),
    "dpmpp_2m": DPMSolverMultistepScheduler.from_config,
}


class Schedule(NamedTuple):
    """A run's scheduler, its number of steps, and the noise level at a timestep during the run."""

    scheduler: Any
    steps: int
    sigma_at: Callable[[Tensor], float]

    def noise_scale(self) -> float:
        """What the noise of the first step is scaled by, over what the clean latents of that step are scaled by."""
        if hasattr(self.scheduler, "follow"):
            return float(self.scheduler.init_noise_sigma)
        self.scheduler.set_timesteps(self.steps)
        return (1 + self.sigma_at(self.scheduler.timesteps[0]) ** 2) ** 0.5


def check_steps(steps: int) -> None:
    """Raise ValueError for no step, or more than the host's samplers take."""
    if steps < 1:
        raise ValueError(f"At least 1 step is needed; got {steps}.")
    if steps > MOST_STEPS:
        raise ValueError(f"At most {MOST_STEPS} steps can be made; got {steps}.")


def check_sigmas(sigmas: Tensor) -> Tensor:
    """Noise levels [N+1] of N steps, float32 on the CPU. Raises ValueError unless they fall, the last to 0 at least."""
    sigmas = torch.as_tensor(sigmas, dtype=torch.float32).cpu()
    if sigmas.ndim != 1 or len(sigmas) < 2 or not torch.isfinite(sigmas).all():
        raise ValueError(f"Sigmas must be one row of at least 2 finite noise levels; got {sigmas.tolist()}.")
    if (sigmas.diff() >= 0).any() or sigmas[-1] < 0:
        raise ValueError(f"Sigmas must fall from step to step and not below 0; got {sigmas.tolist()}.")
    return sigmas


def make_schedule(sampler: str, config: Any, levels: Tensor, steps: int, *, sigmas: Tensor | None = None) -> Schedule:
    """The run of a sampler named in SAMPLERS, by the `config` of a diffusers scheduler.

    The Euler ones follow `sigmas` [N+1], by default the host's "normal" ones for `steps`. Raises ValueError for an
    unknown sampler, what `check_steps` refuses, or `sigmas` that are unusable or that the sampler cannot follow.
    """
    if sampler not in SAMPLERS:
        raise ValueError(f"Unknown sampler '{sampler}'; use {', '.join(SAMPLERS)}.")
    check_steps(steps)
    scheduler = SAMPLERS[sampler](config)
    if hasattr(scheduler, "follow"):
        sigmas = normal_sigmas(levels, steps) if sigmas is None else check_sigmas(sigmas)
        scheduler.follow(sigmas, levels)
        return Schedule(scheduler, len(sigmas) - 1, lambda _: float(scheduler.sigmas[scheduler.step_index]))
    if sigmas is not None:
        raise ValueError(f"The sampler {sampler} sets its own noise levels; use euler or euler_ancestral.")
    return Schedule(scheduler, steps, lambda timestep: float(levels[int(timestep)]))
