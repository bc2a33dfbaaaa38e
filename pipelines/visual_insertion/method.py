"""Visually guided insertion as the commands see it."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..method import Option, Progress, Report

if TYPE_CHECKING:
    from ..evaluation.cases import Benchmark
    from ..evaluation.inserters import Inserter
    from ..training.estimate import Estimate


class InsertionTraining:
    """An embedding optimizer, and as much of the UNet's cross-attention as a configuration says."""

    recipes = Path(__file__).parent / "training" / "recipes"

    def config(self) -> type:
        from .training.config import TrainingConfig

        return TrainingConfig

    def estimate(self, config: Any) -> Estimate:
        from .training.recipe import estimate

        return estimate(config)

    def train(self, config: Any, report: Report, progress: Progress | None) -> dict[str, Path]:
        from .training.recipe import train

        return train(config, report, progress)


class VisualInsertion:
    """The object's pictures, through an embedding optimizer."""

    name = "visual_insertion"
    training = InsertionTraining()
    options = (
        Option(
            "--run",
            "a folder that `train` wrote: optimizer, patch and models of that run; several count as seeds do",
            dest="trained",
            several=True,
        ),
        Option("--unet-patch", "what the UNet learned beside the optimizer; 'none' goes without", metavar="FILE"),
        Option("--embedding-optimizer", "default: the one in the models' folder", metavar="FILE"),
        Option("--detail-encoder", "DINOv2; for optimizers trained with a second encoder"),
    )

    def inserter(self, args: Namespace, benchmark: Benchmark) -> tuple[Inserter, dict[str, Any]]:
        from ..evaluation.inserters import showing_pictures
        from .pipeline import VisualInsertionPipeline
        from .trained_files import files_named

        files = files_named(args)
        pipeline = VisualInsertionPipeline.from_files(files, args.device, args.dtype, warn=args.warn)
        return showing_pictures(args, pipeline, vars(files))
