"""Rows of parquet files, and pictures out of files and rows; errors name the file, the row and the column."""

from __future__ import annotations

import json
from bisect import bisect_right
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...pictures.masks import array_box
from ...pictures.opening import mask_picture, open_picture, with_bytes


class Rows:
    """The rows of parquet files, one row group in memory at a time."""

    def __init__(
        self, folder: Path, pattern: str, *, columns: tuple[str, ...], optional: tuple[str, ...] = (), source: str
    ):
        """`columns` must be in every file, `optional` ones are read where they are in all; `source` says where the
        files come from. Raises FileNotFoundError for no file, ValueError for a broken one or a missing column."""
        import pyarrow
        import pyarrow.parquet as parquet

        self.paths = sorted(folder.glob(pattern))
        if not self.paths:
            raise FileNotFoundError(f"{folder} has no parquet file, {pattern}. {source}")
        try:
            self.files = [parquet.ParquetFile(path) for path in self.paths]
        except (pyarrow.ArrowInvalid, OSError) as error:
            raise ValueError(
                f"One of {self.paths[0].parent} is not a readable parquet file: {error}. {source}"
            ) from error
        shared = set(optional)
        self.groups: list[tuple[parquet.ParquetFile, int]] = []
        self.starts = [0]  # the first row of each group, and the number of all rows
        self.file_starts = [0]  # the same of each file
        for path, file in zip(self.paths, self.files, strict=True):
            names = file.schema_arrow.names
            absent = [name for name in columns if name not in names]
            if absent:
                raise ValueError(f"{path} has no column {', '.join(absent)}; it has {', '.join(names)}. {source}")
            shared &= set(names)
            for group in range(file.num_row_groups):
                self.groups.append((file, group))
                self.starts.append(self.starts[-1] + file.metadata.row_group(group).num_rows)
            self.file_starts.append(self.starts[-1])
        self.columns = [*columns, *(name for name in optional if name in shared)]
        self.loaded: tuple[int, Any] = (-1, None)  # a group's number, and its table

    def __len__(self) -> int:
        return self.starts[-1]

    def column(self, name: str) -> list[Any]:
        """All values of a column."""
        values = []
        for file in self.files:
            values += file.read(columns=[name])[name].to_pylist()
        return values

    def where(self, index: int) -> str:
        """The file of a row and its number there, for errors."""
        number = bisect_right(self.file_starts, index) - 1
        return f"{self.paths[number]}, row {index - self.file_starts[number]}"

    def __getitem__(self, index: int) -> dict[str, Any]:
        number = bisect_right(self.starts, index) - 1
        if self.loaded[0] != number:
            file, group = self.groups[number]
            self.loaded = (number, file.read_row_group(group, columns=self.columns))
        table = self.loaded[1].slice(index - self.starts[number], 1)
        folder = self.paths[bisect_right(self.file_starts, index) - 1].parent
        return {name: with_bytes(table[name][0].as_py(), folder) for name in table.column_names}


def decode(value: Any, where: str) -> Image.Image:
    """A picture as Hugging Face datasets store it, {"bytes", "path"}, or its bytes, upright. Raises ValueError."""
    data = value.get("bytes") if isinstance(value, dict) else value
    if not data:
        raise ValueError(f"{where} holds no picture.")
    return open_picture(data, where)


def decode_rgb(row: dict[str, Any], column: str, where: str) -> Image.Image:
    """The picture in a column of a row that is from `where`, as RGB. Raises ValueError."""
    return decode(row[column], f"{where}, {column}").convert("RGB")


def read_json(path: Path, kind: type, source: str) -> Any:
    """A list or an object out of a file of JSON. Raises FileNotFoundError, ValueError."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist. {source}")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, or brackets without end
        raise ValueError(f"{path} is not JSON: {error}. {source}") from error
    if not isinstance(value, kind):
        raise ValueError(f"{path} is no {'list' if kind is list else 'object'}. {source}")
    return value


def read_picture(path: Path, source: str) -> Image.Image:
    """The picture in a file, upright. Raises FileNotFoundError, ValueError for anything but a picture."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist. {source}")
    return open_picture(path)


def to_mask(picture: Image.Image, size: tuple[int, int], where: str) -> np.ndarray:
    """[H,W] bool at (width, height), nearest: brighter than half of the brightest. Raises ValueError if black."""
    brightness = np.asarray(mask_picture(picture).resize(size, Image.Resampling.NEAREST))
    if not brightness.any():
        raise ValueError(f"{where} is an empty mask at {size[0]}x{size[1]} px.")
    return brightness > brightness.max() / 2


def cut_out(picture: Image.Image, mask: np.ndarray) -> tuple[Image.Image, np.ndarray]:
    """The part of a picture in the box of a mask [H,W], and of that mask: an object picture from a target."""
    x0, y0, x1, y1 = box = array_box(mask)
    return picture.crop(box), mask[y0:y1, x0:x1]
