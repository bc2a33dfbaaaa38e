"""A folder of pictures of one object: cut-outs, or pictures with boxes.

Where the object is, says the first of these that there is for a picture: its line in a `metadata.jsonl` (its first
`objects.bbox`, [x, y, width, height] in px, as in Hugging Face's image folders), a text file of its name beside it or
in `bbox/` or, for a folder NAME, in NAME_bbox/ or `bbox/` beside it ("x0 y0 x1 y1" in px, as InsertSet has them), the
picture's alpha. Without any the picture is all object.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...pictures.boxes import Box
from ...pictures.files import picture_tensor
from ...pictures.folder import METADATA, read_metadata
from ...pictures.opening import open_picture
from .views import View, make_view

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".avif")
Corners = tuple[float, float, float, float]  # x0, y0, x1, y1 in px, perhaps between pixels
LAYOUT = "It says where the object is in a folder's pictures: one JSON object per line, with file_name and objects."


@dataclass(frozen=True)
class ViewsFolder:
    """The pictures of a folder as views, in the order of their names."""

    paths: list[Path]
    views: list[View]


def read_views(folder: Path, *, truncated: bool = False) -> ViewsFolder:
    """The views in a folder. Boxes between pixels are rounded outwards or, `truncated`, towards zero on every side.

    Raises FileNotFoundError for no folder or no picture, ValueError naming a bad file.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder. Put three to five pictures of the object into one.")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise FileNotFoundError(f"{folder} has no picture of the object. Three to five are good, one is enough.")
    listed: dict[str, Corners] = {}
    if (folder / METADATA).is_file():
        rows = read_metadata(folder, _listed, kind="a picture with a box", layout=LAYOUT)
        listed = dict(rows.values())
    views = []
    for path in paths:
        corners = listed.get(path.name) or _written(path)
        box = None if corners is None else _truncated(corners) if truncated else _outwards(corners)
        views.append(make_view(picture_tensor(open_picture(path, deep=True)), None, box, str(path)))
    return ViewsFolder(paths, views)


def _listed(row: dict[str, Any]) -> tuple[str, Corners]:
    boxes = row["objects"]["bbox"]
    if not boxes:
        raise ValueError("it has no box")
    x, y, width, height = (float(side) for side in boxes[0])
    return row["file_name"], _checked((x, y, x + width, y + height))


def _written(picture: Path) -> Corners | None:
    """The box in the text file of a picture's name; None without one. Raises ValueError naming a bad one."""
    folder = picture.parent
    for place in (folder, folder / "bbox", folder.parent / f"{folder.name}_bbox", folder.parent / "bbox"):
        path = place / f"{picture.stem}.txt"
        if path.is_file():
            break
    else:
        return None
    try:
        x0, y0, x1, y1 = (float(side) for side in path.read_text(encoding="utf-8").split())
        return _checked((x0, y0, x1, y1))
    except ValueError as error:
        raise ValueError(f"{path} holds no box: it should be four numbers of pixels, x0 y0 x1 y1 ({error}).") from error


def _checked(box: Corners) -> Corners:
    if not all(map(math.isfinite, box)) or box[2] <= box[0] or box[3] <= box[1]:
        raise ValueError(f"the box {box} has no area")
    return box


def _outwards(box: Corners) -> Box:
    x0, y0, x1, y1 = box
    return (math.floor(x0), math.floor(y0), math.ceil(x1), math.ceil(y1))


def _truncated(box: Corners) -> Box:
    x0, y0, x1, y1 = map(int, box)
    return (x0, y0, x1, y1)
