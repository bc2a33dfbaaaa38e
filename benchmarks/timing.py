"""Interleaved timing of several ways to the same result, split into time inside and outside the UNet."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

from torch import nn


@dataclass(frozen=True)
class Way:
    """One way to make an image: call `make` once, and the network it runs."""

    make: Callable[[], object]
    unet: nn.Module


@dataclass(frozen=True)
class Run:
    """One image, seconds; `evaluations` counts the rows the UNet saw."""

    total: float
    inside: float
    evaluations: int


def measure(way: Way) -> Run:
    """Make one image. Meant for a CPU: nothing waits for a device."""
    begun, inside, rows = [0.0], [0.0], [0]

    def enter(_, args):
        rows[0] += len(args[0])
        begun[0] = time.perf_counter()

    def leave(*_):
        inside[0] += time.perf_counter() - begun[0]

    hooks = [way.unet.register_forward_pre_hook(enter), way.unet.register_forward_hook(leave)]
    start = time.perf_counter()
    way.make()
    total = time.perf_counter() - start
    for hook in hooks:
        hook.remove()
    return Run(total, inside[0], rows[0])


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
    """Medians per way, seconds."""
    return {
        name: {
            "seconds_per_image": median(run.total for run in of),
            "seconds_per_evaluation": median(run.inside / run.evaluations for run in of),
            "seconds_outside_unet": median(run.total - run.inside for run in of),
            "evaluations_per_image": of[0].evaluations,
        }
        for name, of in runs.items()
    }


def ratios(runs: Mapping[str, list[Run]], ours: str) -> dict[str, float]:
    """Median over the rounds of time of every other way / time of `ours`: above 1 ours is faster."""
    return {
        name: median(their.total / our.total for their, our in zip(of, runs[ours], strict=True))
        for name, of in runs.items()
        if name != ours
    }


def table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Rows by name as text columns."""
    names = list(next(iter(rows.values())))
    cells = [["", *names], *([name, *(f"{row[n]:.4g}" for n in names)] for name, row in rows.items())]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(map(str.rjust, row, widths)) for row in cells)
