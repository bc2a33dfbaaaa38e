"""Rendered triplets on disk: shards of arrays, resumable, the same for any number of workers."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from ...whole_files import whole
from .toys import PATTERNS, SHAPES
from .triplets import make_triplet

SHARD = 500  # triplets per file
HELD_OUT_SEED = 900_000_000  # seeds from here on are never trained on: validation first, then test
VALIDATION_SEEDS = range(HELD_OUT_SEED, HELD_OUT_SEED + 256)
TEST_SEEDS = range(HELD_OUT_SEED + 1000, HELD_OUT_SEED + 1256)

Arrays = dict[str, np.ndarray]


def render_arrays(seeds: range, views: int) -> Arrays:
    """Triplets of these seeds as stacked arrays; pictures uint8 NHWC, masks bool NHW, labels as indices."""
    columns: dict[str, list] = {}
    for seed in seeds:
        t = make_triplet(seed, views)
        row = dict(
            scene=t.scene,
            target=t.target,
            objects=t.objects,
            objects_mask=t.objects_mask,
            object_mask=t.object_mask,
            effect_mask=t.effect_mask,
            support=t.support,
            box=np.array(t.box, np.float32),
            shape=SHAPES.index(t.toy.shape),
            pattern=PATTERNS.index(t.toy.pattern),
            colour=t.toy.colour,
            accent=t.toy.accent,
        )
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    return {name: np.stack([np.asarray(v) for v in values]) for name, values in columns.items()}


def _shard_path(folder: Path, seeds: range, views: int) -> Path:
    return folder / f"triplets-{seeds.start:09d}-{len(seeds)}-{views}.npz"


def _render_shard(seeds: range, folder: Path, views: int) -> Path:
    path = _shard_path(folder, seeds, views)
    if not path.exists():
        arrays = render_arrays(seeds, views)
        with whole(path) as part, open(part, "wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
    return path


def render(
    folder: Path,
    seeds: range,
    views: int = 2,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Render the shards that are not there yet and return all their paths in order of seed.

    `progress(done, total)` is called after each shard. An interrupted call leaves whole shards only.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shards = [range(s, min(s + SHARD, seeds.stop)) for s in range(seeds.start, seeds.stop, SHARD)]
    paths = []
    with ProcessPoolExecutor(workers or os.cpu_count()) as pool:
        for path in pool.map(partial(_render_shard, folder=folder, views=views), shards):
            paths.append(path)
            if progress:
                progress(len(paths), len(shards))
    return paths


def load(paths: list[Path], columns: tuple[str, ...]) -> Arrays:
    """The named columns of several shards, concatenated."""
    parts: dict[str, list] = {name: [] for name in columns}
    for path in paths:
        with np.load(path) as shard:
            for name in columns:
                parts[name].append(shard[name])
    return {name: np.concatenate(values) for name, values in parts.items()}
