"""A sweep of the guidance: which scales, which cell was picked, and how cells are compared."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..sampling.guidance import Guidance

MOST_SCALES = 12  # of one kind
MOST_RUNS = 144  # of a sweep: an evening on a slow machine
RANGE = re.compile(r"(\S+)\s*(?:\.\.|to)\s*(\S+)\s*(?:x|in)\s*(\d+)")
SEEDS = 2**64


@dataclass(frozen=True)
class Cell:
    """One pair of scales and its place in the table, counted from 1."""

    row: int
    column: int
    guidance: Guidance


def scales_in(text: str, name: str) -> list[float]:
    """The scales in a text: "5, 7.5, 10", or a first, a last and their number, "5..10 x 3". Sorted, each once.

    Raises ValueError that names the widget for anything else, none at all, or more than MOST_SCALES.
    """
    how = 'Write numbers such as "5, 7.5, 10", or a range such as "5..10 x 3".'
    if match := RANGE.fullmatch(text.strip()):
        first = _number(match[1], name, how)
        last = _number(match[2], name, how)
        count = int(match[3])
        if not 1 <= count <= MOST_SCALES:
            raise ValueError(f"{name} asks for {count} scales; give 1 to {MOST_SCALES}.")
        scales = [round(float(scale), 4) for scale in np.linspace(first, last, count)]
    else:
        scales = [_number(part, name, how) for part in re.split(r"[,;\s]+", text.strip()) if part]
    if not scales:
        raise ValueError(f"{name} is empty. {how}")
    if len(scales) > MOST_SCALES:
        raise ValueError(f"{name} has {len(scales)} scales; give 1 to {MOST_SCALES}.")
    return sorted(set(scales))


def _number(text: str, name: str, how: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"{name}: '{text}' is no number. {how}") from None
    if not math.isfinite(number):
        raise ValueError(f"{name}: '{text}' is no number. {how}")
    return number


def cells_of(guidance: Guidance, object_scales: Sequence[float], scene_scales: Sequence[float]) -> list[Cell]:
    """The table, row after row: object scales from left to right, scene scales from top to bottom.

    Intervals and rescales are those of `guidance`. Raises ValueError for scales that `Guidance` refuses.
    """
    return [
        Cell(row, column, replace(guidance, object_scale=object_scale, scene_scale=scene_scale))
        for row, scene_scale in enumerate(scene_scales, 1)
        for column, object_scale in enumerate(object_scales, 1)
    ]


def check_runs(cells: int, seeds: int) -> None:
    """Raise ValueError for no seed, and for more runs than MOST_RUNS."""
    if seeds < 1:
        raise ValueError(f"At least 1 seed is needed; got {seeds}.")
    if cells * seeds > MOST_RUNS:
        raise ValueError(
            f"{cells} cells with {seeds} seeds are {cells * seeds} runs; at most {MOST_RUNS}. "
            "Take fewer scales or seeds."
        )


def seeds_from(seed: int, count: int) -> list[int]:
    """A seed and the next ones; after the last that 64 bits hold comes 0."""
    return [(seed + number) % SEEDS for number in range(count)]


def picked_cell(pick: str, cells: Sequence[Cell]) -> int | None:
    """The number of the cell that "row, column" names, counted from 1; None for an empty text or "best".

    Raises ValueError for anything else, and for a cell that is not there.
    """
    text = pick.strip().lower()
    if text in ("", "best"):
        return None
    rows = cells[-1].row
    columns = cells[-1].column
    match = re.fullmatch(r"(\d+)[\s,;]+(\d+)", text)
    for number, cell in enumerate(cells):
        if match and (cell.row, cell.column) == (int(match[1]), int(match[2])):
            return number
    raise ValueError(
        f"pick = '{pick}' names no cell: there are {rows} rows and {columns} columns. Write a row and a column such as "
        '"1, 2", or leave it at "best".'
    )
