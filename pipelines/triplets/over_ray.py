"""Units over the cores of one or many machines with Ray Data.

All machines must see the sources and the output folder under the same paths. This module is sent to the workers as it
is: alone they cannot import the pack.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..ray_cluster import cluster, load, package

if TYPE_CHECKING:
    from .plan import Unit
    from .settings import BuildSettings


def _build(row: dict[str, Any], package: str, folder: str, shards: str) -> dict[str, Any]:
    """One unit, in a worker; a problem is handed back as text."""
    load(package, folder)
    build_unit = import_module(shards).build_unit
    try:
        return {"rows": build_unit(*pickle.loads(row["unit"])), "problem": ""}
    except (OSError, ValueError) as error:
        return {"rows": 0, "problem": str(error)}


class OverRay:
    """Runs units in the cluster at `address` ("local": one is started here), `workers` at once or as many as fit."""

    def __init__(self, address: str, workers: int | None = None):
        self.address = address
        self.workers = workers

    def __call__(self, units: Sequence[Unit], folder: Path, settings: BuildSettings, builder: str) -> Iterator[int]:
        """Yields the rows of each unit as it ends. Raises ImportError without Ray, OSError for a unit's problem."""
        name, root = package()
        work: Any = partial(_build, package=name, folder=root, shards=f"{__package__}.shards")
        place = folder.absolute()
        items = [{"unit": pickle.dumps((unit, place, settings, builder))} for unit in units]
        with cluster(self.address, sys.modules[__name__]) as ray:
            cores = ray.cluster_resources()["CPU"]
            share = min(1.0, cores / self.workers) if self.workers else 1.0
            jobs = ray.data.from_items(items, override_num_blocks=len(items))
            pool = ray.data.TaskPoolStrategy(self.workers)
            for row in jobs.map(work, num_cpus=share, compute=pool).iter_rows():
                if row["problem"]:
                    raise OSError(row["problem"])
                yield row["rows"]
