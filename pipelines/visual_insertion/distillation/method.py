"""A student of visually guided insertion as the commands see it."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...method import Option, Progress, Report

if TYPE_CHECKING:
    from ...evaluation.cases import Benchmark
    from ...evaluation.inserters import Inserter
    from ...training.estimate import Estimate


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


class Distilled:
    """Visually guided insertion by a student, with the sampler and the steps that it was trained for."""

    name = "distilled"
    training = DistillationTraining()
    options = (
        Option(
            "--student",
            "of distilled: a file that `train` wrote, or the name of one in the models' folder `students`",
            metavar="FILE|NAME",
            needed=True,
        ),
    )

    def inserter(self, args: Namespace, benchmark: Benchmark) -> tuple[Inserter, dict[str, Any]]:
        """Raises ValueError where other steps or another sampler are asked than the student's."""
        from ...evaluation.inserters import showing_pictures
        from ..pipeline import VisualInsertionPipeline
        from ..trained_files import files_named
        from .student import load

        files = files_named(args)
        assert files.student  # the option is needed
        settings = load(files.student).settings
        for name in ("steps", "sampler"):
            own, asked = getattr(settings, name), getattr(args, name)
            if asked not in (None, own):
                raise ValueError(f"{args.student} was trained for {own} as --{name}, not for {asked}: leave it out.")
        own = Namespace(**vars(args) | {"steps": settings.steps, "sampler": settings.sampler})
        pipeline = VisualInsertionPipeline.from_files(files, args.device, args.dtype, warn=args.warn)
        return showing_pictures(own, pipeline, vars(files))
