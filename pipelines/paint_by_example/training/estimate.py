"""What a training run will take, before it is started: measured on pictures of noise."""

from __future__ import annotations

import torch

from ...training.estimate import Estimate, measure
from .config import TrainingConfig
from .pictures import Example, Pictures
from .recipe import Recipe


def estimate(config: TrainingConfig) -> Estimate:
    """Build the run and measure a few of its steps; nothing is read from the data's folders, nothing is written."""
    recipe = Recipe(config)
    return measure(recipe.task_on(_RandomPictures([], *recipe.shown)), config.batch, config.run)


class _RandomPictures(Pictures):
    """Noise in place of pictures: what a run reads from its disk is not measured."""

    def __len__(self) -> int:
        return 1

    def example(self, index: int, seed: int) -> Example:
        size, half = self.settings.size, self.settings.size // 2
        hole = torch.zeros(size, size, dtype=torch.bool)
        hole[:half] = True
        return Example(torch.rand(3, size, size), hole, torch.rand(3, self.exemplar_size, self.exemplar_size))
