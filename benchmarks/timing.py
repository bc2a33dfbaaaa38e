"""Interleaved timing of several ways to the same result, split into time inside and outside the UNet."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

import psutil
from torch import nn


@dataclass(frozen=True)
class Way:
    """One way to make an image: call `make` once, and the network it runs."""

    make: Callable[[], object]
    unet: nn.Module


@dataclass(frozen=True)
class Run:
    """One image, seconds; `evaluations` counts the rows the UNet saw, `busy` is the processor's time for it."""

    total: float
    inside: float
    evaluations: int
    busy: float


def measure(way: Way) -> Run:
    """Make one image. Meant for a CPU: nothing waits for a device."""
    inside = 0.0
    entered = 0.0
    rows = 0

    def enter(_, args):
        nonlocal rows, entered
        rows += len(args[0])
        entered = time.perf_counter()

    def leave(*_):
        nonlocal inside
        inside += time.perf_counter() - entered

    hooks = [way.unet.register_forward_pre_hook(enter), way.unet.register_forward_hook(leave)]
    start = time.perf_counter()
    busy = time.process_time()
    way.make()
    busy = time.process_time() - busy
    total = time.perf_counter() - start
    for hook in hooks:
        hook.remove()
    return Run(total=total, inside=inside, evaluations=rows, busy=busy)


def interleaved(ways: Mapping[str, Way], repeats: int) -> dict[str, list[Run]]:
    """A B C, A B C, ... after one run of each that does not count, so that a busy machine is unfair to nobody."""
    for way in ways.values():
        measure(way)
    runs: dict[str, list[Run]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            runs[name].append(measure(way))
    return runs


def summary(runs: Mapping[str, list[Run]]) -> dict[str, dict[str, float]]:
    """Medians of each way, in seconds."""
    rows = {}
    for name, of_way in runs.items():
        rows[name] = {
            "seconds_per_image": median(run.total for run in of_way),
            "processor_seconds": median(run.busy for run in of_way),
            "seconds_per_evaluation": median(run.inside / run.evaluations for run in of_way),
            "seconds_outside_unet": median(run.total - run.inside for run in of_way),
            "evaluations_per_image": of_way[0].evaluations,
        }
    return rows


def ratios(runs: Mapping[str, list[Run]], ours: str) -> dict[str, float]:
    """Median over the rounds of time of every other way / time of `ours`: above 1 ours is faster."""
    others = {name: of_way for name, of_way in runs.items() if name != ours}
    medians = {}
    for name, theirs in others.items():
        medians[name] = median(their.total / our.total for their, our in zip(theirs, runs[ours], strict=True))
    return medians


def time_ratio(runs: Mapping[str, list[Run]], ours: str, theirs: str) -> float:
    """Median over the rounds of the processor's time for `ours` / that for `theirs`: below 1 ours is faster.

    On a machine that others use too, the clock on the wall measures them as well.
    """
    return median(our.busy / their.busy for our, their in zip(runs[ours], runs[theirs], strict=True))


def peak_memory(way: Way) -> float:
    """MB of this process beyond what it held before, at the peak of one image, looked at every few milliseconds."""
    process = psutil.Process()
    gc.collect()
    before = process.memory_info().rss
    peak = [before]
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.002):
            peak[0] = max(peak[0], process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    way.make()
    ended.set()
    watcher.join()
    return (peak[0] - before) / 1e6


def table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Rows by name as text columns."""
    names = list(next(iter(rows.values())))
    cells = [["", *names]]
    for way, row in rows.items():
        cells.append([way, *(f"{row[name]:.4g}" for name in names)])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(map(str.rjust, row, widths)) for row in cells)
