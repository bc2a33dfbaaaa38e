"""Pipelines as methods to be scored: functions from a case to a picture, and what their pictures depend on."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from PIL import Image
from torch import nn

from ..sampling.guidance import Guidance
from ..weights.reading import fingerprint
from .cases import Case

Inserter = Callable[[Case], Image.Image]

STEPS = 20  # of an InstructPix2Pix UNet, where the user names none
SAMPLER = "euler_ancestral"  # the same
SCALES = ("object_scale", "scene_scale")
SAMPLING = ("steps", "seed", "sampler", "framing", "background")


class Pipeline(Protocol):
    """What every pipeline of the pack has."""

    @property
    def networks(self) -> list[nn.Module]:
        """All that a result depends on."""
        ...


class ShowingPipeline(Pipeline, Protocol):
    """A pipeline on an InstructPix2Pix UNet that is shown pictures of an object."""

    guidance: Guidance

    def __call__(self, *args: Any, **settings: Any) -> Any:
        """Scene, object pictures, their masks and the guidance to an `Insertion`."""
        ...


def chosen_guidance(args: Namespace, default: Guidance) -> Guidance:
    """The scales that a command's options name, the others as in `default`."""
    chosen = {name: getattr(args, name) for name in SCALES}
    return replace(default, **{name: scale for name, scale in chosen.items() if scale is not None})


def sampling_settings(args: Namespace, steps: int = STEPS, sampler: str = SAMPLER) -> dict[str, Any]:
    """The settings of one run by the pipelines' names; `steps` and `sampler` count where the user names none."""
    settings = {name: getattr(args, name) for name in SAMPLING}
    return settings | {"steps": steps if args.steps is None else args.steps, "sampler": args.sampler or sampler}


def made_with(
    args: Namespace,
    pipeline: Pipeline,
    settings: dict[str, Any],
    *,
    paths: tuple[str, ...],
    scales: tuple[str, ...] = (),
) -> dict[str, Any]:
    """What pictures depend on: `paths` are the options that name networks, `scales` those of the guidance."""
    named = {name: getattr(args, name) for name in paths}
    return {
        **{name: path and str(path.resolve()) for name, path in named.items()},
        "weights": fingerprint(pipeline.networks),
        "device": args.device.type,
        **{name: getattr(args, name) for name in scales},
        **settings,
    }


def showing_pictures(args: Namespace, pipeline: ShowingPipeline, *paths: str) -> tuple[Inserter, dict[str, Any]]:
    """A pipeline that is shown each case's object pictures inside their masks; `paths` are as in `made_with`."""
    guidance = chosen_guidance(args, pipeline.guidance)
    settings = sampling_settings(args)

    def insert(case: Case) -> Image.Image:
        masks = [Image.fromarray(mask) for mask in case.object_masks] or None
        return pipeline(case.scene, list(case.objects), masks, guidance, **settings).pictures()[0]

    return insert, made_with(args, pipeline, settings, paths=paths, scales=SCALES)
