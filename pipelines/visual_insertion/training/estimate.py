"""What a training run will take, before it is started: measured on random numbers of the true shapes."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from ...training.estimate import Estimate, measure
from .config import TrainingConfig
from .encoded_triplets import EncodedTriplets
from .recipe import Recipe


def estimate(config: TrainingConfig) -> Estimate:
    """Build the run and measure a few of its steps; nothing is read from the data's folders, nothing is written."""
    recipe = Recipe(config)
    objects = _RandomPictures(recipe) if config.data.augment else None
    return measure(recipe.task_on(_random_triplets(recipe, objects is None), objects), config.batch, config.run)


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
