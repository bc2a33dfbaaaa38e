"""Paint by Example as the commands see it."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..method import Option, Progress, Report

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from ..evaluation.cases import Benchmark, Case
    from ..evaluation.inserters import Inserter
    from ..training.estimate import Estimate

WEIGHTS = Option(
    "--paint-by-example",
    "of paint-by-example: a folder as `paint` takes it; of paint-by-example-encoder: the published folder or "
    "checkpoint, or a folder of `train`",
    metavar="PATH",
    needed=True,
)
SIMILARITY = Option(
    "--similarity",
    "of paint-by-example: how much like the exemplar (default 5)",
    metavar="X",
    kind=float,
    default=5.0,
)
STEPS, SAMPLER = 50, "plms"  # of the published runs, where the user names none


class ExemplarTraining:
    """An inpainting UNet and the exemplar encoder in front of it."""

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


class PaintByExample:
    """The first picture of an object, painted into the true mask; only that part of the scene is pasted back."""

    name = "paint_by_example"
    training = ExemplarTraining()
    options = (WEIGHTS, SIMILARITY)

    def inserter(self, args: Namespace, benchmark: Benchmark) -> tuple[Inserter, dict[str, Any]]:
        """Raises ValueError for a benchmark without masks: nothing there says where to paint."""
        import torch
        from PIL import Image

        from ..evaluation.inserters import made_with, sampling_settings
        from ..local_region.edit import edit_region
        from ..pictures.files import picture_tensor, pil_pictures
        from ..pictures.scene import check_scene
        from .checkpoints import model_folder
        from .pipeline import PaintByExamplePipeline

        check_has_mask(benchmark[0], benchmark)  # before gigabytes are read
        pipeline = PaintByExamplePipeline.from_folder(args.paint_by_example, args.device, args.dtype)
        settings = sampling_settings(args, STEPS, SAMPLER) | {"similarity": args.similarity}

        def paint(case: Case) -> Image.Image:
            check_has_mask(case, benchmark)
            exemplar = case.objects[0]
            exemplar_mask = Image.fromarray(case.object_masks[0]) if case.object_masks else None

            def edit(crop: Tensor, crop_mask: Tensor) -> Tensor:
                return pipeline(crop, crop_mask, exemplar, exemplar_mask, **settings).images

            scene = check_scene(picture_tensor(case.scene))
            mask = torch.from_numpy(case.mask).float()
            images = edit_region(scene, edit, mask=mask, working_size=pipeline.native_size, area="mask")
            return pil_pictures(images)[0]

        return paint, made_with(
            args, pipeline, settings, files={"paint_by_example": model_folder(args.paint_by_example)}
        )


def check_has_mask(case: Case, benchmark: Benchmark) -> None:
    """Raise ValueError for a case without a mask."""
    if case.mask is None:
        raise ValueError(
            f"Case {case.name} of {benchmark.name} has no mask, and Paint by Example paints into one. Benchmarks with "
            "masks: playroom, pipe, magicbrush-add, opa, dreameditbench."
        )
