"""The folder of a training run: claimed before anything slow is done, and of one run at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..output_folders import claim, locked
from ..whole_files import remove_parts
from .exports import BEST, EXPORTS
from .run_record import RECORD

KIND = "training run"
# What the engine writes, and the record of the run.
FILES = ("state.pt", "state.before.pt", "log.jsonl", "loss.png", "sheet.png", "tensorboard", BEST, EXPORTS, RECORD)


@contextmanager
def run_folder(folder: Path, *results: str, first: bool = True) -> Iterator[None]:
    """Hold a run's folder; `results` are the entries that the run will leave beside the engine's.

    Of several processes the `first` one does it. Raises ValueError for a folder with such entries of another origin,
    OSError when another run is under way there.
    """
    if not first:
        yield
        return
    claim(folder, KIND, (*FILES, *results))
    with locked(folder):
        remove_parts(folder)
        yield
