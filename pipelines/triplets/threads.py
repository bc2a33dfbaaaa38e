"""Units in threads of this process: pictures are coded and files read without Python's lock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from threading import Event

from .plan import Unit
from .settings import BuildSettings
from .shards import build_unit


class Threads:
    """Runs units, `workers` at once; yields the rows of each as it ends."""

    def __init__(self, workers: int):
        self.workers = workers

    def __call__(self, units: Sequence[Unit], folder: Path, settings: BuildSettings, builder: str) -> Iterator[int]:
        stop = Event()
        pool = ThreadPoolExecutor(self.workers)
        try:
            begun = [pool.submit(build_unit, unit, folder, settings, builder, stop=stop.is_set) for unit in units]
            for ended in as_completed(begun):
                yield ended.result()
        finally:  # an error or Ctrl-C: units that have begun are left at their next row, and their halves removed
            stop.set()
            pool.shutdown(cancel_futures=True)
