"""Pure functions of this package in processes of their own, one thread each: threads would wait for Python's one lock.

Processes are started anew everywhere, never forked: a copy of a process with threads or a GPU can hang. A new one does
not know how this package was found (a host gives it a name, a checkout is loaded from its folder), so it is told.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

Call = Callable[..., Any]  # call(function, *arguments) gives function(*arguments)


def called(function: Callable, *arguments: Any) -> Any:
    """A `Call` in this very process."""
    return function(*arguments)


@contextmanager
def worker_processes(count: int) -> Iterator[Call]:
    """A `Call` that waits for one of `count` processes, to be used by as many threads; here where that is 1.

    A process starts with the first call that finds no idle one, and ends with the block or with this process, however
    that ends. Raises RuntimeError when one was killed, as a system that is out of memory does.
    """
    if count == 1:
        yield called
        return
    name = __package__.partition(".")[0]
    folder = str(Path(sys.modules[name].__path__[0]))
    package = {"PACKAGE": (name, folder)}
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(count, context, initializer=runpy.run_path, initargs=(__file__, package, STARTED))

    def call(function: Callable, *arguments: Any) -> Any:
        try:
            return pool.submit(function, *arguments).result()
        except BrokenProcessPool as error:
            raise RuntimeError(
                "A worker process was killed from outside, most often for want of memory. Use fewer workers."
            ) from error

    try:
        yield call
    finally:
        pool.shutdown(cancel_futures=True)


STARTED = "a worker process"  # the name under which a new process runs this file


def settle(name: str, folder: str) -> None:
    """What a new process does first: Ctrl-C is its parent's to hear, it outlives no parent, and finds the package."""
    os.environ["OMP_NUM_THREADS"] = "1"  # numpy's and torch's, before they are imported: two pools of them are slower
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
    if name not in sys.modules:
        place = Path(folder, "__init__.py")
        spec = spec_from_file_location(name, place, submodule_search_locations=[folder])
        assert spec and spec.loader
        sys.modules[name] = package = module_from_spec(spec)
        spec.loader.exec_module(package)


if __name__ == STARTED:
    settle(*globals()["PACKAGE"])
