"""What a run has learned so far, as files of use beside its checkpoint: the best by validation, and the last few."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from ..output_folders import whole_folder
from .task import Modules

BEST = "best"
EXPORTS = "exports"
Export = Callable[[Modules, Path, int], object]  # networks by name into a folder that is there, after so many steps


def export_folder(folder: Path, export: Export, networks: Modules, step: int) -> None:
    """Write an export, whole or not at all, in the place of one that is there."""
    folder.parent.mkdir(exist_ok=True)
    with whole_folder(folder) as part:
        export(networks, part, step)


def keep_last(folder: Path, count: int, step: int) -> None:
    """Remove the exports before the last `count` up to a step.

    A run that goes on from an earlier checkpoint writes later ones anew.
    """
    steps = {int(entry.name.removeprefix("step_")): entry for entry in folder.glob("step_" + "[0-9]" * 7)}
    for number in sorted(number for number in steps if number <= step)[:-count]:
        shutil.rmtree(steps[number])
