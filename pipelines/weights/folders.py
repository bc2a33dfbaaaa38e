"""Folders of models: walked once, whatever links there are, and names that cannot lead out of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath


def walk_once(top: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """`os.walk` that follows links, real folders before links, but goes into each real folder once.

    Links of a folder to itself or to one above it would otherwise be followed without end. What comes are a folder,
    its folders' names, of which the caller may take some away, and its files' names.
    """
    entered: set[str] = set()
    for path, folders, files in os.walk(top, followlinks=True):
        folders.sort(key=lambda name: (os.path.islink(os.path.join(path, name)), name))
        real = os.path.realpath(path)
        known = real in entered
        entered.add(real)
        yield Path(path), folders, files
        if known:
            folders.clear()


def is_plain_name(name: str) -> bool:
    """Whether a name is that of one file or folder on every system: no path, no drive, nothing but printable."""
    plain = PurePosixPath(name).name == name == PureWindowsPath(name).name
    return plain and name.isprintable() and name not in ("", ".", "..") and not PureWindowsPath(name).is_reserved()
