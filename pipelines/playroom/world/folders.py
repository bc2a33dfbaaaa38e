"""Playroom pictures as folders: triplets for visually guided insertion, pictures with a box for Paint by Example."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from ...output_folders import claim
from ...triplets.folder import METADATA
from ...whole_files import write_text
from .rooms import SIZE
from .triplets import make_triplet


def write_folder(folder: Path, seeds: range, views: int) -> Path:
    """Write the triplets of these seeds, as `triplets.folder` reads them; returns the index."""

    def row(seed: int) -> dict[str, Any]:
        triplet = make_triplet(seed, views)
        stem = f"{seed:09d}"
        objects = {f"{stem}_object{n}.png": view for n, view in enumerate(triplet.objects)}
        pictures = {f"{stem}_scene.png": triplet.scene, f"{stem}_target.png": triplet.target, **objects}
        for name, picture in pictures.items():
            Image.fromarray(np.asarray(picture)).save(folder / name)
        files = {"scene_file_name": f"{stem}_scene.png", "target_file_name": f"{stem}_target.png"}
        return {"id": stem, **files, "object_file_names": list(objects)}

    return _write(folder, seeds, row)


def write_box_folder(folder: Path, seeds: range) -> Path:
    """Write the scenes with their toy of these seeds, and its box, as `paint_by_example.training` reads them.

    Returns the index.
    """

    def row(seed: int) -> dict[str, Any]:
        triplet = make_triplet(seed, views=1)
        name = f"{seed:09d}.png"
        Image.fromarray(triplet.target).save(folder / name)
        x0, y0, x1, y1 = np.clip(triplet.box, 0, SIZE).round(2).tolist()
        box = [x0, y0, round(x1 - x0, 2), round(y1 - y0, 2)]
        return {"file_name": name, "objects": {"bbox": [box], "category": [triplet.toy.shape]}}

    return _write(folder, seeds, row)


def _write(folder: Path, seeds: range, row: Callable[[int], dict[str, Any]]) -> Path:
    """Write what `row` makes of each seed, and the index last: until it is there, the folder holds no data set.

    Raises ValueError for a folder that holds anything but such a set.
    """
    claim(folder, "set of toy pictures")
    (folder / METADATA).unlink(missing_ok=True)
    lines = [json.dumps(row(seed)) for seed in tqdm(seeds, desc=folder.name, unit="row")]
    write_text(folder / METADATA, "\n".join(lines) + "\n")
    return folder / METADATA
