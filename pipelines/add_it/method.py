"""Add-it as the commands see it: the object is told in the words of the benchmark, in the whole picture's caption."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..method import Option, Training

if TYPE_CHECKING:
    from PIL import Image

    from ..evaluation.cases import Benchmark, Case
    from ..evaluation.inserters import Inserter
    from .pipeline import AddItPipeline

Load = Callable[[Path, Any, Any], "AddItPipeline"]
DEFAULT = Path(__file__).resolve().parents[2] / "playroom_flux"


class AddIt:
    """Training-free insertion by words. It is not shown the object's pictures, and its numbers say so."""

    name = "add_it"
    training: Training | None = None
    options = (Option("--flux", "of diffusers' FluxPipeline (default: the playroom's toy)", default=DEFAULT),)

    def __init__(self, load: Load):
        self.load = load

    def inserter(self, args: Namespace, benchmark: Benchmark) -> tuple[Inserter, dict[str, Any]]:
        from ..evaluation.inserters import made_with, named
        from ..pictures.files import picture_tensor, pil_pictures

        if args.sampler not in (None, "euler"):
            raise ValueError(f"Add-it runs with --sampler euler; got {args.sampler}.")
        pipeline = self.load(args.flux, args.device, args.dtype)
        steps = pipeline.defaults.steps if args.steps is None else args.steps

        def insert(case: Case) -> Image.Image:
            subject = subject_of(case)
            prompt = pipeline.prompts.caption(subject, case.caption)
            scene = picture_tensor(case.scene)
            added = pipeline(
                scene, prompt, subject, scene_prompt=case.scene_caption, occurrence=1, steps=steps, seed=args.seed
            )
            return pil_pictures(added.images)[0]

        settings = {"steps": steps, "seed": args.seed, "settings": asdict(pipeline.defaults.settings)}
        return insert, made_with(args, pipeline, settings, files=named(args, "flux"))


def subject_of(case: Case) -> str:
    """What is added: the case's subject, else that of its instruction. Raises ValueError for a case without either."""
    from ..evaluation.subjects import told_subject

    subject = case.subject or told_subject(case.instruction)
    if not subject:
        raise ValueError(
            f"Case {case.name} says not in words what to add: its instruction is “{case.instruction}”. Where this is a "
            "case of emuedit-add, name it in subjects.json."
        )
    return subject
