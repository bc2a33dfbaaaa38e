"""Rendered shards encoded for training: one file of tensors for each shard, made once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ..training.columns import encoded_shard


def encode_shards(
    shards: list[Path],
    folder: Path,
    encode_one: Callable[[Path], dict[str, Tensor]],
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Tensor]:
    """The columns of all shards, concatenated; what is not in `folder` yet, `encode_one` makes of the shard's path.

    `progress(done, total)` is called after each shard. An interrupted call leaves whole files only.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for shard in shards:
        parts.append(encoded_shard(folder / f"{shard.stem}.safetensors", partial(encode_one, shard)))
        if progress:
            progress(len(parts), len(shards))
    columns = {}
    for name in parts[0]:
        columns[name] = torch.cat([part[name] for part in parts])
    return columns
