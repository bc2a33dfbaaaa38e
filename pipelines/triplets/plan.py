"""The join of rows and masks by (img_id, ann_id), before any picture is read, and the units of work it gives.

Only key columns are read. Whatever the order of either side, a unit knows where the mask of each of its rows is.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
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
        for row in read_rows(self.place, list(self.columns.values()), self.group, self.start, self.stop):
            ours = {name: row[theirs] for name, theirs in self.columns.items()}
            yield {**ours, **{key: _text(ours.get(key)) for key in (*KEYS, *TEXTS)}}

    def read_masks(self) -> list[Any]:
        """The mask of each row, as stored; None where there is none."""
        found: list[Any] = [None] * len(self)
        for picks in self.masks or ():
            order = np.argsort(picks.rows, kind="stable")
            rows, places, next_one = picks.rows[order], picks.places[order], 0
            first, last = int(rows[0]), int(rows[-1]) + 1
            for number, row in enumerate(read_rows(picks.place, ["mask"], picks.group, first, last), first):
                while next_one < len(rows) and rows[next_one] == number:
                    found[places[next_one]] = row["mask"]
                    next_one += 1
        return found


@dataclass
class Plan:
    """All units, what the sources are, and what the join found wrong with the masks."""

    units: list[Unit]
    sources: dict[str, list[tuple[str, ...]]]  # side -> name, digest of layout and digest of keys of each file
    bad_masks: list[dict[str, Any]] = field(default_factory=list)


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else str(value)


def _look(source: str, split: str, each: Callable[..., Iterable[SourceFile]]) -> list[SourceFile]:
    places = find(source, split)
    return list(each(look, places, names(places)))


def _columns(files: Sequence[SourceFile], source: str) -> tuple[dict[str, str], bool]:
    """Our names -> the files', and whether the rows are PIPE's. Raises ValueError for another schema."""
    for file in files:
        for pictures, keys in ((PIPE, KEYS), (RELEASED, KEYS[:1])):
            if not {*pictures.values(), *keys} - {*file.schema.names}:
                break
        else:
            raise ValueError(
                f"{file.place} has the columns {', '.join(file.schema.names)}: neither those of PIPE (source_img, "
                "target_img, img_id, ann_id) nor those of a triplet set (original_image, target_image, object_image, "
                "img_id)."
            )
        if {*file.schema.names} != {*files[0].schema.names}:
            raise ValueError(f"{file.place} and {files[0].place} of {source} have different columns.")
        _check_pictures(file, pictures.values())
    known = {**pictures, **{name: name for name in (*keys, *TEXTS) if name in files[0].schema.names}}
    return known, pictures is PIPE


def _check_pictures(file: SourceFile, columns: Iterable[str]) -> None:
    for column in columns:
        kind = file.schema.field(column).type
        if not pa.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
            raise ValueError(
                f"{file.place}: the column {column} is {kind}, but pictures must be as Hugging Face datasets store "
                "them: struct<bytes: binary, path: string>."
            )


def _keys(
    files: Sequence[SourceFile], columns: list[str], each: Callable[..., Iterable[Any]]
) -> tuple[pd.DataFrame, list[tuple[str, ...]]]:
    """One line per row of all files, img_id and ann_id as text, missing where they are; and what each file is known by.

    That is its name, the digest of its layout, and one of these keys.
    """
    import pandas as pd

    tables = each(lambda file: read_columns(file.place, columns), files)
    texts = [pd.DataFrame({name: table[name].cast(pa.string()).to_pandas() for name in columns}) for table in tables]
    digests = [sha256(str(text.to_json(orient="values")).encode()).hexdigest()[:16] for text in texts]
    known = [(file.name, file.digest, digest) for file, digest in zip(files, digests, strict=True)]
    return pd.concat(texts, ignore_index=True), known


class _Groups:
    """The row groups of several files on end: which one a row is in."""

    def __init__(self, files: Sequence[SourceFile]):
        self.of = [(file, group) for file in files for group in range(len(file.groups))]
        self.ends = np.cumsum([file.groups[group] for file, group in self.of])

    def split(self, rows: Integers, places: Integers) -> tuple[Picks, ...]:
        """Rows of the whole, by row group; `places` go along."""
        groups = np.searchsorted(self.ends, rows, side="right")
        picks = []
        for number in np.unique(groups).tolist():
            (file, group), here = self.of[number], groups == number
            first = self.ends[number] - file.groups[group]
            picks.append(Picks(file.place, group, rows[here] - first, places[here]))
        return tuple(picks)

    def name(self, row: int) -> dict[str, Any]:
        """Where a row is, for people."""
        number = int(np.searchsorted(self.ends, row, side="right"))
        file, group = self.of[number]
        before = sum(file.groups[:group])
        return {"file": file.name, "row": int(row - self.ends[number] + file.groups[group] + before)}


def _join(rows: pd.DataFrame, masks: pd.DataFrame, where: _Groups, whole: bool) -> tuple[Integers, list[dict]]:
    """The row of the mask of each row, or -1; and what is wrong with masks: second ones of a key, those of no row."""
    complete = masks.notna().all(axis=1)
    second = masks.duplicated(KEYS) & complete
    usable = masks[complete & ~second].assign(mask=lambda found: found.index)
    mask_of = rows.merge(usable, how="left", on=KEYS)["mask"].fillna(-1).to_numpy(np.int64)
    reasons = {"mask without a key": ~complete, "second mask of this key, not used": second}
    if whole:
        taken = np.zeros(len(masks), dtype=bool)
        taken[mask_of[mask_of >= 0]] = True
        reasons["mask of no row"] = complete & ~second & ~taken
    bad = []
    for reason, those in reasons.items():
        named = masks[those].fillna("?")
        for number, *keys in named.itertuples(name=None):
            key = ":".join(keys)
            bad.append({"side": "masks", **where.name(number), "id": key, "reason": reason, "detail": ""})
    return mask_of, bad


def make_plan(rows: str, masks: str | None, split: str, settings: BuildSettings) -> Plan:
    """Units of the rows of a source, joined with masks if it is PIPE.

    Raises FileNotFoundError where there are no files, ValueError for files of other columns.
    """
    with ThreadPoolExecutor(READERS) as readers:
        files = _look(rows, split, readers.map)
        columns, is_pipe = _columns(files, rows)
        if is_pipe and not masks:
            raise ValueError(f"{rows} holds rows of PIPE, which say nothing of where the object is. Give its masks.")
        if masks and not is_pipe:
            raise ValueError(f"{rows} brings pictures of the objects itself; there is nothing to do for {masks}.")
        keys, known = _keys(files, [key for key in KEYS if key in columns], readers.map)
        keys, plan = keys.head(settings.limit or sys.maxsize), Plan([], {"rows": known})
        mask_of, groups = None, None
        if masks:
            mask_files = _look(masks, split, readers.map)
            groups = _Groups(mask_files)
            for file in mask_files:
                if missing := {"mask", *KEYS} - {*file.schema.names}:
                    raise ValueError(f"{file.place} is not a file of masks: it has no column {min(missing)}.")
                _check_pictures(file, ["mask"])
            mask_keys, plan.sources["masks"] = _keys(mask_files, KEYS, readers.map)
            mask_of, plan.bad_masks = _join(keys, mask_keys, groups, settings.limit is None)
    copies = keys.groupby(list(keys.columns), dropna=False).cumcount().to_numpy(np.int64)
    for file, group, first, start, stop, offset in _cuts(files, len(keys), settings.unit_rows):
        here, picks = slice(offset + start, offset + stop), None
        if mask_of is not None and groups is not None:
            places = np.flatnonzero(mask_of[here] >= 0)
            picks = groups.split(mask_of[here][places], places)
        number, copied = len(plan.units), copies[here]
        unit = Unit(number, file.place, file.name, columns, group, first, start, stop, copied, picks)
        plan.units.append(unit)
    return plan


def _cuts(files: Sequence[SourceFile], rows: int, size: int) -> Iterator[tuple[SourceFile, int, int, int, int, int]]:
    """The first `rows` rows in pieces of at most `size`, none across row groups.

    Gives file, row group, number in the file of the group's first row, start and stop in the group, and number in all
    files of the group's first row.
    """
    offset = 0
    for file in files:
        first = 0
        for group, count in enumerate(file.groups):
            there = min(count, rows - offset)
            for start in range(0, there, size):
                yield file, group, first, start, min(start + size, there), offset
            first, offset = first + count, offset + count
