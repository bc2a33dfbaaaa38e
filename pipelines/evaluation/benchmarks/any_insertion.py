"""AnyInsertion's mask-free (text-prompt) test pairs of objects, of Insert Anything, arXiv 2504.15009.

The publishers' mask-prompt files have id, split, category, ref_image, ref_mask, tar_image, tar_mask. Those of the
text-prompt files could not be checked here; they are read as the same with the scene before insertion in src_image,
tar_mask optional, and text or prompt a caption of the target. The error for other columns lists those that are there.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from ..cases import Benchmark, Case, to_size
from .files import Rows, decode, decode_rgb, to_mask

SOURCE = (
    "Needed are the text-prompt parquet files of the Hugging Face data set WensongSong/AnyInsertion_V1, anywhere under "
    "the given folder."
)
ABOUT = (
    "AnyInsertion's mask-free test pairs of the category object. They are few (16 published): intervals are wide, and "
    "a distance between sets says nothing."
)
NEEDED = ("id", "split", "category", "ref_image", "src_image", "tar_image")
OPTIONAL = ("ref_mask", "tar_mask", "text", "prompt")


def read_any_insertion(folder: Path) -> Benchmark:
    """The test pairs under a folder. Raises FileNotFoundError, ValueError."""
    rows = Rows(folder, "**/*.parquet", columns=NEEDED, optional=OPTIONAL, source=SOURCE)
    kinds = list(zip(rows.column("split"), rows.column("category"), strict=True))
    chosen = [index for index, kind in enumerate(kinds) if kind == ("test", "object")]
    if not chosen:
        raise ValueError(f"{rows.paths[0]} has no test row of category object; it has {sorted(set(kinds))}. {SOURCE}")
    ids = rows.column("id")
    names = tuple(re.sub(r"[^A-Za-z0-9._-]+", "_", str(ids[index])).strip("_.-") for index in chosen)

    def read(index: int) -> Case:
        row = rows[chosen[index]]
        where = rows.where(chosen[index])
        scene = decode_rgb(row, "src_image", where)
        object_picture = decode_rgb(row, "ref_image", where)
        target = decode_rgb(row, "tar_image", where)
        object_mask = _mask(row, "ref_mask", object_picture.size, where)
        return Case(
            names[index],
            to_size(scene, target.size),
            (object_picture,),
            target=target,
            mask=_mask(row, "tar_mask", target.size, where),
            object_masks=() if object_mask is None else (object_mask,),
            caption=row.get("text") or row.get("prompt") or "",
        )

    return Benchmark("anyinsertion", ABOUT, names, read)


def _mask(row: dict[str, Any], column: str, size: tuple[int, int], where: str) -> np.ndarray | None:
    """The mask in a column of a row, [H,W] bool at (width, height); None where there is none. Raises ValueError."""
    if not row.get(column):
        return None
    where = f"{where}, {column}"
    return to_mask(decode(row[column], where), size, where)
