"""Folders that users name for our output: nothing that is there and is not ours is written over or removed.

A folder is ours when it has our mark, a small file that says what was made there; we put it into folders that are new,
or hold nothing of what we are about to write.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from .whole_files import PARTS, told, write_text

MARK = ".visual-insertion.json"
LOCK = ".lock"


def claim(folder: Path, kind: str, names: Collection[str] | None = None) -> None:
    """Mark a folder, made if it is not there, as that of `kind`, such as "training run".

    `names` are the entries that will be written or replaced in it; None stands for any. Raises ValueError for a folder
    marked as another kind's, and for one without our mark that has such entries.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; a folder is needed.")
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / MARK
    if mark.is_file():
        before = _kind(mark)
        if before != kind:
            raise ValueError(f"{folder} is the folder of a {before}. Choose another one; nothing was changed.")
        return
    there = {entry.name for entry in folder.iterdir() if not entry.name.startswith(MARK)} - {LOCK}  # nor half a mark
    in_the_way = there if names is None else there & set(names)
    if in_the_way:
        raise ValueError(
            f"{folder} holds {min(in_the_way)}, which would be written over and is not of an earlier {kind}. Choose "
            "another folder; nothing was changed."
        )
    write_text(mark, json.dumps({"kind": kind}) + "\n")


def _kind(mark: Path) -> str:
    try:
        return str(json.loads(mark.read_text(encoding="utf-8"))["kind"])
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{mark} is damaged. Choose another folder, or delete it if this one is ours.") from error


@contextmanager
def locked(folder: Path, patience: float = 0) -> Iterator[None]:
    """Be the one writer of a folder, after at most `patience` seconds. Raises OSError when another process is."""
    try:
        with FileLock(folder / LOCK, timeout=patience):
            yield
    except Timeout as error:
        raise OSError(f"Another process is writing into {folder}. Wait for it, or choose another folder.") from error


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Where to write a folder: it takes the place of `folder` when the block ends well, and else is gone.

    The one before goes then if it holds no file that the new one has not as well; otherwise it stays, beside it, as
    `folder`.before-1. The files may be read by whom the user's umask lets.
    """
    part = folder.with_name(f".{folder.name}{PARTS}")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        with told(folder):
            yield part
        _open_to_readers(part)
        _replace(folder, part)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _open_to_readers(folder: Path) -> None:
    """Give files the mode that a plain new one has; some libraries make theirs for their owner alone."""
    probe = folder / MARK
    with open(probe, "wb"):
        mode = probe.stat().st_mode
    probe.unlink()
    for path in _files(folder):
        (folder / path).chmod(mode)


def _replace(folder: Path, new: Path) -> None:
    if not folder.exists():
        os.replace(new, folder)
        return
    foreign = _files(folder) - _files(new)
    before = _free_name(folder)
    os.replace(folder, before)
    os.replace(new, folder)
    if not foreign:
        shutil.rmtree(before)


def _files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir()}


def _free_name(folder: Path) -> Path:
    """A name beside a folder that nothing has yet."""
    number = 1
    while (before := folder.with_name(f"{folder.name}.before-{number}")).exists():
        number += 1
    return before
