"""Pictures in a folder, listed as Hugging Face's image folders do: a `metadata.jsonl`, one JSON object per line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

METADATA = "metadata.jsonl"
READERS = min(8, os.cpu_count() or 1)  # threads that read pictures

T = TypeVar("T")


def read_metadata(folder: Path, parse: Callable[[dict[str, Any]], T], *, kind: str, layout: str) -> dict[int, T]:
    """What `parse` makes of each line of a folder's `metadata.jsonl`, by the line's number; empty lines are left out.

    `kind` is what a line should be, such as "a triplet"; `layout` says what the file is for. Raises FileNotFoundError
    for a missing file, ValueError naming file and line for what `parse` cannot use.
    """
    index = folder / METADATA
    if not index.is_file():
        raise FileNotFoundError(f"{index} does not exist. {layout}")
    rows = {}
    try:
        text = index.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{index} is no text in UTF-8: {error}.") from error
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            rows[number] = parse(json.loads(line))
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:  # json's own is a ValueError
            reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise ValueError(f"{index}, line {number} is not {kind}: {reason}.") from error
    return rows


def file_facts(paths: Iterable[Path], *, times: bool) -> list[tuple[str, int, int]]:
    """Name, size and, if wished, time of the last change (else 0) of files: what changes when their content does."""
    files = [(path.name, path.stat()) for path in paths]
    return [(name, state.st_size, state.st_mtime_ns if times else 0) for name, state in files]


def check_pictures(folder: Path, pictures: Iterable[tuple[str, Path]]) -> None:
    """Raise FileNotFoundError for missing pictures; the first three are called as the pairs of name and path do."""
    missing = [name for name, path in pictures if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} pictures of {folder / METADATA} are missing, such as {', '.join(missing[:3])}."
        )
