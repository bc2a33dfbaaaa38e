"""Columns of a data set: tensors in memory, or mapped from several files as if they were one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor


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
