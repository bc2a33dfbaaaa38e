"""Rows of parquet files, and pictures out of files and rows; errors name the file, the row and the column."""

from __future__ import annotations

import io
from bisect import bisect_right
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ...pictures.files import open_picture


class Rows:
    """The rows of parquet files, one row group in memory at a time."""

    def __init__(self, folder: Path, pattern: str, columns: tuple[str, ...], optional: tuple[str, ...], source: str):
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
        for path, file in zip(self.paths, self.files, strict=True):
            if absent := [name for name in columns if name not in file.schema_arrow.names]:
                raise ValueError(
                    f"{path} has no column {', '.join(absent)}; it has {', '.join(file.schema_arrow.names)}. {source}"
                )
        shared = set.intersection(*(set(file.schema_arrow.names) for file in self.files))
        self.columns = [*columns, *(name for name in optional if name in shared)]
        groups = [(file, group) for file in self.files for group in range(file.num_row_groups)]
        self.groups = groups
        self.starts = np.cumsum([0] + [file.metadata.row_group(group).num_rows for file, group in groups]).tolist()
        self.file_starts = np.cumsum([0] + [file.metadata.num_rows for file in self.files]).tolist()
        self.loaded: tuple[int, Any] = (-1, None)

    def __len__(self) -> int:
        return self.starts[-1]

    def column(self, name: str) -> list[Any]:
        """All values of a column."""
        return [value for file in self.files for value in file.read(columns=[name])[name].to_pylist()]

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
        return {name: table[name][0].as_py() for name in table.column_names}


def decode(value: Any, where: str) -> Image.Image:
    """A picture as Hugging Face datasets store it, {"bytes", "path"}, or its bytes, upright. Raises ValueError."""
    data = value.get("bytes") if isinstance(value, dict) else value
    if not data:
        raise ValueError(f"{where} holds no picture.")
    try:
        return ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"{where} is not a readable picture: {error}") from error


def read_picture(path: Path, source: str) -> Image.Image:
    """The picture in a file, upright. Raises FileNotFoundError, ValueError for anything but a picture."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist. {source}")
    return ImageOps.exif_transpose(open_picture(path))


def to_mask(picture: Image.Image, size: tuple[int, int], where: str) -> np.ndarray:
    """[H,W] bool at (width, height), nearest: brighter than half of the brightest. Raises ValueError if black."""
    seen = np.asarray(picture.convert("L").resize(size, Image.Resampling.NEAREST))
    if not seen.any():
        raise ValueError(f"{where} is an empty mask at {size[0]}x{size[1]} px.")
    return seen > seen.max() / 2


def cut_out(picture: Image.Image, mask: np.ndarray, box: tuple[int, int, int, int]) -> tuple[Image.Image, np.ndarray]:
    """The part of a picture in a box, and of its mask: an object picture from a target."""
    x0, y0, x1, y1 = box
    return picture.crop(box), mask[y0:y1, x0:x1]
