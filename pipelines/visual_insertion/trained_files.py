"""What one training run leaves for use, an embedding optimizer and a patch of the UNet, which belong together.

The optimizer's metadata name the patch by its sha256: in front of another UNet it says what that one never learned.
"""

from __future__ import annotations

import warnings
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ..training.run_record import RECORD, models_of_run
from ..weights.manifest import sha256_of
from ..weights.reading import metadata_of
from ..weights.unet_patch import MADE_FROM

OPTIMIZER_FILE = "embedding_optimizer.safetensors"
PATCH_FILE = "unet_attn2.safetensors"
PATCH_NAME = "unet_patch"  # in the metadata of an optimizer: the file of its patch, and that file's hash
PATCH_HASH = "unet_patch_sha256"
SHIPPED = Path(__file__).resolve().parents[2] / "playroom_models"  # where no models are named
STUDENTS = "students"  # in a folder of models
NO_PATCH = "none"  # in the place of a patch file: without one, on purpose


def patch_of(optimizer_file: Path) -> tuple[str, str] | None:
    """The name and sha256 of the patch that an embedding optimizer was trained with; None where it was with none.

    Raises FileNotFoundError, or ValueError for a damaged file.
    """
    notes = metadata_of(optimizer_file)
    return (notes.get(PATCH_NAME, PATCH_FILE), notes[PATCH_HASH]) if PATCH_HASH in notes else None


def chosen_patch(
    optimizer_file: Path, unet_patch: str | Path | None, warn: Callable[[str], object] = warnings.warn
) -> Path | None:
    """The patch file to put into the UNet that an embedding optimizer speaks to; NO_PATCH is none.

    Raises ValueError for an optimizer that was trained with a patch where none is named; `warn` is told where it was
    trained with another one, or with none.
    """
    if unet_patch is not None and str(unet_patch) == NO_PATCH:
        return None
    trained_with = patch_of(optimizer_file)
    if unet_patch is None:
        if trained_with:
            name, sha256 = trained_with
            raise ValueError(
                f"{optimizer_file} was trained together with the UNet patch {name} (sha256 {sha256[:12]}...): without "
                "it the UNet does not understand it. Name that file as the UNet patch (unet.start in a configuration), "
                "or 'none' to go without."
            )
        return None
    path = Path(unet_patch)
    hashes = {metadata_of(path).get(MADE_FROM), sha256_of(path)}
    if trained_with is None:
        warn(f"{optimizer_file} does not say that it was trained with a UNet patch; {path} is put in nevertheless.")
    elif trained_with[1] not in hashes:
        warn(
            f"{optimizer_file} was trained together with another UNet patch than {path}: with {trained_with[0]} of "
            f"sha256 {trained_with[1]}."
        )
    return path


@dataclass(frozen=True)
class ModelFiles:
    """Where the parts of a pipeline are; None is the one in `models`, of a patch the lack of one."""

    models: Path  # a diffusers InstructPix2Pix folder
    embedding_optimizer: Path | None = None
    image_encoder: Path | None = None
    detail_encoder: Path | None = None
    unet_patch: Path | None = None
    student: Path | None = None  # what the UNet is made into, to need fewer evaluations


def files_of_run(folder: Path, models: str | Path | None = None) -> ModelFiles:
    """The parts that the folder of a training run stands for: what it trained, on what it was trained on.

    `models` takes the place of the folder that the run was trained on. Raises FileNotFoundError for a run that is not
    finished, and for models that are not where they were; ValueError for a damaged record of the run.
    """
    optimizer_file = folder / OPTIMIZER_FILE
    if not optimizer_file.is_file():
        raise FileNotFoundError(
            f"{optimizer_file} is missing. Needed is the folder of a finished run of `visual-insertion train`."
        )
    trained_on = models_of_run(folder)
    base = models or trained_on.get("base")
    if not base:
        raise FileNotFoundError(f"{folder} has no {RECORD} that names the models it was trained on: name them.")
    if not Path(base).is_dir():
        raise FileNotFoundError(f"{base} is not a folder; {folder} was trained on it. Name where these models are now.")
    patch = folder / PATCH_FILE
    return ModelFiles(
        Path(base),
        optimizer_file,
        image_encoder=_path(trained_on.get("image_encoder")),
        detail_encoder=_path(trained_on.get("detail_encoder")),
        unet_patch=patch if patch.is_file() else None,
    )


def files_named(args: Namespace) -> ModelFiles:
    """The parts that the options of a command name: `trained` is --run, the others are named as here.

    Raises ValueError for a run beside parts that it brings itself, and what `files_of_run` does.
    """
    if args.trained is None:
        models = args.models or SHIPPED
        return ModelFiles(
            models,
            args.embedding_optimizer or models / OPTIMIZER_FILE,
            image_encoder=args.image_encoder,
            detail_encoder=args.detail_encoder,
            unet_patch=args.unet_patch,
            student=_student(args.student, models),
        )
    for option in ("embedding_optimizer", "unet_patch"):
        if getattr(args, option):
            raise ValueError(f"--run {args.trained} brings its own file; leave out --{option.replace('_', '-')}.")
    files = files_of_run(args.trained, args.models)
    return replace(
        files,
        image_encoder=args.image_encoder or files.image_encoder,
        detail_encoder=args.detail_encoder or files.detail_encoder,
        student=_student(args.student, files.models),
    )


def _student(chosen: Path | None, models: Path) -> Path | None:
    """A student's file, or the one of that name in a folder of models."""
    beside = models / STUDENTS / f"{chosen}.safetensors"
    return beside if chosen and not chosen.is_file() and beside.is_file() else chosen


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None
