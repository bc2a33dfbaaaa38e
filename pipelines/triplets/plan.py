"""The join of rows and masks by (img_id, ann_id), before any picture is read, and the units of work it gives.

Only key columns are read. Whatever the order of either side, a unit knows where the mask of each of its rows is.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .settings import BuildSettings
from .sources import SourceFile, find, look, names, read_columns, read_rows

if TYPE_CHECKING:
    import pandas as pd

READERS = 8  # threads that read footers and keys
PIPE = {"scene": "source_img", "target": "target_img"}
RELEASED = {"scene": "original_image", "target": "target_image", "object": "object_image"}
TEXTS = ("Instruction_VLM-LLM", "Instruction_Class", "Instruction_Ref_Dataset", "object_location", "target_img_dataset")
KEYS = ["img_id", "ann_id"]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Picks:
    """Rows `rows` of a row group of masks belong to the rows `places` of a unit."""

    place: str
    group: int
    rows: Integers
    places: Integers


@dataclass(frozen=True)
class Unit:
    """Rows start...stop of a row group, and where their masks are; `first` is the number in the file of row 0."""

    number: int
    place: str
    name: str
    columns: dict[str, str]  # our name -> the file's
    group: int
    first: int
    start: int
    stop: int
    copies: Integers  # how often a row's key was seen before it
    masks: tuple[Picks, ...] | None  # None: a released set, which has no masks

    def __len__(self) -> int:
        return self.stop - self.start

    def rows(self) -> Iterator[dict[str, Any]]:
        """Its rows under our names, img_id and ann_id as text."""
        theirs = list(self.columns.values())
        for row in read_rows(self.place, theirs, group=self.group, start=self.start, stop=self.stop):
            ours = {name: row[column] for name, column in self.columns.items()}
            texts = {name: _text(ours.get(name)) for name in (*KEYS, *TEXTS)}
            yield {**ours, **texts}

    def read_masks(self) -> list[Any]:
        """The mask of each row, as stored; None where there is none."""
        masks: list[Any] = [None] * len(self)
        for picks in self.masks or ():
            places = defaultdict(list)
            for row, place in zip(picks.rows.tolist(), picks.places.tolist(), strict=True):
                places[row].append(place)
            start = min(places)
            stored = read_rows(picks.place, ["mask"], group=picks.group, start=start, stop=max(places) + 1)
            for number, row in enumerate(stored, start):
                for place in places.get(number, ()):
                    masks[place] = row["mask"]
        return masks


@dataclass(frozen=True)
class Plan:
    """All units, what the sources are, and what the join found wrong with the masks."""

    units: list[Unit]
    sources: dict[str, list[tuple[str, ...]]]  # side -> name, digest of layout and digest of keys of each file
    bad_masks: list[dict[str, Any]]


@dataclass(frozen=True)
class RowGroup:
    """A row group of a file, and the number of its first row in the file and in all files of its side."""

    file: SourceFile
    number: int
    rows: int
    first: int
    offset: int


class RowGroups:
    """The row groups of several files on end: which one a row of all files is in."""

    def __init__(self, files: Sequence[SourceFile]):
        self.groups: list[RowGroup] = []
        offset = 0
        for file in files:
            first = 0
            for number, rows in enumerate(file.groups):
                self.groups.append(RowGroup(file, number, rows=rows, first=first, offset=offset))
                first += rows
                offset += rows
        self.offsets = np.array([group.offset for group in self.groups], np.int64)

    def numbers(self, rows: Any) -> Any:
        """The number of the group of each row; groups without rows hold none."""
        return np.searchsorted(self.offsets, rows, side="right") - 1

    def where(self, row: int) -> dict[str, Any]:
        """Where a row is, for people."""
        group = self.groups[self.numbers(row)]
        return {"file": group.file.name, "row": row - group.offset + group.first}


@dataclass(frozen=True)
class Join:
    """The number among all masks of the mask of each row, or -1; and the row groups that the masks are in."""

    mask_of: Integers
    groups: RowGroups

    def picks(self, part: slice) -> tuple[Picks, ...]:
        """Where the masks of a part of the rows are."""
        masks = self.mask_of[part]
        places = np.flatnonzero(masks >= 0)
        masks = masks[places]
        numbers = self.groups.numbers(masks)
        picks = []
        for number in np.unique(numbers).tolist():
            group = self.groups.groups[number]
            inside = numbers == number
            picks.append(Picks(group.file.place, group.number, masks[inside] - group.offset, places[inside]))
        return tuple(picks)


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else str(value)


def _look(source: str, split: str, each: Callable[..., Iterable[SourceFile]]) -> list[SourceFile]:
    places = find(source, split)
    return list(each(look, places, names(places)))


def _columns(files: Sequence[SourceFile], source: str) -> dict[str, str]:
    """Our names -> the files'; rows of PIPE have no "object". Raises ValueError for another schema."""
    for file in files:
        pictures = _picture_columns(file)
        if {*file.schema.names} != {*files[0].schema.names}:
            raise ValueError(f"{file.place} and {files[0].place} of {source} have different columns.")
        _check_pictures(file, pictures.values())
    pictures = _picture_columns(files[0])
    keys = KEYS if pictures is PIPE else KEYS[:1]
    texts = [name for name in (*keys, *TEXTS) if name in files[0].schema.names]
    return {**pictures, **{name: name for name in texts}}


