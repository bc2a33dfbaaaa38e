"""Pipelines as methods to be scored: functions from a case to a picture, and what their pictures depend on."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from PIL import Image
from torch import nn

from ..made_with import FILES
from ..pictures.files import picture_tensor
from ..provenance import sha256_of_models
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


@runtime_checkable
class BatchInserter(Protocol):
    """An inserter that can make the pictures of several cases at once."""

    def __call__(self, case: Case) -> Image.Image:
        """The picture of a case."""
        ...

    def several(self, cases: Sequence[Case]) -> list[Image.Image]:
        """The pictures of cases whose scenes have one size, each as it would be alone but for rounding."""
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
    files: Mapping[str, Path | None],
    guidance: Guidance | None = None,
) -> dict[str, Any]:
    """What pictures depend on, and `files`: the paths of the networks by the options' names, with their hashes.

    Paths are no setting: `weights` is a fingerprint of the networks themselves, wherever they lie.
    """
    named = {name: path for name, path in files.items() if path}
    return {
        "weights": fingerprint(pipeline.networks),
        "device": args.device.type,
        **({"guidance": asdict(guidance)} if guidance else {}),
        **settings,
        FILES: {name: {"path": str(path), "sha256": sha256_of_models(path)} for name, path in named.items()},
    }


def named(args: Namespace, *options: str) -> dict[str, Path | None]:
    """The paths that options name, by the options' names."""
    return {name: getattr(args, name) for name in options}


def showing_pictures(
    args: Namespace, pipeline: ShowingPipeline, files: Mapping[str, Path | None]
) -> tuple[Inserter, dict[str, Any]]:
    """A pipeline that is shown each case's object pictures inside their masks; `files` are as in `made_with`."""
    guidance = chosen_guidance(args, pipeline.guidance)
    settings = sampling_settings(args)
    kind = ShowingInBatches if hasattr(pipeline, "contexts") else Showing
    facts = made_with(args, pipeline, settings, files=files, guidance=guidance)
    return kind(pipeline, guidance, settings), facts


@dataclass(frozen=True)
class Showing:
    """Shows a pipeline each case's object pictures inside their masks."""

    pipeline: Any
    guidance: Guidance
    settings: Mapping[str, Any]

    def __call__(self, case: Case) -> Image.Image:
        return self.pipeline(case.scene, *shown(case), self.guidance, **self.settings).pictures()[0]


class ShowingInBatches(Showing):
    """The same for pipelines whose contexts can be made apart from the run."""

    def several(self, cases: Sequence[Case]) -> list[Image.Image]:
        settings = dict(self.settings)
        frame = {name: settings.pop(name) for name in ("framing", "background")}
        contexts, nulls = zip(*(self.pipeline.contexts(*shown(case), **frame) for case in cases), strict=True)
        scenes = torch.cat([picture_tensor(case.scene) for case in cases])
        settings["seed"] = [settings["seed"]] * len(cases)
        return self.pipeline.sample(scenes, torch.cat(contexts), torch.cat(nulls), self.guidance, **settings).pictures()


def shown(case: Case) -> tuple[list[Image.Image], list[Image.Image] | None]:
    """A case's object pictures, and their masks if it has any."""
    masks = [Image.fromarray(mask) for mask in case.object_masks]
    return [picture for picture, _ in case.views()], masks or None
