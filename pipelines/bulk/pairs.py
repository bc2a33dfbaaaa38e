"""Lists of pairs: a scene and an object, and the name that the picture of both gets. Of any length, read as a stream.

A list is a CSV file with a first line of column names, JSON lines, or Parquet. What columns it has beside `name`
depends on the method; null and an empty cell are the same as none.
"""

from __future__ import annotations

import csv
import json
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b, sha256
from pathlib import Path, PurePosixPath
from typing import Any

from .parquet import is_parquet, parquet_file, rows_of

JSON_LINES = (".jsonl", ".ndjson")
SEEDS = 2**64
LONGEST = 200  # bytes of one part of a name: what is written is longer by ".png", a process's number and ".part"
NOT_IN_NAMES = set('<>:"|?*\\')  # of no file on Windows
DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{port}{number}" for port in ("COM", "LPT") for number in range(10))}  # there
OURS = (".png", ".json", ".jsonl", ".")  # ends of no folder: of files beside it; Windows leaves a last dot out


@dataclass(frozen=True)
class Columns:
    """What columns a list has: files that each pair needs, files that it may have, and whether it may have a seed.

    `texts` are columns that hold words, needed or not by the same rule; `named` are those of which names are made.
    """

    needed: tuple[str, ...] = ("scene", "object")
    files: tuple[str, ...] = ()
    seed: bool = True
    texts: tuple[str, ...] = ()
    more_texts: tuple[str, ...] = ()
    named: tuple[str, ...] = ()

    @property
    def known(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.all_needed, *self.files, *self.more_texts, *(("seed",) if self.seed else ()), "name")

    @property
    def all_needed(self) -> tuple[str, ...]:
        """Files and texts that each pair has."""
        return (*self.needed, *self.texts)

    def __str__(self) -> str:
        *others, last = self.known[len(self.all_needed) :]
        optional = f"{', '.join(others)} and {last}" if others else last
        return f"A list of pairs has {', '.join(self.all_needed)}, and may have {optional}"


@dataclass(frozen=True)
class Pair:
    """One line of a list: files by their columns, as they stand there, and the name of their picture."""

    files: Mapping[str, str]
    seed: int | None
    name: str
    line: int  # of a Parquet file the row, from 1
    texts: Mapping[str, str] = field(default_factory=dict)

    def seed_from(self, seed: int) -> int:
        """Its own seed, or one that only the run's `seed` and its name decide."""
        if self.seed is not None:
            return self.seed
        return int.from_bytes(sha256(f"{seed} {self.name}".encode()).digest()[:4], "big")


def read_pairs(path: Path, columns: Columns) -> Iterator[Pair]:
    """The pairs of a list, in order. Raises FileNotFoundError, or ValueError naming file and line for what is none."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file. Needed is a list of pairs: CSV, JSON lines, or Parquet.")
    for line, row in _parquet_rows(path, columns) if is_parquet(path) else _text_rows(path, columns):
        try:
            yield _pair(row, columns, line)
        except ValueError as error:
            raise ValueError(f"{_line(path, line)} is no pair: {error}.") from error


def _line(path: Path, line: int) -> str:
    """What errors call a line of a list."""
    return f"{path}, {_unit(path)} {line}"


def _unit(path: Path) -> str:
    return "row" if is_parquet(path) else "line"


def _parquet_rows(path: Path, columns: Columns) -> Iterator[tuple[int, dict[str, Any]]]:
    """(row from 1, its values) of a Parquet file. Whole numbers may be floats: pandas makes them so beside none."""
    file = parquet_file(path)
    _check_columns(file.schema_arrow.names, columns, path, "")
    for line, row in enumerate(rows_of(file, file.schema_arrow.names, path), 1):
        seed = row.get("seed")
        if isinstance(seed, float):
            row["seed"] = None if math.isnan(seed) else int(seed) if seed.is_integer() else seed
        yield line, row


def _text_rows(path: Path, columns: Columns) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, row) of a text file."""
    rows = _json_rows if path.suffix.lower() in JSON_LINES else _csv_rows
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            yield from rows(file, path, columns)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8: {error}.") from error


def _csv_rows(file: Any, path: Path, columns: Columns) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, row) of a CSV file."""
    reader = csv.DictReader(file, restkey="", strict=True)
    try:
        names = [name.strip() for name in reader.fieldnames or ()]
        _check_columns(names, columns, path, " in its first line")
        reader.fieldnames = names
        for row in reader:
            if "" in row:
                raise ValueError(f"{path}, line {reader.line_num} has more cells than the first line has columns.")
            yield reader.line_num, row
    except csv.Error as error:
        raise ValueError(f"{path} is no CSV near line {reader.line_num + 1}: {error}.") from error


def _check_columns(names: list[str], columns: Columns, path: Path, where: str) -> None:
    if not names:
        raise ValueError(f"{path} is empty. {columns}.")
    for name in names:
        if name not in columns.known:
            raise ValueError(f"{path} has a column '{name}'{where}. {columns}.")
        if names.count(name) > 1:
            raise ValueError(f"{path} has two columns '{name}'{where}.")
    for name in columns.all_needed:
        if name not in names:
            raise ValueError(f"{path} has no column '{name}'{where}. {columns}.")


def _json_rows(file: Any, path: Path, _: Columns) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, row) of a file of JSON lines; empty ones are left out."""
    for line, text in enumerate(file, 1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}, line {line} is no JSON: {error}.") from error
        if not isinstance(row, dict):
            raise ValueError(f"{path}, line {line} is no pair: it is no JSON object.")
        yield line, row


