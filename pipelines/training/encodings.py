"""Encodings of data, kept for all runs: a folder per data set, networks and settings; its size, how it is emptied."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from ..whole_files import write_text

ABOUT = "about.json"  # marks a folder as ours to remove; its time is that of the last use
VARIABLE = "VISUAL_INSERTION_CACHE"
DAY = 24 * 3600  # seconds


@dataclass(frozen=True)
class Encodings:
    """What is kept of one data set."""

    folder: Path
    data: str  # the data set's name
    examples: int
    size: int  # bytes
    used: float  # seconds since the epoch, the last time that a run asked for it

    @property
    def days(self) -> float:
        """How long nobody has asked for it."""
        return max(0.0, time.time() - self.used) / DAY


def shared_cache() -> Path:
    """Where encodings go if a configuration does not say: the system's place for what can be made again."""
    if os.environ.get(VARIABLE):
        return Path(os.environ[VARIABLE]).expanduser()
    if sys.platform == "win32":
        place = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        place = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return place / "visual-insertion" / "encodings"


def note_use(folder: Path, data: str, examples: int) -> None:
    """Say in a folder what encodings it holds, and that they are used now."""
    write_text(folder / ABOUT, json.dumps({"data": data, "examples": examples}) + "\n")


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def kept(cache: Path) -> list[Encodings]:
    """All that a cache keeps, what was used last first; folders that are not ours are not looked at."""
    every = []
    for about in cache.glob(f"*/{ABOUT}"):
        try:
            facts = json.loads(about.read_text(encoding="utf-8"))
            data, examples = str(facts["data"]), int(facts["examples"])
        except (ValueError, TypeError, KeyError):
            continue
        every.append(Encodings(about.parent, data, examples, size_of(about.parent), about.stat().st_mtime))
    return sorted(every, key=lambda encodings: encodings.used, reverse=True)


def remove(encodings: Encodings) -> None:
    """Remove encodings; a run that needs them makes them anew. Raises OSError where a run still reads them."""
    shutil.rmtree(encodings.folder)
