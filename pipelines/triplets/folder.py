"""Triplets in a folder: scene, scene with the object, and pictures of the object; as picture files or as shards.

Picture files are laid out as the image folder of Hugging Face datasets: a `metadata.jsonl` with one object per line and
pictures beside it. `scene_file_name`, `target_file_name` and `object_file_names` (several views) are needed;
`object_mask_file_names` (white on the object) and `id` are optional. Parquet shards are those of this room.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from ..pictures.folder import METADATA, check_pictures, file_facts, read_metadata
from ..pictures.opening import PictureError, mask_picture, open_picture
from .settings import BUILD

if TYPE_CHECKING:
    from .reader import StoredPicture, StoredTriplet

LAYOUT = "A folder of triplets needs it, one JSON object per line, or parquet shards as build-dataset makes them."


@dataclass(frozen=True)
class TripletFiles:
    """Paths of one triplet; `masks` is empty or pairs up with `objects`."""

    name: str
    scene: Path
    target: Path
    objects: tuple[Path, ...]
    masks: tuple[Path, ...] = ()

    @property
    def pictures(self) -> tuple[Path, ...]:
        """All of them."""
        return (self.scene, self.target, *self.objects, *self.masks)


Triplets = Sequence["TripletFiles | StoredTriplet"]


def read_folder(folder: Path) -> Triplets:
    """The triplets of a folder; those in shards are read when they are asked for.

    Raises FileNotFoundError for a missing `metadata.jsonl` or missing pictures, ValueError for a line that is not a
    triplet; both name the file and the line. For shards see `.reader.StoredTriplets`.
    """
    listed = (folder / METADATA).is_file()
    if not listed and (any(folder.glob("*.parquet")) or (folder.parent / BUILD).is_file()):
        from .reader import StoredTriplets

        return StoredTriplets(folder)
    rows = read_metadata(folder, partial(_parse, folder=folder), kind="a triplet", layout=LAYOUT)
    check_pictures(folder, [(f"{path} (line {number})", path) for number, row in rows.items() for path in row.pictures])
    if not rows:
        raise ValueError(f"{folder / METADATA} holds no triplet.")
    return list(rows.values())


def read_index(folder: Path, *, times: bool = True) -> bytes:
    """What changes when the triplets of a folder do, or one of their pictures.

    Without `times` a copy of the folder has the same, and pictures of the same size are taken for the same.
    """
    if (folder / METADATA).is_file():
        index = folder / METADATA
        files = [path for triplet in read_folder(folder) for path in cast(TripletFiles, triplet).pictures]
    else:
        index = folder.parent / BUILD  # with the settings that made the shards
        files = sorted(folder.glob("*.parquet"))
    return repr((index.read_bytes() if index.is_file() else b"", file_facts(files, times=times))).encode()


def _parse(row: dict[str, Any], folder: Path) -> TripletFiles:
    objects = row["object_file_names"]
    masks = row.get("object_mask_file_names") or []
    lists = isinstance(objects, list) and isinstance(masks, list)
    if not lists or not objects or len(masks) not in (0, len(objects)):
        raise ValueError("'object_file_names' must be a list of at least one name, with as many masks or none")
    if not all(isinstance(name, str) for name in (row["scene_file_name"], row["target_file_name"], *objects, *masks)):
        raise ValueError("the names of files must be texts")
    return TripletFiles(
        name=str(row.get("id", row["target_file_name"])),
        scene=folder / row["scene_file_name"],
        target=folder / row["target_file_name"],
        objects=tuple(folder / name for name in objects),
        masks=tuple(folder / name for name in masks),
    )


def read_picture(path: Path | StoredPicture, mode: str | None = "RGB") -> Tensor:
    """A stored picture as [C,H,W] float32, 0..1, orientation applied; no mode is RGB, and RGBA where it has alpha.

    Raises ValueError naming a broken file.
    """
    source = path if isinstance(path, Path) else path.open().getvalue()
    try:
        upright = open_picture(source, str(path))
    except PictureError as error:
        raise ValueError(f"{error}. Take its triplet out, or fetch it anew.") from error
    if mode == "L":
        picture = mask_picture(upright)
    else:
        picture = upright.convert(mode or ("RGBA" if upright.has_transparency_data else "RGB"))
    pixels = np.asarray(picture, dtype=np.float32)
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1) / 255).movedim(-1, 0)
