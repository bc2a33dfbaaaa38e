"""What a system offers to the commands `train` and `evaluate`, and nothing else has to know of a new one.

Each system makes its `Method` in the file `method.py` of its room, and `systems.METHODS` lists them all. Importing
such a file is cheap: its functions import what is slow when they are called.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from .evaluation.cases import Benchmark
    from .evaluation.inserters import Inserter
    from .training.estimate import Estimate

Report = Callable[[str], None]
Progress = Callable[[int, int], None]  # rows done, rows in all


class Training(Protocol):
    """How a system is trained from a configuration."""

    @property
    def recipes(self) -> Path:
        """The folder of its shipped configurations, YAML."""
        ...

    def config(self) -> type:
        """The dataclass that its configurations fill."""
        ...

    def estimate(self, config: Any) -> Estimate:
        """Parameters, memory and time of a run, by a short measurement; nothing is written."""
        ...

    def train(self, config: Any, report: Report, progress: Progress | None) -> Mapping[str, Path]:
        """Run a configuration, going on where it was stopped; what was made, by what it is."""
        ...


@dataclass(frozen=True)
class Option:
    """An option of `evaluate` that only some methods read."""

    flag: str
    help: str
    metavar: str = "FOLDER"
    kind: Callable[[str], Any] = Path
    default: Any = None
    needed: bool = False  # nothing can be made without it
    dest: str = ""  # the name of its value among the parsed arguments, where that is not the flag's
    several: bool = False  # may have several values: each is a run of the method, as each seed is

    @property
    def name(self) -> str:
        """The name of its value among the parsed arguments."""
        return self.dest or self.flag.removeprefix("--").replace("-", "_")

    def add_to(self, parser: ArgumentParser) -> None:
        """Add it to the command's parser."""
        parser.add_argument(
            self.flag,
            dest=self.name,
            type=self.kind,
            default=self.default,
            metavar=self.metavar,
            help=self.help,
            nargs="+" if self.several else None,
        )


class Method(Protocol):
    """A system, or a baseline, as the commands see it."""

    @property
    def name(self) -> str:
        """As in a configuration's `method`; on the command line with hyphens."""
        ...

    @property
    def training(self) -> Training | None:
        """How it is trained; None where nothing of it is trained here."""
        ...

    @property
    def options(self) -> tuple[Option, ...]:
        """Its own options of `evaluate`; two methods may share one."""
        ...

    def inserter(self, args: Namespace, benchmark: Benchmark) -> tuple[Inserter, dict[str, Any]]:
        """What makes a picture of each case of a benchmark, and the facts that its pictures depend on.

        Among the facts, `files` say where networks came from, and are no setting: see `inserters.made_with`. `args`
        are those of `evaluate`, `device` and `dtype` resolved; `steps` and `sampler` are None where the user leaves
        them to the method, `warn` is told what a user should know. Raises ValueError, FileNotFoundError.
        """
        ...
