"""Files that are whole or not there, however the writing ends."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # a disk, a quota, what a process may write
PARTS = ".part"  # ends the names of files under way, which nobody who looks for files by their suffix takes for one


def check_not_read(outputs: Iterable[Path], inputs: Iterable[Path | None]) -> None:
    """Raise ValueError for an output that is one of the inputs, by whatever name or link; None is no input.

    An input that is a folder is all that lies in it.
    """
    sources = [path for path in inputs if path and path.exists()]
    for output in outputs:
        places = [output, *output.resolve().parents] if output.exists() else []
        if any(place.samefile(path) for place in places for path in sources):
            raise ValueError(f"{output} is a file that is read, and would be written over; name another one.")


def part_of(path: Path, process: int | None) -> Path:
    """Where a process writes a file that is not whole yet."""
    return path.with_name(f"{path.name}.{process}{PARTS}")


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Where to write a file: it takes its place at `path` when the block ends well, and else is gone.

    Until then it has a name of this process's own beside `path`, so that two writers do not mix; the last one to end
    wins. The file may be read by whom the user's umask lets, whatever the library that writes it makes of that.
    Raises OSError for what cannot be written; errors of the block are its own.
    """
    part = part_of(path, os.getpid())
    try:
        with told(path, every=True), open(part, "wb"):
            mode = part.stat().st_mode
        with told(path):
            yield part
        with told(path, every=True):
            part.chmod(mode)
            _settle(part)
            os.replace(part, path)
    except BaseException:
        with suppress(OSError):  # the first error is the one to tell
            part.unlink(missing_ok=True)
        raise


def remove_parts(folder: Path) -> None:
    """Remove what killed processes left half written in a folder of which nobody else is a writer now."""
    for path in folder.rglob(f"*{PARTS}"):
        process = path.name.removesuffix(PARTS).rpartition(".")[2]
        if process.isdecimal() and path.is_file():
            path.unlink()


@contextmanager
def told(path: Path, *, every: bool = False) -> Iterator[None]:
    """Raise OSError naming the file, or folder, that cannot be written: for a full disk, or for `every` such error.

    safetensors raises an error of its own, whatever the reason.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        if isinstance(error, OSError) and not every and error.errno not in FULL:
            raise
        raise OSError(f"{path} could not be written ({error}). Free some space there and try again.") from error


def _settle(path: Path) -> None:
    """Wait until a file's content is on the disk: after a power cut its name must not lead to half of it."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all; its bytes are the same on every system."""
    with whole(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")
