"""The triplets of a folder of shards, read when they are asked for."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..pictures.opening import with_bytes
from .settings import BUILD, STATISTICS


@dataclass(frozen=True)
class StoredPicture:
    """A picture in a row of a shard: a column's, or one of a column of lists."""

    shard: Path
    row: int
    column: str
    item: int | None = None

    def __str__(self) -> str:
        return f"{self.column} of {self.shard}, row {self.row}"

    def open(self) -> io.BytesIO:
        """Its file, read from its row group alone. Raises ValueError naming a broken shard."""
        try:
            with pq.ParquetFile(self.shard, page_checksum_verification=True) as file:
                group, row = _group_of(file, self.row)
                value = file.read_row_group(group, [self.column], use_threads=False).column(0)[row]
        except (OSError, pa.ArrowException) as error:
            raise ValueError(f"{self.shard} is not a readable shard: {error}. Build the data set anew.") from error
        stored = value if self.item is None else value[self.item]
        return io.BytesIO(with_bytes(stored.as_py(), self.shard.parent)["bytes"] or b"")


def _group_of(file: pq.ParquetFile, row: int) -> tuple[int, int]:
    for group in range(file.metadata.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if row < rows:
            return group, row
        row -= rows
    raise IndexError(row)


@dataclass(frozen=True)
class StoredTriplet:
    """Where the pictures of a triplet are; `masks` is empty or pairs up with `objects`."""

    name: str
    scene: StoredPicture
    target: StoredPicture
    objects: tuple[StoredPicture, ...]
    masks: tuple[StoredPicture, ...]


class StoredTriplets(Sequence[StoredTriplet]):
    """The rows of all shards of a folder, in order; only names and counts are kept in memory.

    Raises FileNotFoundError for a folder without shards, as of a split that got no rows, ValueError for one that is no
    data set of triplets, or for a build that did not end.
    """

    def __init__(self, folder: Path):
        self.shards = sorted(folder.glob("*.parquet"))
        if (folder.parent / BUILD).exists() and not (folder.parent / STATISTICS).exists():
            raise ValueError(f"The data set in {folder.parent} is not complete. Run build-dataset again: it goes on.")
        if not self.shards:
            raise FileNotFoundError(
                f"The data set in {folder.parent} has no rows of the split '{folder.name}': {STATISTICS} counts what "
                "was kept. Build one with another --validation, the share of pictures that is held out."
            )
        self.names: list[pa.ChunkedArray] = []
        self.views: list[np.ndarray] = []
        self.masks: list[np.ndarray] = []
        for shard in self.shards:
            names, views, masks = self._index(shard)
            self.names.append(names)
            self.views.append(views)
            self.masks.append(masks)
        self.ends = list(accumulate(map(len, self.names)))

    @staticmethod
    def _index(shard: Path) -> tuple[pa.ChunkedArray, np.ndarray, np.ndarray]:
        """Names, and how many pictures of the object and of its mask there are; no picture is read."""
        try:
            with pq.ParquetFile(shard, page_checksum_verification=True) as file:
                missing = {"id", "scene", "target", "object", "object_mask"} - {*file.schema_arrow.names}
                if missing:
                    raise ValueError(f"{shard} holds no triplets: it has no column {min(missing)}.")
                table = file.read(["id", "object.list.element.path", "object_mask.list.element.path"])
        except pa.ArrowException as error:
            raise ValueError(f"{shard} is not a readable shard: {error}. Build the data set anew.") from error
        views = pc.call_function("list_value_length", [table["object"]]).to_numpy()
        masks = pc.call_function("list_value_length", [table["object_mask"]]).to_numpy()
        if (views == 0).any() or ((masks > 0) & (masks != views)).any():
            raise ValueError(f"{shard} has a row without a picture of the object, or with another number of masks.")
        return table["id"], views, masks

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, index: int) -> StoredTriplet:
        if not 0 <= index < len(self):
            raise IndexError(index)
        place = bisect_right(self.ends, index)
        shard = self.shards[place]
        row = index - self.ends[place] + len(self.names[place])
        views = range(int(self.views[place][row]))
        masks = range(int(self.masks[place][row]))
        return StoredTriplet(
            name=self.names[place][row].as_py(),
            scene=StoredPicture(shard, row, "scene"),
            target=StoredPicture(shard, row, "target"),
            objects=tuple(StoredPicture(shard, row, "object", item) for item in views),
            masks=tuple(StoredPicture(shard, row, "object_mask", item) for item in masks),
        )
