"""Parquet files of a data set, on this machine or on the Hugging Face hub, read a few rows at a time.

On the hub nothing is fetched but the byte ranges that are asked for: footers, key columns, then row after row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..pictures.opening import with_bytes

HUB = "hf://datasets/"
SPLITS = ("train", "validation", "test")
BATCH = 32  # rows in memory at once, of any one file
BUFFER = 1 << 20  # bytes read at once
HUB_BUFFER = 8 << 20


@dataclass(frozen=True)
class SourceFile:
    """A parquet file: where it is, its name in its data set, rows of each row group, and a digest of their layout.

    The layout is rows, offsets and sizes: what the file holds is not part of it.
    """

    place: str
    name: str
    groups: tuple[int, ...]
    schema: pa.Schema
    digest: str


def find(source: str, split: str) -> list[str]:
    """The parquet files of a split of a folder, or of a data set `owner/name` or `owner/name@revision` of the hub.

    A file belongs to the split whose name is a word of its path; where no path has such a word, all are "train".
    Raises FileNotFoundError where there are none.
    """
    path = Path(source).absolute()
    if path.is_file():
        return [str(path)]
    if path.is_dir():
        root = str(path)
        files = sorted(str(file) for file in path.rglob("*.parquet"))
    elif re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", source):
        root, files = _on_the_hub(source)
    else:
        raise FileNotFoundError(f"{source} is neither a folder, a parquet file, nor the name of a data set.")
    words = {file: set(re.split(r"[\W_]+", file.removeprefix(root))) for file in files}
    if any(words[file].intersection(SPLITS) for file in files):
        of_split = [file for file in files if split in words[file]]
    else:
        of_split = files if split == "train" else []
    if not of_split:
        raise FileNotFoundError(f"{root} has no parquet file of the split '{split}' ({len(files)} files of any).")
    return of_split


def _on_the_hub(source: str) -> tuple[str, list[str]]:
    """The root of a data set at one commit, and its parquet files."""
    name, _, revision = source.partition("@")
    with _explained(source, remote=True):
        from huggingface_hub import HfApi, HfFileSystem

        commit = HfApi().dataset_info(name, revision=revision or None).sha
        root = f"{HUB}{name}@{commit}/"
        files = HfFileSystem().find(root.removeprefix("hf://"))
    return root, sorted(f"hf://{file}" for file in files if file.endswith(".parquet"))


@contextmanager
def _explained(place: str, remote: bool) -> Iterator[None]:
    """Say which file could not be read, and what to do."""
    try:
        yield
    except pa.ArrowException as error:
        raise ValueError(f"{place} is not a readable parquet file: {error}. Fetch it anew.") from error
    except ImportError:
        raise
    except Exception as error:  # of the hub's library, its HTTP client, or the disk
        if not remote and getattr(error, "errno", None) is None:  # pyarrow's for damaged pages
            raise ValueError(f"{place} is not a readable parquet file: {error}. Fetch it anew.") from error
        if not remote:
            raise
        gone = type(error).__name__ in ("RepositoryNotFoundError", "RevisionNotFoundError", "FileNotFoundError")
        raise (FileNotFoundError if gone else OSError)(
            f"{place} could not be read from the Hugging Face hub: {error}. Check its name and the network, and start "
            "the same command again: it goes on. (There is no such file or folder on this machine.)"
        ) from error


@contextmanager
def _open(place: str) -> Iterator[pq.ParquetFile]:
    remote = place.startswith(HUB)
    with _explained(place, remote):
        if remote:
            from huggingface_hub import HfFileSystem

            path = place.removeprefix("hf://")
            file: Any = HfFileSystem().open(path, block_size=HUB_BUFFER, cache_type="none")
        else:
            file = place
        with pq.ParquetFile(file, buffer_size=HUB_BUFFER if remote else BUFFER, pre_buffer=False) as opened:
            yield opened


def _whole(value: Any, place: str, column: str) -> Any:
    """A value of a row; a picture of which only a path is stored with its file, or with the reason why it has none."""
    if not isinstance(value, dict) or value.get("bytes") or not value.get("path"):
        return value
    if place.startswith(HUB):  # a path of somebody else is nothing to read on this machine
        raise ValueError(
            f"{place} stores only the path of a picture ('{value['path']}' in {column}), not the picture. Fetch the "
            "data set with its files, or ask for one that holds them."
        )
    try:
        return with_bytes(value, Path(place).parent)
    except OSError as error:
        return {**value, "missing": str(error)}


def look(place: str, name: str) -> SourceFile:
    """What a file's footer says. Raises ValueError for a file that is not parquet."""
    with _open(place) as file:
        row_groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
        sizes = []
        for group in row_groups:
            chunks = [group.column(number) for number in range(group.num_columns)]
            sizes += [(chunk.path_in_schema, chunk.data_page_offset, chunk.total_compressed_size) for chunk in chunks]
        schema = file.schema_arrow
    rows = tuple(group.num_rows for group in row_groups)
    digest = sha256(repr((rows, sizes)).encode()).hexdigest()[:16]
    return SourceFile(place=place, name=name, groups=rows, schema=schema, digest=digest)


def names(places: list[str]) -> list[str]:
    """Names that do not depend on where a data set lies: without the folders that all files share."""
    parts = [place.replace("\\", "/").split("/") for place in places]
    shared = 0
    while all(len(part) > shared + 1 and part[shared] == parts[0][shared] for part in parts):
        shared += 1
    return ["/".join(part[shared:]) for part in parts]


def read_columns(place: str, columns: list[str]) -> pa.Table:
    """Whole columns of a file: small ones."""
    with _open(place) as file:
        return file.read(columns)


def read_rows(place: str, columns: list[str], *, group: int, start: int, stop: int) -> Iterator[dict[str, Any]]:
    """The rows start...stop of a row group, a batch in memory at a time; pictures of which only a path is stored are
    read from this machine. Raises ValueError for such a picture of the hub.
    """
    offset = 0  # of the batch in the row group
    with _open(place) as file:
        for batch in file.iter_batches(BATCH, row_groups=[group], columns=columns, use_threads=False):
            skipped = max(start - offset, 0)
            if skipped < len(batch):
                for row in batch.slice(skipped, stop - offset - skipped).to_pylist():
                    yield {name: _whole(value, place, name) for name, value in row.items()}
            offset += len(batch)
            if offset >= stop:
                return
