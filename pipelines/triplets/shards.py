"""A unit's rows as parquet shards, one per split, and its report, which is written last and says that it is done.

Shards are written beside their place and renamed. The bytes depend on the unit's rows and the settings alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..whole_files import whole
from .plan import TEXTS, Unit
from .report import Report
from .row import Cut, RowError, cut_released, cut_with_mask, in_validation
from .settings import BuildSettings

GROUP = 32  # rows that are read together
TRAIN = "train"
VALIDATION = "validation"


class Stopped(Exception):
    """A unit was left unfinished because all work is to stop."""


def schema() -> pa.Schema:
    """The schema of the shards, with what Hugging Face datasets read: pictures are pictures."""
    from datasets import Features, Image, List, Value

    text = Value("string")
    features = {
        "id": text,
        "scene": Image(),
        "target": Image(),
        "object": List(Image()),
        "object_mask": List(Image()),
        "mask": Image(),
        "box": List(Value("int32")),
        "img_id": text,
        "ann_id": text,
        **{name: text for name in TEXTS},
        "source_file": text,
        "source_row": Value("int64"),
        "builder": text,
    }
    return Features(features).arrow_schema


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(
            f"{path} could not be written ({error}). Free some space and start the same command again: it goes on."
        ) from error


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Where to write a file that then appears whole at `path`, or not at all. Raises OSError, saying what to do."""
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as part:
            yield part


class _Shard:
    """Rows on their way into the parquet file of `path`, which is `part` until it is whole."""

    def __init__(self, path: Path, part: Path, columns: pa.Schema):
        self.path, self.part, self.columns = path, part, columns
        self.writer: pq.ParquetWriter | None = None
        self.rows: list[dict[str, Any]] = []
        self.count = 0

    def add(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        self.count += 1
        if len(self.rows) == GROUP:
            with _writing(self.path):
                self._flush()

    def _flush(self) -> None:
        if self.writer is None:
            self.writer = pq.ParquetWriter(self.part, self.columns, write_page_checksum=True)
        self.writer.write_table(pa.Table.from_pylist(self.rows, self.columns))
        self.rows = []

    def finish(self) -> None:
        """Write what is left. Raises OSError, saying what to do."""
        with _writing(self.path):
            if self.rows:
                self._flush()
            self.close()

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()


@contextmanager
def _shard(path: Path, columns: pa.Schema) -> Iterator[_Shard]:
    """A parquet file that appears whole, when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as part:
        shard = _Shard(path, part, columns)
        try:
            yield shard
            shard.finish()
        except BaseException:
            with suppress(OSError):  # the first error is the one to tell
                shard.close()
            raise


def report_path(folder: Path, number: int) -> Path:
    """The report of a unit; it exists when the unit is done."""
    return folder / "units" / f"{number:06d}.json"


def read_report(folder: Path, number: int) -> dict[str, Any] | None:
    """What a unit wrote, or None if it is not done, its report is damaged, or a shard of it is gone or cut off."""
    try:
        content = json.loads(report_path(folder, number).read_text(encoding="utf-8"))
        Report.from_json(content)
        whole = all((folder / name).stat().st_size == size for name, size in content["shards"].items())
        whole = whole and isinstance(content["bad"], list)
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return content if whole else None


def _cut(row: dict[str, Any], mask: Any, settings: BuildSettings, *, released: bool, copy: int) -> Cut:
    for key in ("img_id",) if released else ("img_id", "ann_id"):
        if not row[key]:
            raise RowError(f"no {key}")
    if released:
        return cut_released(row, settings)
    if copy:
        raise RowError("second row of this key")
    return cut_with_mask(row, mask, settings)


def build_unit(
    unit: Unit, folder: Path, settings: BuildSettings, builder: str, stop: Callable[[], bool] = lambda: False
) -> int:
    """Write a unit's shards, then its report; returns how many rows it read.

    Raises ValueError or OSError for a source that cannot be read, OSError for a full disk, Stopped when told to.
    """
    report = Report()
    bad = []
    columns = schema()
    splits: dict[str, _Shard] = {}
    released = unit.masks is None
    with ExitStack() as written:
        for number, (row, mask) in enumerate(zip(unit.rows(), unit.read_masks(), strict=True)):
            if stop():
                raise Stopped
            report.rows += 1
            source_row = unit.first + unit.start + number
            copy = int(unit.copies[number])
            object_name = copy if released else row["ann_id"] or "?"
            name = f"{row['img_id'] or '?'}:{object_name}"
            try:
                cut = _cut(row, mask, settings, released=released, copy=copy)
            except RowError as error:
                report.drop(error.reason)
                where = {"side": "rows", "file": unit.name, "row": source_row}
                bad.append({**where, "id": name, "reason": error.reason, "detail": error.detail})
                continue
            split = VALIDATION if in_validation(row["img_id"], settings.validation) else TRAIN
            if split not in splits:
                path = folder / split / f"{unit.number:06d}.parquet"
                splits[split] = written.enter_context(_shard(path, columns))
            shard = splits[split]
            origin = {"source_file": unit.name, "source_row": source_row, "builder": builder}
            values = {**row, **cut.columns, **origin, "id": name}
            report.keep(values, cut, split=split, shard=f"{split}/{shard.path.name}", row=shard.count)
            shard.add({column: values[column] for column in columns.names})
    shards = {f"{name}/{shard.path.name}": shard.path.stat().st_size for name, shard in sorted(splits.items())}
    with whole_file(report_path(folder, unit.number)) as part:
        content = {**report.to_json(), "shards": shards, "bad": bad}
        part.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return report.rows
