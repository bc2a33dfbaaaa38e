"""One protocol for every benchmark and method: make the pictures once, keep them, measure them afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..made_with import one_origin
from ..pictures.files import picture_tensor, pil_pictures, save_picture
from ..pictures.opening import open_picture
from ..worker_processes import Call, worker_processes
from .backbones import Backbones
from .case_metrics import measure_case
from .cases import Benchmark, Case, picture_file, to_size
from .cmmd import cmmd
from .inserters import BatchInserter, Inserter
from .measured import TRUTH, CaseStore, case_digest, digest, measurer
from .metrics import CMMD, PER_CASE, Metric
from .vae_noise import RoundTrip

AHEAD = 2  # cases read for each worker, so that none waits
FEW = 16  # pictures: so many are measured before worker processes have started
READ = ("clip_t", "clip_dir", "clip_out")  # metrics for which CLIP has to read

Kept = Mapping[str, Mapping[str, Any]]  # values of one case, by method
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
    batch: int = 1,
) -> Path:
    """The method's pictures in `folder`, one PNG per case, those that are there left alone; returns the folder.

    `batch` cases in a row are made at once by a method that can, and all of them again where one is missing, so that a
    run which goes on gives the same pictures. Of the `settings`, `files` may differ from those of the pictures there:
    where networks lie is no setting. Raises ValueError when the pictures there were made with other settings, or by
    nobody knows what.
    """
    folder.mkdir(parents=True, exist_ok=True)
    size = batch if isinstance(insert, BatchInserter) else 1
    made_with = {"benchmark": benchmark.name, "method": name, **({"batch": size} if size > 1 else {}), **settings}
    paths = [folder / f"{case}.png" for case in benchmark.names]
    made = one_origin(folder, made_with, paths)
    for index in follow(range(len(benchmark)), name):
        if index % size == 0:
            together = range(index, min(index + size, len(benchmark)))
            if not all(paths[number].is_file() for number in together):
                pictures = inserted(insert, [benchmark[number] for number in together])
                for number, picture in zip(together, pictures, strict=True):
                    if not paths[number].is_file():
                        save_picture(picture, paths[number], record=made)
    return folder


def inserted(insert: Inserter, cases: Sequence[Case]) -> list[Image.Image]:
    """A method's pictures of some cases, at once where it can and the scenes have one size."""
    if len(cases) > 1 and isinstance(insert, BatchInserter) and len({case.scene.size for case in cases}) == 1:
        return insert.several(cases)
    return [insert(case) for case in cases]


def find_results(benchmark: Benchmark, folder: Path) -> list[Path]:
    """A folder's picture of every case, in order. Raises FileNotFoundError when some are missing.

    A method that fails on some cases must not be scored on the others alone.
    """
    files = {case: picture_file(folder, case) for case in benchmark.names}
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
    store: Path | None = None,
    workers: int = 1,
) -> Table:
    """Measure the methods' folders of pictures; `round_trip` is that of the VAE whose noise is no change.

    `store` is a folder that keeps what was measured, a file per case, and is gone by where it has it: of a run that was
    stopped, or had other methods or backbones, nothing is measured again. Pixels are gone over by `workers` processes,
    here where that is 1 or there are few; no number changes with them. Raises FileNotFoundError for missing results,
    ValueError for broken ones.
    """
    files = {method: find_results(benchmark, folder) for method, folder in results.items()}
    metrics = (*PER_CASE, *benchmark.judged)
    values = {method: {metric.name: np.full(len(benchmark), np.nan) for metric in metrics} for method in files}
    truths: set[str] = set()
    embeddings: dict[str, list[Tensor]] = {method: [] for method in files}
    target_embeddings: list[Tensor] = []
    reading = Lock()  # benchmarks and networks are read by one thread at a time

    def one(index: int, call: Call) -> tuple[set[str], Kept, Kept]:
        with reading:
            case = benchmark[index]
        paths = {method: of_cases[index] for method, of_cases in files.items()}
        kept = case_store(benchmark, case, paths, round_trip=round_trip, folder=store)
        pictures = {method: read_result(path, case.scene.size) for method, path in paths.items()}

        @cache
        def vae_scene() -> Image.Image | None:
            return round_trip(case.scene) if round_trip else None

        rows = measure_case(case, pictures, backbones, vae_scene, kept, call)

        def judge(some: Mapping[str, Image.Image]) -> dict[str, dict[str, float]]:
            with reading:
                return {method: benchmark.judge(case, picture, vae_scene()) for method, picture in some.items()}

        judged = kept.rows("judge", pictures, judge)
        vectors = embedded(case, pictures, backbones, kept)
        kept.save()
        return case.truths, {method: rows[method] | judged[method] for method in pictures}, vectors

    workers = workers if len(benchmark) * len(files) >= FEW else 1
    threads = AHEAD * workers if workers > 1 else 1
    with ThreadPoolExecutor(threads) as pool, worker_processes(workers) as call:
        every = partial(one, call=call)
        measured_cases = (pool.map if workers > 1 else map)(every, range(len(benchmark)))
        for index, (known, rows, vectors) in zip(follow(range(len(benchmark)), "measure"), measured_cases, strict=True):
            truths |= known
            for method, row in rows.items():
                for name, value in row.items():
                    values[method][name][index] = value
            if vectors:
                target_embeddings.append(torch.tensor(vectors[TRUTH]["vector"]))
                for method, vectors_of_method in embeddings.items():
                    vectors_of_method.append(torch.tensor(vectors[method]["vector"]))
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


def case_store(
    benchmark: Benchmark, case: Case, paths: Mapping[str, Path], *, round_trip: RoundTrip | None, folder: Path | None
) -> CaseStore:
    """What was measured of a case before, in a file of `folder`; nothing where there is none, or where that is unsure.

    It is unsure with a VAE that does not say which it is.
    """
    vae = getattr(round_trip, "fingerprint", None)
    if folder is None or (round_trip and not vae):
        return CaseStore()
    made_by = digest(measurer(), benchmark.name, [metric.name for metric in benchmark.judged], case_digest(case), vae)
    hashes = {method: digest(path.read_bytes()) for method, path in paths.items()}
    return CaseStore(folder / f"{case.name}.json", made_by, hashes)


def embedded(case: Case, pictures: Mapping[str, Image.Image], backbones: Backbones, store: CaseStore) -> Kept:
    """CMMD's vectors of the results and, as TRUTH, of the target; nothing without its backbone or a target."""
    network = backbones.clip_l336
    if network is None or case.target is None:
        return {}

    def compute(some: Mapping[str, Image.Image]) -> dict[str, dict[str, list[float]]]:
        vectors = network.pictures(list(some.values()))
        return {name: {"vector": vector.tolist()} for name, vector in zip(some, vectors, strict=True)}

    every = {**pictures, TRUTH: case.target}
    return store.rows("cmmd", every, compute, backbones.fingerprints["clip_l336"])


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
        if metric.name in READ and backbones.clip_b32 and not backbones.clip_b32.tokenizer:
            lack = "the folder of --clip-b32 has no tokenizer"
        if not metric.has_truth(truths):  # said first: no backbone would help
            lack = f"no case has a {metric.truth}" + (f", and {lack}" if lack else "")
        if not lack and metric is not CMMD and all(np.isnan(row[metric.name]).all() for row in values.values()):
            lack = "no case has a value"
        if lack:
            reasons[metric.name] = lack
    return reasons
