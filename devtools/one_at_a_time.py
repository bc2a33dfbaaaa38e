"""Processes that must not do a thing at once do it one after the other. Standard library only."""

from __future__ import annotations

import errno
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def one_at_a_time(path: Path, waiting: Callable[[], object], interval: float = 0.2) -> Iterator[None]:
    """Hold the lock that this file is; `waiting` is called once if another process holds it.

    The system takes the lock from a process that ends, however it ends. There is none where the file may not be
    written, since nothing beside it can be either, and none on a file system that knows no locks.
    """
    try:
        file = open(path, "ab")
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        yield
        return
    with file:
        told = False
        while not _locked(file.fileno()):
            if not told:
                waiting()
            told = True
            time.sleep(interval)
        yield


def _locked(descriptor: int) -> bool:
    try:
        _lock(descriptor)
    except (BlockingIOError, PermissionError):  # POSIX, Windows
        return False
    except OSError:
        return True
    return True
