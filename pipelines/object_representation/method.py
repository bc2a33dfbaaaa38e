"""An object learned from a few pictures, as `evaluate` sees it: learned once for each subject, then painted."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..method import Option
from ..paint_by_example.method import SAMPLER, SIMILARITY, STEPS, WEIGHTS, check_has_mask, painted

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from ..evaluation.cases import Benchmark, Case
    from ..evaluation.inserters import Inserter
    from .training.learn import LearningSettings
    from .training.learned_once import LearnedOnce
    from .training.views import View

FOLDER = "learned"  # in the evaluation's own
EXAMPLE = 'such as {"train": "kv", "steps": 400}'
SETTINGS = Option(
    "--learn-settings",
    f"of learned-object: how it is learned, as JSON or a file of it, {EXAMPLE}; the names are those of `learn`'s "
    "options, which are the default",
    metavar="JSON",
    kind=str,
    default="{}",
)
OTHERS = Option(
    "--learn-others",
    "of learned-object: how many of the benchmark's pictures of the same kind of thing are mixed in (default: all)",
    metavar="N",
    kind=int,
)


class LearnsObjects:
    """Each subject learned from its few pictures, kept in the evaluation's folder, and painted into the true mask."""

    name = "learned_object"
    training = None  # an object is learned by the command `learn`
    options = (WEIGHTS, SIMILARITY, SETTINGS, OTHERS)

    def inserter(self, args: Namespace, benchmark: Benchmark) -> tuple[Inserter, dict[str, Any]]:
        """Raises ValueError for a benchmark without masks or without object pictures, and for unusable settings."""
        from ..evaluation.inserters import made_with, sampling_settings
        from ..paint_by_example.checkpoints import model_folder
        from ..paint_by_example.pipeline import PaintByExamplePipeline
        from .application import applied, contexts_of
        from .training.learned_once import LearnedOnce
        from .training.of_pipeline import learning_model

        first = benchmark[0]
        check_has_mask(first, benchmark)  # before gigabytes are read
        first.views()
        learning = read_settings(args.learn_settings)
        most = args.learn_others
        if most is not None and most < 0:
            raise ValueError(f"--learn-others must be 0 (none) or more, not {most}.")
        weights = args.paint_by_example
        pipeline = PaintByExamplePipeline.from_folder(weights, args.device, args.dtype)
        settings = sampling_settings(args, STEPS, SAMPLER) | {"similarity": args.similarity}
        learned_with = {"learn": vars(learning), "others": most}
        facts = made_with(args, pipeline, settings | learned_with, files={"paint_by_example": model_folder(weights)})

        @cache
        def model():
            """Learning is in single precision, whatever is painted in."""
            exact = pipeline.unet.dtype.itemsize >= 4
            return learning_model(pipeline if exact else PaintByExamplePipeline.from_folder(weights, args.device))

        objects = LearnedOnce(
            args.output / FOLDER,
            learning,
            base=f"{facts['weights']} {args.device.type}",
            base_name=Path(weights).name,
            model=model,
        )

        def paint(case: Case) -> Image.Image:
            one = learned_for(objects, case, benchmark, most)
            exemplar = None
            if case.reference is not None:
                exemplar, _ = pipeline.contexts(case.reference, None, settings["framing"], settings["background"])
            contexts = contexts_of(one, pipeline.exemplar_encoder.null[0], exemplar)
            with applied(pipeline.unet, [one]):
                return painted(pipeline, case, benchmark, contexts, settings)

        return paint, facts


def learned_for(objects: LearnedOnce, case: Case, benchmark: Benchmark, most: int | None) -> Any:
    """A case's object, learned from its views and at most so many `others` of the benchmark."""

    def others() -> list[View]:
        return [] if most == 0 else object_views(benchmark.others(case)[:most], f"of the kind in {case.name}")

    return objects(object_views(case.views(), f"of case {case.name}"), others)


def object_views(pictures: Sequence[tuple[Image.Image, np.ndarray | None]], whose: str) -> list[View]:
    """Pictures with their masks [h,w] as views. Raises ValueError, naming the picture, for what `make_view` refuses."""
    import torch

    from ..pictures.files import picture_tensor
    from ..pictures.masks import array_box
    from .training.views import make_view

    views = []
    for number, (picture, mask) in enumerate(pictures, 1):
        box = None if mask is None else array_box(mask)
        own = None if mask is None else torch.from_numpy(mask)[None].float()
        views.append(make_view(picture_tensor(picture), own, box, f"picture {number} {whose}"))
    return views


def read_settings(text: str) -> LearningSettings:
    """The settings in JSON, or in a file of it. Raises FileNotFoundError, or ValueError saying what is wrong."""
    from ..training.config import build
    from .training.learn import LearningSettings

    where = SETTINGS.flag
    if not text.lstrip().startswith("{"):
        where = text
        path = Path(text)
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist. {SETTINGS.flag} is JSON, {EXAMPLE}, or a file of it.")
        text = path.read_text(encoding="utf-8", errors="replace")
    try:
        table = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is not JSON: {error}. Needed is a table, {EXAMPLE}.") from error
    if not isinstance(table, dict):
        raise ValueError(f"{where} is no table; needed is one, {EXAMPLE}.")
    try:
        return build(LearningSettings, table)
    except ValueError as error:
        raise ValueError(f"{where}: {str(error).removesuffix('.')}.") from error
