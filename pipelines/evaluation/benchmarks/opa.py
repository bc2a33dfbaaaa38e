"""OPA, composites that people found plausible: the test set's positives.

A folder with test_set.csv (fg_id, bg_id, position "[x, y, w, h]", scale, label, img_name, mask_name), foreground/
<category>/<fg_id>.jpg and mask_<fg_id>.jpg, background/<category>/<bg_id>.jpg and composite/test_set/.
"""

from __future__ import annotations

import csv
from pathlib import Path, PurePosixPath

from ..cases import Benchmark, Case, to_size
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
            absent = [name for name in COLUMNS if name not in names]
            if absent:
                raise ValueError(f"{table} has no column {', '.join(absent)}; it has {', '.join(names)}. {SOURCE}")
            for row in reader:
                absent = [name for name in names if row[name] is None]
                if absent:
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

    targets = [_inside(folder, row["img_name"]) for row in rows]

    def read(index: int) -> Case:
        row = rows[index]
        category = categories[row["fg_id"]]
        scene_file = folder / "background" / category / f"{row['bg_id']}.jpg"
        scene = read_picture(scene_file, SOURCE).convert("RGB")
        mask_file = _inside(folder, row["mask_name"])
        target = read_picture(targets[index], SOURCE).convert("RGB")
        objects = folder / "foreground" / category
        object_picture = read_picture(objects / f"{row['fg_id']}.jpg", SOURCE).convert("RGB")
        object_mask_file = objects / f"mask_{row['fg_id']}.jpg"
        object_mask = to_mask(read_picture(object_mask_file, SOURCE), object_picture.size, str(object_mask_file))
        return Case(
            targets[index].stem,
            to_size(scene, target.size),
            (object_picture,),
            target=target,
            mask=to_mask(read_picture(mask_file, SOURCE), target.size, str(mask_file)),
            object_masks=(object_mask,),
            instruction=f"Add a {category}",
        )

    return Benchmark("opa", ABOUT, tuple(target.stem for target in targets), read)
