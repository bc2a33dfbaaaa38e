"""Playroom triplets as a folder of pictures, as `visual_insertion.triplet_folder` reads it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from ..visual_insertion.training.triplet_folder import METADATA
from .triplets import make_triplet


def write_folder(folder: Path, seeds: range, views: int) -> Path:
    """Write the triplets of these seeds into `folder`, the index last; returns the index."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for seed in tqdm(seeds, desc=folder.name, unit="triplet"):
        triplet, stem = make_triplet(seed, views), f"{seed:09d}"
        objects = {f"{stem}_object{n}.png": view for n, view in enumerate(triplet.objects)}
        pictures = {f"{stem}_scene.png": triplet.scene, f"{stem}_target.png": triplet.target, **objects}
        for name, picture in pictures.items():
            Image.fromarray(np.asarray(picture)).save(folder / name)
        row = {"id": stem, "scene_file_name": f"{stem}_scene.png", "target_file_name": f"{stem}_target.png"}
        lines.append(json.dumps({**row, "object_file_names": list(objects)}))
    part = folder / f"{METADATA}.part"
    part.write_text("\n".join(lines) + "\n", encoding="utf-8")
    os.replace(part, folder / METADATA)
    return folder / METADATA
