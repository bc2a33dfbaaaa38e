"""Folders of whole pipelines: where one is, and one written so that it is found again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import CLIPImageProcessor

from ..encoders.vision import Encoder
from ..output_folders import MARK, claim, whole_folder
from ..paint_by_example.pipeline import PaintByExamplePipeline
from ..paint_by_example.training.export import save_folder
from ..sampling.pix2pix import DEFAULT, FACTS
from ..sampling.speed import UNMEASURED, as_facts
from ..visual_insertion import optimizer_files
from ..visual_insertion.pipeline import VisualInsertionPipeline
from ..visual_insertion.trained_files import OPTIMIZER_FILE
from ..weights.configs import PIXELS

SHIPPED = Path(__file__).resolve().parents[2]
TOYS = ("playroom_models", "playroom_models/paint_by_example", "playroom_flux")
DETAILS = "detail_encoder"
KIND = "saved pipeline"


def found(folder: str | Path) -> Path:
    """A folder on this machine; the toy models that come with the pack are found by their names anywhere.

    Raises FileNotFoundError for one that is not there.
    """
    place = Path(folder).expanduser()
    if place.is_dir():
        return place
    if place.as_posix() in TOYS:
        return SHIPPED / place
    raise FileNotFoundError(
        f"{folder} is not a folder on this machine, and nothing is downloaded here. Fetch the model and name its "
        f"folder; with the pack come {', '.join(TOYS)}."
    )


def save_visual_insertion(pipeline: VisualInsertionPipeline, folder: Path) -> None:
    """Write a diffusers folder with the embedding optimizer, its encoders and the guidance, whole or not at all.

    Raises ValueError for a folder that holds something else.
    """
    with _ours(folder), whole_folder(folder) as part:
        pipeline.pipeline.save_pretrained(part)
        _save_encoder(pipeline.encoder, part / "image_encoder")
        if pipeline.detail_encoder:
            _save_encoder(pipeline.detail_encoder, part / DETAILS)
        optimizer: Any = pipeline.context_encoder
        optimizer_files.save(optimizer, part / OPTIMIZER_FILE, torch.float32)
        if pipeline.guidance != DEFAULT or pipeline.presets != UNMEASURED:
            facts = {"guidance": asdict(pipeline.guidance), "speed": as_facts(pipeline.presets)}
            _write_json(part / FACTS, facts)


def save_paint_by_example(pipeline: PaintByExamplePipeline, folder: Path) -> None:
    """Write the diffusers folder as it was published, whole or not at all; raises ValueError as above."""
    with _ours(folder):
        own = {} if pipeline.presets == UNMEASURED else {"speed": as_facts(pipeline.presets)}
        save_folder(folder, pipeline, pipeline.native_size, own)


def save_copy(source: Path, folder: Path) -> None:
    """Write a copy of a folder, whole or not at all. Raises ValueError as above, and for a folder inside of it."""
    if folder.resolve().is_relative_to(source.resolve()):
        raise ValueError(f"{folder} lies in {source}, which it would be a copy of; name another folder.")
    with _ours(folder), whole_folder(folder) as part:
        shutil.copytree(source, part, dirs_exist_ok=True)


@contextmanager
def _ours(folder: Path) -> Iterator[None]:
    """Have a folder replaced as a whole, its mark included. Raises ValueError for one that holds something else."""
    claim(folder, KIND)
    (folder / MARK).unlink()
    try:
        yield
    finally:
        claim(folder, KIND, ())


def _save_encoder(encoder: Encoder, folder: Path) -> None:
    """A transformers folder of a vision encoder, with its preprocessor settings."""
    network: Any = encoder.network
    network.save_pretrained(folder)
    processor = CLIPImageProcessor(
        size={"shortest_edge": encoder.size},
        crop_size=encoder.size,
        image_mean=list(encoder.mean),
        image_std=list(encoder.std),
    )
    _write_json(folder / PIXELS, processor.to_dict())


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, default=str) + "\n", encoding="utf-8")
