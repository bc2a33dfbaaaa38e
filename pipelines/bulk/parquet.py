"""Rows of Parquet files as a stream. pyarrow, of the `data` extra, is imported where such a file is met."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow.parquet

SUFFIXES = (".parquet", ".pq")
BATCH = 256  # rows that are read together


def is_parquet(path: Path) -> bool:
    """Whether a file is Parquet, by its name."""
    return path.suffix.lower() in SUFFIXES


def parquet_file(path: Path) -> pyarrow.parquet.ParquetFile:
    """A file of which the footer is read. Raises FileNotFoundError, and ValueError for anything else than Parquet."""
    import pyarrow
    import pyarrow.parquet

    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file.")
    try:
        return pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{path} is not a readable parquet file: {error}.") from error


def rows_of(
    file: pyarrow.parquet.ParquetFile,
    columns: Sequence[str],
    path: Path,
    *,
    groups: Sequence[int] | None = None,
    batch: int = BATCH,
) -> Iterator[dict[str, Any]]:
    """Rows with these columns, of these row groups or all. Raises ValueError for damaged ones."""
    import pyarrow

    try:
        for rows in file.iter_batches(batch, row_groups=groups, columns=list(columns)):
            yield from rows.to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{path} is a damaged parquet file: {error}.") from error
