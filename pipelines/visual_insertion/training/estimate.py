"""What a training run will take, before it is started."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import Any, cast

import psutil
import torch
from torch import Tensor

from ...training.trainer import Trainer
from .config import TrainingConfig
from .recipe import Recipe
from .triplets import EncodedTriplets


@dataclass(frozen=True)
class Estimate:
    """What a run will take, by a short measurement on random numbers of the true shapes."""

    trained: dict[str, tuple[int, int]]  # network: (tensors, parameters)
    frozen: int  # parameters
    state_gb: float  # weights, gradients, moments and averages
    peak_gb: float  # of the device, or of this process on a CPU
    steps: int
    seconds_per_step: float

    @property
    def hours(self) -> float:
        return self.steps * self.seconds_per_step / 3600


def estimate(config: TrainingConfig, measured: int = 2) -> Estimate:
    """Build the run and measure a few of its steps; nothing is read from the data's folders, nothing is written."""
    recipe = Recipe(config)
    objects = _RandomPictures(recipe) if config.data.augment else None
    trainer = Trainer(recipe.task_on(_random_triplets(recipe, objects is None), objects), config.run)
    try:
        seconds = _median_seconds(trainer, measured)
    finally:
        trainer.close()
    every = [p for network in trainer.networks.values() for p in network.parameters()]
    trained = {
        name: (len(chosen), sum(p.numel() for p in chosen))
        for name, network in trainer.networks.items()
        if (chosen := [p for p in network.parameters() if p.requires_grad])
    }
    count = sum(parameters for _, parameters in trained.values())
    state = sum(p.numel() * p.element_size() for p in every) + 4 * count * 4  # gradients, two moments, average
    frozen = sum(p.numel() for p in every) - count
    return Estimate(trained, frozen, state / 1e9, _peak_gb(trainer.device), config.run.steps, seconds)


def _median_seconds(trainer: Trainer, count: int) -> float:
    """Of one step, after one that does not count."""
    found = []
    for _ in range(count + 1):
        started = time.perf_counter()
        trainer.step()
        if trainer.device.type == "cuda":
            torch.cuda.synchronize()
        found.append(time.perf_counter() - started)
    return median(found[1:])


def _peak_gb(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    return psutil.Process().memory_info().rss / 1e9


def _random_triplets(recipe: Recipe, with_features: bool) -> EncodedTriplets:
    pictures, channels = recipe.config.data.pictures, cast(Any, recipe.unet.config).out_channels
    count, side = recipe.config.batch, pictures.size // 8

    def tokens(name: str) -> Tensor | None:
        if not with_features or name not in recipe.encoders:
            return None
        return torch.randn(count, 1, recipe.tokens(name), recipe.width(name))

    latents = torch.randn(count, 1, channels, side, side)
    region = torch.zeros(count, 1, 1, side, side, dtype=torch.bool)
    return EncodedTriplets(latents, latents, tokens("features"), region, tokens("details"))


class _RandomPictures:
    """Pictures of noise in place of the objects', for a measurement."""

    views = 1

    def __init__(self, recipe: Recipe):
        self.sizes = {name: encoder.size for name, encoder in recipe.encoders.items()}

    def pixels(self, index: Tensor, view: Tensor, seed: Tensor) -> dict[str, Tensor]:
        return {name: torch.randn(len(index), 3, size, size) for name, size in self.sizes.items()}


def describe(found: Estimate, config: TrainingConfig) -> str:
    """An estimate as text."""
    lines = [f"{n}: trains {p:,} parameters in {t} tensors" for n, (t, p) in found.trained.items()]
    lines += [
        f"frozen: {found.frozen:,} parameters",
        f"memory: {found.state_gb:.2f} GB for weights and optimizer, {found.peak_gb:.2f} GB at the peak so far",
        f"steps: {found.steps:,} x {config.batch} triplets, {found.seconds_per_step:.3g} s each, {config.run.device}",
        f"time: {found.hours:.1f} hours",
    ]
    return "\n".join(lines)
