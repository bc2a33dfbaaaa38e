"""What a worker process is told to make, and how it does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Task:
    """One picture to make of files by their columns; `given` is what the list of pairs calls them."""

    name: str
    files: Mapping[str, Path]
    seed: int
    output: Path
    given: Mapping[str, str]
    line: int


class Made(Protocol):
    """A picture that is made, and not written yet."""

    def save(self, path: Path) -> None:
        """Write it, whole or not at all. Raises OSError."""
        ...


Making = Callable[[Task], str]  # nothing where the picture is there now, else why it cannot be made


def making(make: Callable[[Task], Made]) -> Making:
    """What a worker does with a task: pictures that cannot be made are rows of a table, a full disk ends the run.

    Any other error than ValueError and OSError is raised as well: after it the process itself is not to be trusted, as
    after a GPU's.
    """

    def one(task: Task) -> str:
        try:
            made = make(task)
        except (ValueError, OSError) as error:
            return str(error) or type(error).__name__
        made.save(task.output)
        return ""

    return one
