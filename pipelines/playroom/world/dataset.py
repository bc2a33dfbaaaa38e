"""Rendered triplets on disk: shards of arrays, resumable, the same for any number of workers."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from ...whole_files import whole
from .toys import PATTERNS, SHAPES, Toy
from .triplets import make_triplet

SHARD = 500  # triplets per file
HELD_OUT_SEED = 900_000_000  # seeds from here on are never trained on: validation first, then test
VALIDATION_SEEDS = range(HELD_OUT_SEED, HELD_OUT_SEED + 256)
TEST_SEEDS = range(HELD_OUT_SEED + 1000, HELD_OUT_SEED + 1256)

Arrays = dict[str, np.ndarray]


def render_arrays(seeds: range, views: int, toy: Toy | None = None) -> Arrays:
    """Triplets of these seeds as stacked arrays; pictures uint8 NHWC, masks bool NHW, labels as indices.

    All of one `toy`, or each of its own.
    """
    columns: dict[str, list] = {}
    for seed in seeds:
        triplet = make_triplet(seed, views, toy)
        own = triplet.toy
        row = dict(
            scene=triplet.scene,
            target=triplet.target,
            objects=triplet.objects,
            objects_mask=triplet.objects_mask,
            object_mask=triplet.object_mask,
            effect_mask=triplet.effect_mask,
            support=triplet.support,
            box=np.array(triplet.box, np.float32),
            shape=SHAPES.index(own.shape),
            pattern=PATTERNS.index(own.pattern),
            colour=own.colour,
            accent=own.accent,
        )
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    return {name: np.stack(values) for name, values in columns.items()}


def _render_shard(seeds: range, folder: Path, views: int) -> Path:
    path = folder / f"triplets-{seeds.start:09d}-{len(seeds)}-{views}.npz"
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
    shards = [seeds[start : start + SHARD] for start in range(0, len(seeds), SHARD)]
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
