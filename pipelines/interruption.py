"""Being told to stop: Ctrl-C, and SIGTERM of `docker stop`, Slurm or a preempted machine, are the same to us."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

STOPS = (signal.SIGINT, signal.SIGTERM)


def _in_main_thread() -> bool:
    """Whether signals may be handled here: Python hands them to the main thread alone."""
    return threading.current_thread() is threading.main_thread()


def stop_on_termination() -> None:
    """Let SIGTERM raise KeyboardInterrupt, so that what is under way is left as Ctrl-C leaves it."""
    if _in_main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)


@contextmanager
def undivided() -> Iterator[None]:
    """Let being told to stop wait until the block has ended, which must be short."""
    if not _in_main_thread():
        yield
        return
    arrived: list[int] = []
    handlers = {number: signal.signal(number, lambda number, _: arrived.append(number)) for number in STOPS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in arrived:
            signal.raise_signal(number)
