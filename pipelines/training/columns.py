"""Columns of a data set: tensors in memory, or encoded once into several files and mapped as if they were one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from ..weights.writing import save_tensors

Progress = Callable[[int, int], None]  # rows done, rows in all


class Shards:
    """Tensors of several files as if they were one; a row is read when it is asked for.

    `shards[i, j]` with index tensors [B] gives [B,...], as indexing one tensor does.
    """

    def __init__(self, parts: Sequence[Tensor]):
        self.parts = list(parts)
        self.ends = list(accumulate(len(part) for part in self.parts))
        self.shape = torch.Size((self.ends[-1], *self.parts[0].shape[1:]))

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, key: Tensor | tuple[Tensor, ...]) -> Tensor:
        first, *rest = key if isinstance(key, tuple) else (key,)
        rows = []
        for row, *inner in zip(first.tolist(), *(index.tolist() for index in rest), strict=True):
            part = bisect_right(self.ends, row)
            rows.append(self.parts[part][(row - self.ends[part], *inner)])  # counted from the part's end
        return torch.stack(rows)


Column = Tensor | Shards


def encoded_shard(path: Path, encode: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The columns of a shard, mapped from its file; where there is none, or a damaged one, `encode` makes them first.

    The file is whole or not there. Raises OSError for a full disk.
    """
    if not _readable(path):
        save_tensors(path, encode())
    return load_file(path)


def _readable(path: Path) -> bool:
    """Whether a file is there and not cut off, as one may be after a power cut."""
    try:
        with safe_open(path, framework="pt"):
            return True
    except (FileNotFoundError, SafetensorError):
        return False
