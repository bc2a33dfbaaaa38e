"""Ray clusters, on which work of this package is done: whoever works there is told where the package is.

All machines must see the package's folder, or have it installed, and see what is read and written under the same paths.
This module is sent to them as it is: alone they cannot import the package.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any


def package() -> tuple[str, str]:
    """The name of this package here, and its folder."""
    name, _, _ = __name__.partition(".")
    return name, str(Path(str(sys.modules[name].__file__)).parent)


def load(name: str, folder: str) -> None:
    """Make the package importable, as a checkout is: its root is not on sys.path."""
    from importlib.util import module_from_spec, spec_from_file_location

    if name not in sys.modules:
        try:
            import_module(name)
        except ModuleNotFoundError:
            init = Path(folder) / "__init__.py"
            spec = spec_from_file_location(name, init, submodule_search_locations=[folder])
            if spec is None or spec.loader is None or not init.is_file():
                raise
            sys.modules[name] = module = module_from_spec(spec)
            spec.loader.exec_module(module)


class Actor:
    """Who does rows of a data set one after another: the callable that a class of this package makes, once."""

    def __init__(self, place: tuple[str, str], module: str, name: str, arguments: tuple):
        os.environ["OMP_NUM_THREADS"] = "1"  # as in a worker process: another number would give other bits
        load(*place)
        self.work = getattr(import_module(module), name)(*arguments)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return self.work(row)


@contextmanager
def cluster(address: str, *modules: ModuleType) -> Iterator[Any]:
    """Ray, connected to the cluster at `address` ("local": one is started here); `modules` are sent as they are, too.

    Raises ImportError without Ray, and ConnectionError where no cluster is.
    """
    import ray
    from ray import cloudpickle

    sent = [sys.modules[__name__], *modules]
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody is told of it
    for module in sent:
        cloudpickle.register_pickle_by_value(module)
    try:
        ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
        ray.data.DataContext.get_current().enable_progress_bars = False
        yield ray
    finally:
        ray.shutdown()
        for module in sent:
            cloudpickle.unregister_pickle_by_value(module)
