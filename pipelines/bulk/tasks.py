"""What a worker process is told to make, and how it does it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from .picture_table import Contents, InTable


@dataclass(frozen=True)
class Task:
    """One picture to make of files by their columns; `given` is what the list of pairs calls them."""

    name: str
    files: Mapping[str, Path]
    seed: int
    output: Path
    given: Mapping[str, str]
    line: int
    texts: Mapping[str, str] = field(default_factory=dict)  # words by their columns
    tables: Mapping[str, InTable] = field(default_factory=dict)  # pictures that are no files


class Made(Protocol):
    """A picture that is made, and not written yet."""

    def save(self, path: Path) -> None:
        """Write it, whole or not at all. Raises OSError."""
        ...


class Crew(Protocol):
    """Who does tasks, of whatever kind: a context manager."""

    def __enter__(self) -> Any: ...

    def __exit__(self, *ending: Any) -> None: ...

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, str]]:
        """Each task as it ends, with why it failed, or nothing where it did not. Raises what ends the whole run."""
        ...


Making = Callable[[Task], str]  # nothing where the picture is there now, else why it cannot be made


def making(make: Callable[[Task], Made]) -> Making:
    """What a worker does with a task: pictures that cannot be made are rows of a table, a full disk ends the run.

    Any other error than ValueError and OSError is raised as well: after it the process itself is not to be trusted, as
    after a GPU's. The task that `make` gets has files alone.
    """
    contents = Contents()

    def one(task: Task) -> str:
        with TemporaryDirectory(prefix="visual-insertion-") if task.tables else nullcontext() as folder:
            try:
                made = make(unpacked(task, Path(folder), contents) if folder else task)
            except (ValueError, OSError) as error:
                reason = str(error) or type(error).__name__
                return _readable(reason, task, Path(folder)) if folder else reason
        made.save(task.output)
        return ""

    return one


def unpacked(task: Task, folder: Path, contents: Contents) -> Task:
    """The task with its pictures in tables as files of a folder. Raises ValueError for what cannot be read there."""
    files = dict(task.files)
    for column, picture in task.tables.items():
        file = folder / column / Path(picture.name).name
        file.parent.mkdir()
        file.write_bytes(contents(picture))
        files[column] = file
    return replace(task, files=files, tables={})


def _readable(reason: str, task: Task, folder: Path) -> str:
    """A reason with pictures by their tables, not by the files that they were for a while."""
    for column, picture in task.tables.items():
        reason = reason.replace(str(folder / column), str(picture.table))
    return reason
