"""Files that are whole or not there, however the writing ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Where to write a file: it takes its place at `path` when the block ends well, and else is gone.

    Until then it is called `path`.part, which nobody who looks for files by their suffix takes for one. One process
    at a time: what a killed one has left there is written over.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        yield part
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):  # the first error is the one to tell
            part.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all; its bytes are the same on every system."""
    with whole(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")
