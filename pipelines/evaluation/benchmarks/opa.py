"""OPA, composites that people found plausible: the test set's positives.

A folder with test_set.csv (fg_id, bg_id, position "[x, y, w, h]", scale, label, img_name, mask_name), foreground/
<category>/<fg_id>.jpg and mask_<fg_id>.jpg, background/<category>/<bg_id>.jpg and composite/test_set/.
"""

from __future__ import annotations

import csv
from pathlib import Path, PurePosixPath

from PIL import Image

from ..cases import Benchmark, Case
from .files import read_picture, to_mask

SOURCE = (
    "Needed is the OPA data set, unpacked (github.com/bcmi/Object-Placement-Assessment-Dataset-OPA): a folder with "
    "test_set.csv, foreground/, background/ and composite/."
)
ABOUT = (
    "OPA's plausible composites. The targets are pasted: the object picture's own pixels, no shadow, no other light. "
    "A method that does better than pasting is further from the target."
)
COLUMNS = ("fg_id", "bg_id", "label", "img_name", "mask_name")


def _inside(folder: Path, name: str) -> Path:
    """A path of the table, which starts at another root, from composite/ on. Raises ValueError."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if "composite" not in parts:
        raise ValueError(f"{folder / 'test_set.csv'} names {name}, which is not in composite/. {SOURCE}")
    return folder.joinpath(*parts[parts.index("composite") :])


def _rows(table: Path) -> list[dict[str, str]]:
    """The rows of a csv with COLUMNS. Raises ValueError."""
    rows = []
    try:
        with open(table, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            names = reader.fieldnames or ()
            if absent := [name for name in COLUMNS if name not in names]:
                raise ValueError(f"{table} has no column {', '.join(absent)}; it has {', '.join(names)}. {SOURCE}")
            for row in reader:
                if absent := [name for name in names if row[name] is None]:
                    raise ValueError(f"{table}, line {reader.line_num} is cut: no {', '.join(absent)}. {SOURCE}")
                rows.append(row)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{table} is not a csv in UTF-8: {error}. {SOURCE}") from error
    return rows


def read_opa(folder: Path) -> Benchmark:
    """The positives in a folder. Raises FileNotFoundError, ValueError."""
    table = folder / "test_set.csv"
    if not table.is_file():
        raise FileNotFoundError(f"{table} does not exist. {SOURCE}")
    rows = [row for row in _rows(table) if row["label"].strip() == "1"]
    if not rows:
        raise ValueError(f"{table} has no row with label 1. {SOURCE}")
    categories = {path.stem: path.parent.name for path in (folder / "foreground").glob("*/*.jpg")}
    unknown = [row["fg_id"] for row in rows if row["fg_id"] not in categories]
    if unknown:
        raise FileNotFoundError(
            f"{folder / 'foreground'} lacks {len(unknown)} objects, such as {unknown[0]}.jpg. {SOURCE}"
        )

    def read(index: int) -> Case:
        row = rows[index]
        category = categories[row["fg_id"]]
        objects = folder / "foreground" / category
        scene = read_picture(folder / "background" / category / f"{row['bg_id']}.jpg", SOURCE).convert("RGB")
        path, marked = _inside(folder, row["img_name"]), _inside(folder, row["mask_name"])
        target = read_picture(path, SOURCE).convert("RGB")
        scene = scene.resize(target.size, Image.Resampling.BICUBIC) if scene.size != target.size else scene
        mask = to_mask(read_picture(marked, SOURCE), target.size, str(marked))
        pictured = read_picture(objects / f"{row['fg_id']}.jpg", SOURCE).convert("RGB")
        shape_file = objects / f"mask_{row['fg_id']}.jpg"
        shape = to_mask(read_picture(shape_file, SOURCE), pictured.size, str(shape_file))
        return Case(path.stem, scene, (pictured,), target, mask, (shape,), f"Add a {category}")

    return Benchmark("opa", ABOUT, tuple(_inside(folder, row["img_name"]).stem for row in rows), read)
