"""Units over the cores of one or many machines with Ray Data.

All machines must see the sources and the output folder under the same paths, and have the pack installed or see it
under the same path, too. This module is sent to the workers as it is: alone they cannot import the pack.
"""

from __future__ import annotations

import logging
import os
import pickle
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .plan import Unit
    from .settings import BuildSettings


def _load(package: str, folder: str) -> None:
    """Make the pack importable, as a checkout is: its root is not on sys.path."""
    from importlib.util import module_from_spec, spec_from_file_location

    if package not in sys.modules:
        try:
            import_module(package)
        except ModuleNotFoundError:
            init = Path(folder) / "__init__.py"
            spec = spec_from_file_location(package, init, submodule_search_locations=[folder])
            if spec is None or spec.loader is None or not init.is_file():
                raise
            sys.modules[package] = module = module_from_spec(spec)
            spec.loader.exec_module(module)


def _build(row: dict[str, Any], package: str, folder: str, shards: str) -> dict[str, Any]:
    """One unit, in a worker; a problem is handed back as text."""
    _load(package, folder)
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
        import ray
        from ray import cloudpickle

        package, _, _ = __name__.partition(".")
        root = str(Path(str(sys.modules[package].__file__)).parent)
        work: Any = partial(_build, package=package, folder=root, shards=f"{__package__}.shards")
        place = folder.absolute()
        items = [{"unit": pickle.dumps((unit, place, settings, builder))} for unit in units]
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody is told of it
        cloudpickle.register_pickle_by_value(sys.modules[__name__])
        ray.init(address=self.address, include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
        try:
            ray.data.DataContext.get_current().enable_progress_bars = False
            cores = ray.cluster_resources()["CPU"]
            share = min(1.0, cores / self.workers) if self.workers else 1.0
            jobs = ray.data.from_items(items, override_num_blocks=len(items))
            pool = ray.data.TaskPoolStrategy(self.workers)
            for row in jobs.map(work, num_cpus=share, compute=pool).iter_rows():
                if row["problem"]:
                    raise OSError(row["problem"])
                yield row["rows"]
        finally:
            ray.shutdown()
            cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
