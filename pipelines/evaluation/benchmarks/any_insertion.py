"""AnyInsertion's mask-free (text-prompt) test pairs of objects, of Insert Anything, arXiv 2504.15009.

The publishers' mask-prompt files have id, split, category, ref_image, ref_mask, tar_image, tar_mask. Those of the
text-prompt files could not be checked here; they are read as the same with the scene before insertion in src_image,
tar_mask optional, and text or prompt a caption of the target. The error for other columns lists those that are there.
"""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image

from ..cases import Benchmark, Case
from .files import Rows, decode, to_mask

SOURCE = (
    "Needed are the text-prompt parquet files of the Hugging Face data set WensongSong/AnyInsertion_V1, anywhere under "
    "the given folder."
)
ABOUT = (
    "AnyInsertion's mask-free test pairs of the category object. They are few (16 published): intervals are wide, and "
    "a distance between sets says nothing."
)
OPTIONAL = ("ref_mask", "tar_mask", "text", "prompt")


def read_any_insertion(folder: Path) -> Benchmark:
    """The test pairs under a folder. Raises FileNotFoundError, ValueError."""
    needed = ("id", "split", "category", "ref_image", "src_image", "tar_image")
    rows = Rows(folder, "**/*.parquet", needed, OPTIONAL, SOURCE)
    kinds = list(zip(rows.column("split"), rows.column("category"), strict=True))
    chosen = [index for index, kind in enumerate(kinds) if kind == ("test", "object")]
    if not chosen:
        raise ValueError(f"{rows.paths[0]} has no test row of category object; it has {sorted(set(kinds))}. {SOURCE}")
    ids = rows.column("id")
    names = tuple(re.sub(r"[^A-Za-z0-9._-]+", "_", str(ids[index])).strip("_.-") for index in chosen)

    def read(index: int) -> Case:
        row, where = rows[chosen[index]], rows.where(chosen[index])
        pictures = (decode(row[name], f"{where}, {name}") for name in ("src_image", "ref_image", "tar_image"))
        scene, pictured, target = (picture.convert("RGB") for picture in pictures)
        scene = scene.resize(target.size, Image.Resampling.BICUBIC) if scene.size != target.size else scene
        mask = _mask(row, "tar_mask", target.size, where)
        shape = _mask(row, "ref_mask", pictured.size, where)
        shapes = () if shape is None else (shape,)
        caption = row.get("text") or row.get("prompt") or ""
        return Case(names[index], scene, (pictured,), target, mask, shapes, caption=caption)

    return Benchmark("anyinsertion", ABOUT, names, read)


def _mask(row, name: str, size: tuple[int, int], where: str):
    return to_mask(decode(row[name], f"{where}, {name}"), size, f"{where}, {name}") if row.get(name) else None
