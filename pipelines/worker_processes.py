"""Functions of this package in processes of their own, one thread each: threads would wait for Python's one lock.

A `WorkerProcess` is one process that opens something heavy once, and whose owner learns what it was doing when it is
killed; `worker_processes` is some of them for pure functions.

Processes are started anew everywhere, never forked: a copy of a process with threads or a GPU can hang. A new one does
not know how this package was found (a host gives it a name, a checkout is loaded from its folder), so it is told.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import runpy
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import module_from_spec, spec_from_file_location
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any

CONTEXT = multiprocessing.get_context("spawn")
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
    pool = _Pool(count)
    try:
        yield pool.call
    finally:
        pool.close()


class _Pool:
    """Processes that call functions for as many threads."""

    def __init__(self, count: int):
        self.idle: SimpleQueue[WorkerProcess | None] = SimpleQueue()  # None: one that is not started yet
        for _ in range(count):
            self.idle.put(None)
        self.started: list[WorkerProcess] = []
        self.closed = False

    def call(self, function: Callable, *arguments: Any) -> Any:
        """The function's answer, from the next idle process. Raises what it does, and RuntimeError."""
        worker = self.idle.get()
        try:
            if self.closed:
                raise RuntimeError("The worker processes have ended.")
            if worker is None:
                worker = WorkerProcess(_caller)
                self.started.append(worker)
                worker.answer()
            worker.send(function, *arguments)
            return worker.answer()
        except WorkerKilled as error:
            raise RuntimeError(f"{error} Use fewer workers.") from error
        finally:
            self.idle.put(worker)

    def close(self) -> None:
        """End all processes at once; threads that still wait for an answer get an error instead."""
        self.closed = True
        for worker in self.started:
            worker.process.kill()


def _caller() -> Call:
    return called


class WorkerKilled(RuntimeError):
    """A worker process ended without an answer."""


class WorkerProcess:
    """A process that calls `opening(*arguments)` once, and the function that this gives for each `send`.

    The first answer is that of the opening, None where it went well. What is sent and answered is pickled; functions
    are so by their names, and lie at the top of a module. The process ends with `close` or with this process.
    """

    def __init__(self, opening: Callable[..., Callable], *arguments: Any):
        self.connection, theirs = CONTEXT.Pipe()
        start = {"PACKAGE": _package(), "CONNECTION": theirs, "WORK": pickle.dumps((opening, arguments))}
        self.process = CONTEXT.Process(target=runpy.run_path, args=(__file__, start, STARTED), daemon=True)
        self.process.start()
        theirs.close()  # or its end would not be heard here when the process dies

    @property
    def pid(self) -> int | None:
        """The process, as the system counts."""
        return self.process.pid

    def send(self, *arguments: Any) -> None:
        """Ask for an answer to these arguments; one that is dead is met at `answer`."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send(arguments)

    def answer(self) -> Any:
        """Wait for the next answer, and raise what was raised there. Raises WorkerKilled."""
        try:
            value, error = self.connection.recv()
        except (EOFError, OSError) as ending:  # the second where it was killed in the middle of its answer
            raise WorkerKilled("A worker process was killed from outside, most often for want of memory.") from ending
        if error is not None:
            raise error
        return value

    def close(self, *, now: bool = False) -> None:
        """Let the process end after what it does, or `now`."""
        if now:
            self.process.kill()
        self.connection.close()
        self.process.join()
        self.process.close()


def _package() -> tuple[str, str]:
    """The name of this package here, and its folder."""
    name = __name__.partition(".")[0]
    return name, str(Path(sys.modules[name].__path__[0]))


STARTED = "a worker process"  # the name under which a new process runs this file


def settle(name: str, folder: str) -> None:
    """What a new process does first: Ctrl-C is its parent's to hear, it outlives no parent, and finds the package."""
    os.environ["OMP_NUM_THREADS"] = "1"  # numpy's and torch's, before they are imported: two pools of them are slower
    if "torch" in sys.modules:  # by the main program, which runs again here
        sys.modules["torch"].set_num_threads(1)
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


def serve(connection: Connection, work: bytes) -> None:
    """Be a `WorkerProcess`, until its owner closes the connection or is gone."""
    opening, arguments = pickle.loads(work)
    try:
        function = opening(*arguments)
        connection.send((None, None))
    except Exception as error:
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.send((None, portable(error)))
        return
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            arguments = connection.recv()
            try:
                answer = (function(*arguments), None)
            except Exception as error:
                answer = (None, portable(error))
            connection.send(answer)


def portable(error: Exception) -> Exception:
    """An error that another process can read: the error itself, or else a RuntimeError that says the same."""
    try:
        again = pickle.loads(pickle.dumps(error))
        return error if str(again) == str(error) else RuntimeError(f"{type(error).__name__}: {error}")
    except Exception:  # whatever a class of errors makes of being copied
        return RuntimeError(f"{type(error).__name__}: {error}")


if __name__ == STARTED:
    settle(*globals()["PACKAGE"])
    if "WORK" in globals():
        serve(globals()["CONNECTION"], globals()["WORK"])
