"""Folders of pictures of one origin: a run that goes on in one makes what is missing, with the same settings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .provenance import made_by
from .whole_files import write_text

SETTINGS = "made_with.json"
FILES = "files"  # among the facts of pictures: where networks lie, which is no setting
NO_SETTINGS = (FILES, "command", "software")  # what it holds beside settings


def one_origin(folder: Path, made_with: Mapping[str, Any], pictures: Iterable[Path]) -> dict[str, Any]:
    """The record of what is made in `folder` with such settings, noted there if nothing is yet; `pictures` are its own.

    Of the settings, `files` may differ from those of the pictures there. Raises ValueError when these were made with
    other settings, or by nobody knows what.
    """
    record = folder / SETTINGS
    made = made_by(**made_with)
    noted = record.is_file()
    before = settings_of(read_record(record)) if noted else {}
    now = settings_of(made_with)
    if noted and before == now:
        return made
    if not any(path.is_file() for path in pictures):  # nothing is mixed, whatever was tried before
        write_text(record, json.dumps(made, indent=2))
        return made
    if not noted:
        raise ValueError(f"{folder} has pictures of unknown origin: {SETTINGS} is missing. Give another output folder.")
    raise ValueError(
        f"The pictures in {folder} were made with other settings ({difference(before, now)}), see {record}. Give "
        "another output folder, or delete this one."
    )


def read_record(record: Path) -> dict[str, Any]:
    """What is noted about pictures; nothing where that is damaged."""
    try:
        return dict(json.loads(record.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        return {}


def settings_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """Of what is noted about pictures, what they depend on, as JSON gives it back."""
    return json.loads(json.dumps({name: value for name, value in record.items() if name not in NO_SETTINGS}))


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The names of settings that are not the same, for people."""
    names = [name for name in {**before, **now} if before.get(name, ...) != now.get(name, ...)]
    return ", ".join(names)
