"""A folder of pictures of one object: cut-outs, or pictures with boxes.

Where the object is, says the first of these that there is for a picture: its line in a `metadata.jsonl` (its first
`objects.bbox`, [x, y, width, height] in px, as in Hugging Face's image folders), a text file of its name beside it or
in `bbox/` or, for a folder NAME, in NAME_bbox/ or `bbox/` beside it, for `reg_data` in `reg_bbox` beside it ("x0 y0 x1
y1" in px, as InsertSet has them), the picture's alpha. Without any the picture is all object.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...pictures.box_files import Corners, read_corners, whole_box, with_area
from ...pictures.boxes import Box
from ...pictures.files import picture_tensor
from ...pictures.folder import METADATA, read_metadata
from ...pictures.opening import open_picture
from .views import View, make_view

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".avif")
DATA = "data"  # ends the names of InsertSet's folders of pictures; those of their boxes end in bbox instead
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
    absent = sorted(listed.keys() - {path.name for path in paths})
    if absent:
        raise ValueError(f"{folder / METADATA} tells of {absent[0]}, and the folder has no such picture.")
    views = []
    for path in paths:
        corners = listed.get(path.name) or _written(path)
        box = None if corners is None else _truncated(corners) if truncated else whole_box(corners)
        views.append(make_view(picture_tensor(open_picture(path, deep=True)), None, box, str(path)))
    return ViewsFolder(paths, views)


def _listed(row: dict[str, Any]) -> tuple[str, Corners]:
    boxes = row["objects"]["bbox"]
    if not boxes:
        raise ValueError("it has no box")
    x, y, width, height = (float(side) for side in boxes[0])
    return row["file_name"], with_area((x, y, x + width, y + height))


def _written(picture: Path) -> Corners | None:
    """The box in the text file of a picture's name; None without one. Raises ValueError naming a bad one."""
    folder = picture.parent
    beside = f"{folder.name.removesuffix(DATA)}bbox" if folder.name.endswith(DATA) else "bbox"
    for place in (folder, folder / "bbox", folder.parent / f"{folder.name}_bbox", folder.parent / beside):
        path = place / f"{picture.stem}.txt"
        if path.is_file():
            break
    else:
        return None
    return read_corners(path)


def _truncated(box: Corners) -> Box:
    x0, y0, x1, y1 = map(int, box)
    return (x0, y0, x1, y1)