def _pair(row: dict[str, Any], columns: Columns, line: int) -> Pair:
    """The pair of a row. Raises ValueError."""
    cells = {name: value for name, value in row.items() if value not in ("", None)}
    for name in cells:
        if name not in columns.known:
            raise ValueError(f"'{name}' is not known; it may have {', '.join(columns.known)}")
    files: dict[str, str] = {}
    for name in (*columns.needed, *columns.files):
        file = cells.get(name)
        if isinstance(file, str):
            files[name] = file
        elif name in cells or name in columns.needed:
            raise ValueError(f"'{name}' must be the name of a file")
    texts = {name: cells[name] for name in (*columns.texts, *columns.more_texts) if name in cells}
    for name in (*columns.texts, *texts):
        if not isinstance(texts.get(name), str):
            raise ValueError(f"'{name}' must be a text")
    seed = _seed(cells.get("seed"))
    stems = [Path(file).stem for file in files.values()]
    words = [re.sub(r"\W+", "_", texts[name]).strip("_") for name in columns.named]
    name = cells.get("name", "__".join([*stems, *words, *([] if seed is None else [str(seed)])]))
    return Pair(files=files, seed=seed, name=checked_name(name), line=line, texts=texts)


def _seed(value: Any) -> int | None:
    try:
        seed = int(value) if isinstance(value, str) else value
    except ValueError:
        seed = value
    if seed is not None and (type(seed) is not int or not 0 <= seed < SEEDS):
        raise ValueError(f"the seed must be a whole number from 0 to {SEEDS - 1}; it is {value}")
    return seed


def checked_name(name: Any) -> str:
    """A picture's name below the output folder, without its .png; "/" is a folder of it. Raises ValueError."""
    if not isinstance(name, str):
        raise ValueError(f"'name' must be a text; it is {name}")
    for part in name.split("/"):
        if part in ("", ".", "..") or part != part.strip() or part.startswith("."):
            raise ValueError(f"'{name}' leads out of the output folder, or is no plain name")
        if part.partition(".")[0].rstrip().upper() in DEVICES:
            raise ValueError(f"'{name}' is the name of a device on Windows")
        if NOT_IN_NAMES & set(part) or not part.isprintable():
            raise ValueError(f"'{name}' has characters that not every system allows in the name of a file")
        if len(part.encode()) > LONGEST:
            raise ValueError(f"a name may have {LONGEST} bytes; '{part[:20]}...' has {len(part.encode())}")
    for folder in name.lower().split("/")[:-1]:
        if folder.endswith(OURS):
            raise ValueError(f"'{name}' has a folder that ends like a file: {folder}")
    return name


def output_of(folder: Path, name: str) -> Path:
    """Where the picture of that name lies."""
    return folder / PurePosixPath(f"{name}.png")


@dataclass(frozen=True)
class Survey:
    """How many pairs a list has, and the sha256 of what they say; `known` is that of its first ones."""

    count: int
    sha256: str
    known: str | None


def survey(path: Path, columns: Columns, first: int = 0) -> Survey:
    """Read a list once, in little memory, and count it; `known` is of its `first` pairs, None where it has fewer.

    Raises ValueError for a list without a pair, for two pairs whose pictures would be one file on any system, and what
    `read_pairs` raises.
    """
    digest = sha256()
    known = digest.hexdigest() if first == 0 else None
    lines: dict[bytes, int] = {}  # by a digest of the name: names themselves would take several times the memory
    count = 0
    for count, pair in enumerate(read_pairs(path, columns), 1):
        same = unicodedata.normalize("NFC", pair.name).casefold().encode()
        before = lines.setdefault(blake2b(same, digest_size=16).digest(), pair.line)
        if before != pair.line:
            raise ValueError(
                f"{_line(path, pair.line)} would make the same file as {_unit(path)} {before}: {pair.name}.png. Give "
                "one of them a name, or a seed, of its own."
            )
        texts = [pair.texts] if columns.texts else []
        digest.update(json.dumps([pair.files, pair.seed, pair.name, *texts]).encode())
        if count == first:
            known = digest.hexdigest()
    if not count:
        raise ValueError(f"{path} holds no pair.")
    return Survey(count, digest.hexdigest(), known)
