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

from ..pictures.files import open_picture, picture_tensor, pil_pictures, save_picture
from ..whole_files import write_text
from .backbones import Backbones
from .cases import Benchmark
from .cmmd import cmmd
from .inserters import Inserter
from .measure import measure_case
from .metrics import CMMD, PER_CASE, Metric
from .pixel import to_size

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
SETTINGS = "made_with.json"

Restore = Callable[[Image.Image], Image.Image]  # what a VAE alone makes of a picture
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
    follow: Follow = _plainly,
) -> Path:
    """The method's pictures in `folder`, one PNG per case, those that are there left alone; returns the folder.

    Raises ValueError when the pictures there were made with other settings, or by nobody knows what.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record, mark = folder / SETTINGS, json.dumps({"benchmark": benchmark.name, "method": name, **settings}, indent=2)
    if record.is_file() and record.read_text(encoding="utf-8") != mark:
        raise ValueError(
            f"The pictures in {folder} were made with other settings, see {record}. Give another output folder, or "
            "delete this one."
        )
    if not record.is_file() and any((folder / f"{name}.png").is_file() for name in benchmark.names):
        raise ValueError(f"{folder} has pictures of unknown origin: {SETTINGS} is missing. Give another output folder.")
    write_text(record, mark)
    for index in follow(range(len(benchmark)), name):
        path = folder / f"{benchmark.names[index]}.png"
        if not path.is_file():
            save_picture(insert(benchmark[index]), path)
    return folder


def find_results(benchmark: Benchmark, folder: Path) -> list[Path]:
    """A folder's picture of every case, in order. Raises FileNotFoundError when some are missing.

    A method that fails on some cases must not be scored on the others alone.
    """
    found = [
        next((path for suffix in SUFFIXES if (path := folder / f"{name}{suffix}").is_file()), None)
        for name in benchmark.names
    ]
    if absent := [name for name, path in zip(benchmark.names, found, strict=True) if path is None]:
        raise FileNotFoundError(
            f"{folder} lacks {len(absent)} of {len(found)} results, such as {absent[0]}.png. Name every picture like "
            "its case; --limit scores the first cases only."
        )
    return [path for path in found if path]


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
    restore: Restore | None = None,
    follow: Follow = _plainly,
) -> Table:
    """Measure the methods' folders of pictures. Raises FileNotFoundError for missing results, ValueError for broken."""
    files = {name: find_results(benchmark, folder) for name, folder in results.items()}
    every = (*PER_CASE, *benchmark.judged)
    values = {name: {metric.name: np.full(len(benchmark), np.nan) for metric in every} for name in files}
    truths: set[str] = set()
    embedded: dict[str, list[torch.Tensor]] = {name: [] for name in (*files, "")}  # "" is the targets
    for index in follow(range(len(benchmark)), "measure"):
        case = benchmark[index]
        truths |= {"target"} if case.target else set()
        truths |= {"mask"} if case.mask is not None else set()
        truths |= {"caption"} if case.caption else set()
        size = case.scene.size
        pictures = {name: read_result(paths[index], size) for name, paths in files.items()}
        restored = restore(case.scene) if restore else None
        rows = measure_case(case, pictures, backbones, restored)
        for name, picture in pictures.items():
            judged = benchmark.judge(case, picture, restored) if benchmark.judge else {}
            for metric, value in {**rows[name], **judged}.items():
                values[name][metric][index] = value
        if backbones.clip_l336 and case.target:
            vectors = backbones.clip_l336.pictures([*pictures.values(), case.target])
            for name, vector in zip(embedded, vectors, strict=True):
                embedded[name].append(vector)
    targets = torch.stack(embedded.pop("")) if embedded[""] else None
    sets = {
        name: {CMMD.name: cmmd(torch.stack(vectors), targets)}
        for name, vectors in embedded.items()
        if targets is not None
    }
    missing = {metric.name: why for metric in (*every, CMMD) if (why := _why_missing(metric, backbones, truths))}
    if backbones.clip_b32 and not backbones.clip_b32.tokenizer:
        missing["clip_t"] = "the folder of --clip-b32 has no tokenizer"
    for metric in every:
        if metric.name not in missing and all(np.isnan(row[metric.name]).all() for row in values.values()):
            missing[metric.name] = "no case has a value"
    measured = [metric for metric in every if metric.name not in missing]
    for row in values.values():
        for name in missing.keys() & row.keys():
            del row[name]
    return Table(benchmark.name, benchmark.about, benchmark.names, measured, values, sets, missing, backbones.inexact())


def _why_missing(metric: Metric, backbones: Backbones, truths: set[str]) -> str:
    if why := backbones.why_not(metric.needs):
        return why
    parts = metric.truth.replace(" or ", " and ").split(" and ") if metric.truth else []
    has = [part in truths for part in parts]
    enough = any(has) if " or " in metric.truth else all(has)
    return "" if enough else f"no case has a {metric.truth}"
