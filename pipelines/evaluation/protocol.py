"""One protocol for every benchmark and method: make the pictures once, keep them, measure them afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..pictures.files import picture_tensor, pil_pictures, save_picture
from ..pictures.opening import open_picture
from ..whole_files import write_text
from .backbones import Backbones
from .case_metrics import measure_case
from .cases import Benchmark, to_size
from .cmmd import cmmd
from .inserters import Inserter
from .metrics import CMMD, PER_CASE, Metric
from .vae_noise import RoundTrip

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
SETTINGS = "made_with.json"

Follow = Callable[[Iterable[int], str], Iterable[int]]  # a progress bar around indices, with a name


def _plainly(indices: Iterable[int], name: str) -> Iterable[int]:
    return indices


@dataclass
class Table:
    """Everything measured. NaN is a case that has no value; a metric that is missing has none at all."""

    benchmark: str
    about: str
    cases: tuple[str, ...]
    metrics: list[Metric]  # those that were measured
    values: dict[str, dict[str, np.ndarray]]  # method -> metric -> [cases]
    sets: dict[str, dict[str, float]]  # method -> metric of the whole set
    missing: dict[str, str]  # metric -> why
    inexact: list[str] = field(default_factory=list)  # backbones that are not the published ones


def make_results(
    benchmark: Benchmark,
    name: str,
    insert: Inserter,
    folder: Path,
    settings: Mapping[str, Any],
    *,
    follow: Follow = _plainly,
) -> Path:
    """The method's pictures in `folder`, one PNG per case, those that are there left alone; returns the folder.

    Raises ValueError when the pictures there were made with other settings, or by nobody knows what.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / SETTINGS
    made_with = json.dumps({"benchmark": benchmark.name, "method": name, **settings}, indent=2)
    if record.is_file() and record.read_text(encoding="utf-8") != made_with:
        raise ValueError(
            f"The pictures in {folder} were made with other settings, see {record}. Give another output folder, or "
            "delete this one."
        )
    if not record.is_file() and any((folder / f"{case}.png").is_file() for case in benchmark.names):
        raise ValueError(f"{folder} has pictures of unknown origin: {SETTINGS} is missing. Give another output folder.")
    write_text(record, made_with)
    for index in follow(range(len(benchmark)), name):
        path = folder / f"{benchmark.names[index]}.png"
        if not path.is_file():
            save_picture(insert(benchmark[index]), path)
    return folder


def result_file(folder: Path, case: str) -> Path | None:
    """The picture of a case in a folder, by any of SUFFIXES."""
    paths = (folder / f"{case}{suffix}" for suffix in SUFFIXES)
    return next((path for path in paths if path.is_file()), None)


def find_results(benchmark: Benchmark, folder: Path) -> list[Path]:
    """A folder's picture of every case, in order. Raises FileNotFoundError when some are missing.

    A method that fails on some cases must not be scored on the others alone.
    """
    files = {case: result_file(folder, case) for case in benchmark.names}
    absent = [case for case, path in files.items() if path is None]
    if absent:
        raise FileNotFoundError(
            f"{folder} lacks {len(absent)} of {len(files)} results, such as {absent[0]}.png. Name every picture like "
            "its case; --limit scores the first cases only."
        )
    return [path for path in files.values() if path]


def read_result(path: Path, size: tuple[int, int]) -> Image.Image:
    """A result as RGB of (width, height): upright, 16 bit understood, alpha left out. Errors are `open_picture`'s."""
    colours = picture_tensor(open_picture(path))[..., :3]
    return to_size(pil_pictures(colours.expand(-1, -1, -1, 3))[0], size)


def possible_metrics(benchmark: Benchmark, backbones: Backbones) -> list[str]:
    """Names of the metrics of a case that can be measured with these backbones, if the cases have the truth."""
    return [metric.name for metric in (*PER_CASE, *benchmark.judged) if not backbones.why_not(metric.needs)]


def measure(
    benchmark: Benchmark,
    results: Mapping[str, Path],
    backbones: Backbones,
    *,
    round_trip: RoundTrip | None = None,
    follow: Follow = _plainly,
) -> Table:
    """Measure the methods' folders of pictures; `round_trip` is that of the VAE whose noise is no change.

    Raises FileNotFoundError for missing results, ValueError for broken ones.
    """
    files = {method: find_results(benchmark, folder) for method, folder in results.items()}
    metrics = (*PER_CASE, *benchmark.judged)
    values = {method: {metric.name: np.full(len(benchmark), np.nan) for metric in metrics} for method in files}
    truths: set[str] = set()
    embeddings: dict[str, list[Tensor]] = {method: [] for method in files}
    target_embeddings: list[Tensor] = []
    for index in follow(range(len(benchmark)), "measure"):
        case = benchmark[index]
        truths |= case.truths
        pictures = {method: read_result(paths[index], case.scene.size) for method, paths in files.items()}
        vae_scene = round_trip(case.scene) if round_trip else None
        rows = measure_case(case, pictures, backbones, vae_scene)
        for method, picture in pictures.items():
            row = rows[method] | benchmark.judge(case, picture, vae_scene)
            for name, value in row.items():
                values[method][name][index] = value
        if backbones.clip_l336 and case.target:
            *vectors, target_vector = backbones.clip_l336.pictures([*pictures.values(), case.target])
            target_embeddings.append(target_vector)
            for method, vector in zip(pictures, vectors, strict=True):
                embeddings[method].append(vector)
    missing = missing_metrics((*metrics, CMMD), values, backbones, truths)
    measured = [metric for metric in metrics if metric.name not in missing]
    return Table(
        benchmark=benchmark.name,
        about=benchmark.about,
        cases=benchmark.names,
        metrics=measured,
        values={method: {metric.name: row[metric.name] for metric in measured} for method, row in values.items()},
        sets=set_metrics(embeddings, target_embeddings),
        missing=missing,
        inexact=backbones.inexact(),
    )


def set_metrics(embeddings: Mapping[str, list[Tensor]], targets: list[Tensor]) -> dict[str, dict[str, float]]:
    """Metrics of whole sets by method, from unit embeddings [D] of its results and of all targets, if there are any."""
    if not targets:
        return {}
    return {
        method: {CMMD.name: cmmd(torch.stack(vectors), torch.stack(targets))} for method, vectors in embeddings.items()
    }


def missing_metrics(
    metrics: Iterable[Metric],
    values: Mapping[str, Mapping[str, np.ndarray]],
    backbones: Backbones,
    truths: set[str],
) -> dict[str, str]:
    """Why metrics have no values (of cases, by method and metric) with these backbones and truths, by name."""
    reasons: dict[str, str] = {}
    for metric in metrics:
        lack = backbones.why_not(metric.needs)
        if metric.name == "clip_t" and backbones.clip_b32 and not backbones.clip_b32.tokenizer:
            lack = "the folder of --clip-b32 has no tokenizer"
        if not lack and not metric.has_truth(truths):
            lack = f"no case has a {metric.truth}"
        if not lack and metric is not CMMD and all(np.isnan(row[metric.name]).all() for row in values.values()):
            lack = "no case has a value"
        if lack:
            reasons[metric.name] = lack
    return reasons
