"""Pictures in a Parquet file, by their names: in a column `name`, or by the paths that Hugging Face's pictures have."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

from .parquet import parquet_file, rows_of

SMALL = 64_000_000  # bytes; a row group of pictures up to this is kept while the next picture is of the same one
FEW = 8  # pictures that are read together of a larger one


@dataclass(frozen=True)
class InTable:
    """A picture in a Parquet file: its name, and where its row is; None where the file has none of that name."""

    table: Path
    name: str
    row: int | None


class PictureTable:
    """The names in a Parquet file of pictures, in 16 bytes for each."""

    def __init__(self, path: Path):
        """Reads all names. Raises FileNotFoundError, or ValueError for a file without pictures or a name twice."""
        import numpy as np  # not for a command's help

        self.path = path
        digests = array("Q")
        for name in _names(path):
            if not isinstance(name, str):
                raise ValueError(f"{path}, row {len(digests) + 1} has no name: it is {name}.")
            digests.append(_digest(name))
        unordered = np.frombuffer(digests, np.uint64) if digests else np.empty(0, np.uint64)
        self.rows = np.argsort(unordered, kind="stable")
        self.digests = unordered[self.rows]
        twice = np.flatnonzero(self.digests[1:] == self.digests[:-1])
        if len(twice):
            first, second = sorted(int(row) + 1 for row in self.rows[twice[0] : twice[0] + 2])
            raise ValueError(f"{path} has one name twice, in the rows {first} and {second}.")

    def __truediv__(self, name: str) -> InTable:
        """The picture of a name, as a folder's."""
        digest = _digest(name)
        at = int(self.digests.searchsorted(self.digests.dtype.type(digest)))
        there = at < len(self.digests) and self.digests[at] == digest
        return InTable(self.path, name, int(self.rows[at]) if there else None)


def _digest(name: str) -> int:
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def _columns(path: Path, file: Any) -> tuple[str, str]:
    """The columns of names and of pictures' bytes. Raises ValueError."""
    import pyarrow.types as types

    names = file.schema_arrow.names
    if "image" not in names:
        raise ValueError(f"{path} has no column 'image'; it has {', '.join(names)}. Needed are 'name' and 'image'.")
    kind = file.schema_arrow.field("image").type
    inside = [kind.field(number).name for number in range(kind.num_fields)] if types.is_struct(kind) else []
    if "bytes" in inside:
        content = "image.bytes"
    elif types.is_binary(kind) or types.is_large_binary(kind):
        content = "image"
    else:
        raise ValueError(f"{path} has {kind} in its column 'image'; needed are the bytes of picture files.")
    if "name" in names:
        return "name", content
    if "path" in inside:
        return "image.path", content
    raise ValueError(f"{path} has no column 'name', by which the list of pairs names its pictures.")


def _value(row: dict[str, Any], column: str) -> Any:
    first, _, inside = column.partition(".")
    value = row[first]
    return value[inside] if inside and value is not None else value


def _names(path: Path) -> Iterator[Any]:
    file = parquet_file(path)
    column, _ = _columns(path, file)
    return (_value(row, column) for row in rows_of(file, [column], path))


class Contents:
    """The pictures in tables that a worker is told to read."""

    def __init__(self):
        self.tables: dict[Path, _Rows] = {}

    def __call__(self, picture: InTable) -> bytes:
        """The picture's file. Raises ValueError for one that is not there, and what reading the table does."""
        if picture.row is None:
            raise ValueError(f"{picture.table} has no picture of the name {picture.name}.")
        if picture.table not in self.tables:
            self.tables[picture.table] = _Rows(picture.table)
        content = self.tables[picture.table][picture.row]
        if content is None:
            raise ValueError(f"{picture.table}, row {picture.row + 1} has no bytes of {picture.name}.")
        return content


class _Rows:
    """The bytes of pictures by their rows."""

    def __init__(self, path: Path):
        self.path = path
        self.file = parquet_file(path)
        _, self.column = _columns(path, self.file)
        counts = [self.file.metadata.row_group(group).num_rows for group in range(self.file.num_row_groups)]
        self.starts = list(accumulate(counts, initial=0))
        self.kept: tuple[int, list[Any]] = (-1, [])  # a small row group, and its pictures

    def __getitem__(self, row: int) -> bytes | None:
        group = bisect_right(self.starts, row) - 1
        inside = row - self.starts[group]
        if self.kept[0] == group:
            return self.kept[1][inside]
        small = self.file.metadata.row_group(group).total_byte_size <= SMALL
        rows = rows_of(self.file, [self.column], self.path, groups=[group], batch=FEW)
        contents = (_value(one, self.column) for one in rows)
        if not small:
            return next(islice(contents, inside, None))
        self.kept = (group, list(contents))
        return self.kept[1][inside]