def _picture_columns(file: SourceFile) -> dict[str, str]:
    columns = set(file.schema.names)
    if columns.issuperset([*PIPE.values(), "img_id", "ann_id"]):
        return PIPE
    if columns.issuperset([*RELEASED.values(), "img_id"]):
        return RELEASED
    raise ValueError(
        f"{file.place} has the columns {', '.join(file.schema.names)}: neither those of PIPE (source_img, "
        "target_img, img_id, ann_id) nor those of a triplet set (original_image, target_image, object_image, "
        "img_id)."
    )


def _check_pictures(file: SourceFile, columns: Iterable[str]) -> None:
    for column in columns:
        kind = file.schema.field(column).type
        if not pa.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
            raise ValueError(
                f"{file.place}: the column {column} is {kind}, but pictures must be as Hugging Face datasets store "
                "them: struct<bytes: binary, path: string>."
            )


def _check_masks(files: Sequence[SourceFile]) -> None:
    for file in files:
        missing = {"mask", *KEYS} - {*file.schema.names}
        if missing:
            raise ValueError(f"{file.place} is not a file of masks: it has no column {min(missing)}.")
        _check_pictures(file, ["mask"])


def _read_keys(
    files: Sequence[SourceFile], columns: list[str], each: Callable[..., Iterable[pa.Table]]
) -> tuple[pd.DataFrame, list[tuple[str, ...]]]:
    """One line per row of all files, img_id and ann_id as text, missing where they are; and what each file is known by.

    That is its name, the digest of its layout, and one of these keys.
    """
    import pandas as pd

    keys = []
    known = []
    for file, table in zip(files, each(lambda file: read_columns(file.place, columns), files), strict=True):
        texts = pd.DataFrame({name: table[name].cast(pa.string()).to_pandas() for name in columns})
        digest = sha256(str(texts.to_json(orient="values")).encode()).hexdigest()[:16]
        keys.append(texts)
        known.append((file.name, file.digest, digest))
    return pd.concat(keys, ignore_index=True), known


def _join(
    rows: pd.DataFrame, masks: pd.DataFrame, groups: RowGroups, *, whole: bool
) -> tuple[Join, list[dict[str, Any]]]:
    """The join of rows and masks by their keys; and what is wrong with masks.

    That is no key, a key that another mask has, and, if the rows are the `whole` source, a key of no row.
    """
    complete = masks.notna().all(axis=1)
    repeated = masks.duplicated(KEYS) & complete
    usable = masks[complete & ~repeated]
    mask_of = rows.merge(usable.assign(mask=usable.index), how="left", on=KEYS)["mask"].fillna(-1).to_numpy(np.int64)
    problems = {"mask without a key": ~complete, "second mask of this key, not used": repeated}
    if whole:
        problems["mask of no row"] = complete & ~repeated & ~masks.index.isin(mask_of)
    bad = []
    for reason, concerned in problems.items():
        for number, *keys in masks[concerned].fillna("?").itertuples(name=None):
            bad.append({"side": "masks", **groups.where(number), "id": ":".join(keys), "reason": reason, "detail": ""})
    return Join(mask_of, groups), bad


def make_plan(rows: str, masks: str | None, split: str, settings: BuildSettings) -> Plan:
    """Units of the rows of a source, joined with masks if it is PIPE.

    Raises FileNotFoundError where there are no files, ValueError for files of other columns.
    """
    join = None
    bad_masks = []
    with ThreadPoolExecutor(READERS) as readers:
        files = _look(rows, split, readers.map)
        columns = _columns(files, rows)
        is_pipe = "object" not in columns
        if is_pipe and not masks:
            raise ValueError(f"{rows} holds rows of PIPE, which say nothing of where the object is. Give its masks.")
        if masks and not is_pipe:
            raise ValueError(f"{rows} brings pictures of the objects itself; there is nothing to do for {masks}.")
        keys, known = _read_keys(files, [key for key in KEYS if key in columns], readers.map)
        keys = keys.head(settings.limit or sys.maxsize)
        sources = {"rows": known}
        if masks:
            mask_files = _look(masks, split, readers.map)
            _check_masks(mask_files)
            mask_keys, sources["masks"] = _read_keys(mask_files, KEYS, readers.map)
            join, bad_masks = _join(keys, mask_keys, RowGroups(mask_files), whole=settings.limit is None)
    units = _units(RowGroups(files), columns, keys, join, settings.unit_rows)
    return Plan(units, sources, bad_masks)


def _units(groups: RowGroups, columns: dict[str, str], keys: pd.DataFrame, join: Join | None, size: int) -> list[Unit]:
    """The rows that `keys` has, in units of at most `size`, none across row groups."""
    copies = keys.groupby(list(keys.columns), dropna=False).cumcount().to_numpy(np.int64)
    units = []
    for group in groups.groups:
        rows = min(group.rows, len(keys) - group.offset)
        for start in range(0, rows, size):
            stop = min(start + size, rows)
            part = slice(group.offset + start, group.offset + stop)
            unit = Unit(
                number=len(units),
                place=group.file.place,
                name=group.file.name,
                columns=columns,
                group=group.number,
                first=group.first,
                start=start,
                stop=stop,
                copies=copies[part],
                masks=join.picks(part) if join else None,
            )
            units.append(unit)
    return units
