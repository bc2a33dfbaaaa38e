"""A run over a list of pairs: what is there stays, what is missing is made, what cannot be made is told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ..made_with import one_origin
from ..output_folders import claim, locked
from ..whole_files import remove_parts, write_text
from .failures import FAILURES, Failures
from .pairs import Columns, Survey, output_of, read_pairs, survey
from .picture_table import InTable, PictureTable
from .tasks import Crew, Task

KIND = "run over many pairs"
LIST = "pairs.json"  # which pairs a folder is for
Progress = Callable[[int, int], object]  # pictures that are done with, pictures of all


@dataclass(frozen=True)
class Many:
    """A list of pairs, where its pictures are read and written, and the seed of those that have none."""

    pairs: Path
    columns: Columns
    places: Mapping[str, Path | PictureTable]  # of which the files in a column are named: a folder, or a table
    folder: Path
    seed: int = 0


@dataclass(frozen=True)
class Done:
    """How a run ended, in pictures."""

    there: int  # before it began
    made: int
    failed: int
    failures: Path  # where these are told


def check_list(many: Many) -> Survey:
    """What is in the list, before anything heavy is read.

    Raises ValueError for a list that cannot be used, or that is not the one of the pictures in the folder; that may be
    its beginning. Raises FileNotFoundError.
    """
    note = many.folder / LIST
    first = 0
    before = None
    if note.is_file():
        try:
            noted = json.loads(note.read_text(encoding="utf-8"))
            first = int(noted["pairs"])
            before = str(noted["sha256"])
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{note} is damaged ({error}). Choose another folder, or delete this one.") from error
    content = survey(many.pairs, many.columns, first)
    if before and content.known != before and any(many.folder.rglob("*.png")):
        raise ValueError(
            f"{many.pairs} is not the list that the pictures in {many.folder} are made from: its first {first:,} pairs "
            "are others. Choose another folder; further pairs go to the end of the list."
        )
    return content


def make_many(
    many: Many,
    content: Survey,
    settings: Mapping[str, Any],
    crew: Crew,
    *,
    progress: Progress = lambda done, total: None,
    told: Callable[[str], object] = lambda line: None,
) -> Done:
    """Let a crew make a list's pictures, but for those that an earlier run made.

    `content` is what `check_list` gave; `settings` are what the pictures depend on, beside their pairs. Each picture is
    a whole file or none, and depends on its pair, the settings and the seed alone, in whatever order and place it is
    made. `told` hears of failures.

    Raises ValueError for a folder that cannot be used, and for settings that are not those of the pictures there;
    OSError where nothing can be written; and what the crew's `run` raises.
    """
    claim(many.folder, KIND)
    with locked(many.folder):
        one_origin(many.folder, {**settings, "seed": many.seed}, many.folder.rglob("*.png"))
        write_text(many.folder / LIST, json.dumps({"pairs": content.count, "sha256": content.sha256}) + "\n")
        remove_parts(many.folder)
        failures = Failures(many.folder)
        missing = Missing(many, content.count)
        made = 0
        progress(0, content.count)
        with crew:
            for task, reason in crew.run(missing):
                if reason:
                    failures.add(task, reason)
                    told(f"{task.name}: {reason}")
                else:
                    made += 1
                progress(missing.there + made + failures.count, content.count)
        if missing.there == content.count:
            progress(content.count, content.count)
        failures.finish()
    return Done(missing.there, made, failures.count, many.folder / FAILURES)


class Missing:
    """The tasks of pictures that are not there, read from the list as they are asked for; and how many are `there`.

    Pairs after the first `count` came to the list later: nobody has checked them.
    """

    def __init__(self, many: Many, count: int):
        self.many = many
        self.count = count
        self.there = 0

    def __iter__(self) -> Iterator[Task]:
        many = self.many
        for pair in islice(read_pairs(many.pairs, many.columns), self.count):
            output = output_of(many.folder, pair.name)
            if output.is_file():
                self.there += 1
                continue
            output.parent.mkdir(parents=True, exist_ok=True)
            named = {column: many.places[column] / file for column, file in pair.files.items()}
            yield Task(
                name=pair.name,
                files={column: file for column, file in named.items() if isinstance(file, Path)},
                tables={column: picture for column, picture in named.items() if isinstance(picture, InTable)},
                seed=pair.seed_from(many.seed),
                output=output,
                given={**pair.files, **pair.texts},
                line=pair.line,
                texts=pair.texts,
            )
