"""Paint by Example as the commands see it."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..method import Option, Progress, Report, Training

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from ..evaluation.cases import Benchmark, Case
    from ..evaluation.inserters import Inserter
    from ..training.estimate import Estimate
    from .pipeline import PaintByExamplePipeline

WEIGHTS = Option(
    "--paint-by-example",
    "of paint-by-example, paint-by-example-views and learned-object: a folder as `paint` takes it; of "
    "paint-by-example-encoder: the published folder or checkpoint, or a folder of `train`",
    metavar="PATH",
    needed=True,
)
SIMILARITY = Option(
    "--similarity",
    "of paint-by-example, paint-by-example-views and learned-object: how much like the exemplar (default 5)",
    metavar="X",
    kind=float,
    default=5.0,
)
SHOWN = ("framing", "background")  # of the settings, those of the exemplar alone
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


@dataclass(frozen=True)
class PaintByExample:
    """A picture of an object, or several, painted into the true mask; only that part of the scene is pasted back."""

    name: str = "paint_by_example"
    views: str = ""  # how several pictures are joined, see `encoders.views`; nothing: the first one alone is shown
    training: Training | None = ExemplarTraining()
    options: tuple[Option, ...] = (WEIGHTS, SIMILARITY)

    def inserter(self, args: Namespace, benchmark: Benchmark) -> tuple[Inserter, dict[str, Any]]:
        """Raises ValueError for a benchmark without masks: nothing there says where to paint."""
        from PIL import Image as images

        from ..evaluation.inserters import made_with, sampling_settings
        from .checkpoints import model_folder
        from .pipeline import PaintByExamplePipeline

        check_has_mask(benchmark[0], benchmark)  # before gigabytes are read
        pipeline = PaintByExamplePipeline.from_folder(args.paint_by_example, args.device, args.dtype)
        settings = sampling_settings(args, STEPS, SAMPLER) | {"similarity": args.similarity}
        joined = self.views or "separate"

        def paint(case: Case) -> Image.Image:
            check_has_mask(case, benchmark)
            shown = case.references() if self.views else case.references()[:1]
            pictures, masks = zip(*shown, strict=True)
            contexts = pipeline.contexts(
                pictures,
                [None if mask is None else images.fromarray(mask) for mask in masks],
                framing=settings["framing"],
                background=settings["background"],
                views=joined,
            )
            return painted(pipeline, case, benchmark, contexts, settings)

        known = settings | ({"views": joined} if self.views else {})
        return paint, made_with(args, pipeline, known, files={"paint_by_example": model_folder(args.paint_by_example)})


def painted(
    pipeline: PaintByExamplePipeline,
    case: Case,
    benchmark: Benchmark,
    contexts: tuple[Tensor, Tensor],
    settings: Mapping[str, Any],
) -> Image.Image:
    """A case's scene with what the contexts [1,N,C] say in its mask, the region around it at the model's own size.

    Raises ValueError for a case without a mask.
    """
    import torch

    from ..local_region.edit import edit_region
    from ..pictures.files import picture_tensor, pil_pictures
    from ..pictures.scene import check_scene

    check_has_mask(case, benchmark)
    sampling = {name: value for name, value in settings.items() if name not in SHOWN}

    def edit(crop: Tensor, crop_mask: Tensor) -> Tensor:
        return pipeline(crop, crop_mask, contexts=contexts, **sampling).images

    scene = check_scene(picture_tensor(case.scene))
    mask = torch.from_numpy(case.mask).float()
    images = edit_region(scene, edit, mask=mask, working_size=pipeline.native_size, area="mask")
    return pil_pictures(images)[0]


def check_has_mask(case: Case, benchmark: Benchmark) -> None:
    """Raise ValueError for a case without a mask."""
    if case.mask is None:
        raise ValueError(
            f"Case {case.name} of {benchmark.name} has no mask, and Paint by Example paints into one. Benchmarks with "
            "masks: playroom, pipe, magicbrush-add, opa, dreameditbench, insert-set."
        )
