"""A student of visually guided insertion as the commands see it."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..method import Option, Progress, Report

if TYPE_CHECKING:
    from ..evaluation.cases import Benchmark
    from ..evaluation.inserters import Inserter
    from ..training.estimate import Estimate


class DistillationTraining:
    """A low-rank patch of a UNet, which needs fewer evaluations than its teacher."""

    recipes = Path(__file__).parent / "training" / "recipes"

    def config(self) -> type:
        from .training.config import DistillationConfig

        return DistillationConfig

    def estimate(self, config: Any) -> Estimate:
        from .training.recipe import estimate

        return estimate(config)

    def train(self, config: Any, report: Report, progress: Progress | None) -> dict[str, Path]:
        from .training.recipe import train

        return train(config, report, progress)


STUDENT = Option(
    "--student",
    "of distilled: what `train` wrote from a student's recipe",
    metavar="FILE",
)


class Distilled:
    """Visually guided insertion by a student, with its own sampler and steps."""

    name = "distilled"
    training = DistillationTraining()
    options = (STUDENT,)

    def inserter(self, args: Namespace, benchmark: Benchmark) -> tuple[Inserter, dict[str, Any]]:
        raise NotImplementedError
