"""Building a data set: plan, units that are not done yet, sum."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import pyarrow.parquet as pq

from ..output_folders import LOCK, locked
from ..whole_files import remove_parts
from .plan import Plan, Unit, make_plan
from .report import Report, contact_sheet
from .settings import BUILD, FORMAT, STATISTICS, BuildSettings
from .shards import GROUP, TRAIN, VALIDATION, read_report, whole_file

BAD_ROWS = "bad_rows.jsonl"
SHEET = "contact_sheet.jpg"
CARD = "README.md"
Progress = Callable[[int, int], None]  # rows done, rows of all


class Runner(Protocol):
    """Calls `build_unit` with every unit, in whatever order and place, and yields the rows of each as it ends."""

    def __call__(self, units: Sequence[Unit], folder: Path, settings: BuildSettings, builder: str) -> Iterator[int]: ...


def build(
    rows: str,
    masks: str | None,
    folder: Path,
    settings: BuildSettings,
    run: Runner,
    split: str = "train",
    progress: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """Build a data set into `folder`, going on where an earlier call was stopped; returns its statistics.

    Raises FileNotFoundError for sources that are not there, ValueError for sources or a folder that cannot be used,
    OSError for a full disk or a network that fails.
    """
    for source in filter(None, (rows, masks)):
        if Path(source).is_dir() and folder.resolve().is_relative_to(Path(source).resolve()):
            raise ValueError(
                f"{folder} lies within {source}: what is built would be read as a source. Choose another folder."
            )
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        plan = make_plan(rows, masks, split, settings)
        builder = _claim(folder, settings, plan)
        missing = [unit for unit in plan.units if read_report(folder, unit.number) is None]
        total = sum(map(len, plan.units))
        done = total - sum(map(len, missing))
        progress(done, total)
        if missing:
            (folder / STATISTICS).unlink(missing_ok=True)  # it says that the data set is complete
            for count in run(missing, folder, settings, builder):
                done += count
                progress(done, total)
        return _finish(folder, plan, builder, settings)


def _claim(folder: Path, settings: BuildSettings, plan: Plan) -> str:
    """The fingerprint of settings and sources, written into a new folder and compared with an old one's."""
    builder = f"{FORMAT}-{sha256(repr((settings, plan.sources)).encode()).hexdigest()[:12]}"
    facts = {"builder": builder, "settings": asdict(settings), "sources": plan.sources}
    facts = json.loads(json.dumps(facts))  # as they will be read
    path = folder / BUILD
    if path.exists():
        before = _read_facts(path)
        remove_parts(folder)
        if before != facts:
            raise ValueError(
                f"{folder} holds a data set that was built otherwise ({_difference(before, facts)}). Choose another "
                "folder, or the settings and sources it was begun with."
            )
        return builder
    strangers = {entry.name for entry in folder.iterdir() if not entry.name.startswith(f"{BUILD}.")} - {LOCK}
    if strangers:
        raise ValueError(f"{folder} is not empty ({min(strangers)}) and no data set. Choose another folder.")
    with whole_file(path) as part:
        part.write_text(json.dumps(facts, indent=1, ensure_ascii=False), encoding="utf-8")
    return builder


def _read_facts(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if not all(isinstance(facts[name], dict) for name in ("settings", "sources")):
            raise ValueError("settings and sources must be tables")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}). Build into another folder, or delete this one.") from error
    return facts


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """What two builds do not have in common, for people."""
    differences = []
    for name, value in now["settings"].items():
        if before["settings"].get(name) != value:
            differences.append(f"{name} was {before['settings'].get(name)}, is {value}")
    for side in ("rows", "masks"):
        if before["sources"].get(side) != now["sources"].get(side):
            differences.append(f"other files of {side}")
    return "; ".join(differences) or "by another version"


def _finish(folder: Path, plan: Plan, builder: str, settings: BuildSettings) -> dict[str, Any]:
    """Add up the reports of all units; the statistics are written last."""
    report = Report()
    shards = {TRAIN: 0, VALIDATION: 0}
    with whole_file(folder / BAD_ROWS) as part, open(part, "w", encoding="utf-8") as lines:
        lines.writelines(map(_line, plan.bad_masks))
        for unit in plan.units:
            content = read_report(folder, unit.number)
            if content is None:
                raise OSError(f"unit {unit.number} vanished while it was added up")
            report.add(Report.from_json(content))
            lines.writelines(map(_line, content["bad"]))
            for name in content["shards"]:
                shards[name.split("/")[0]] += 1
    with whole_file(folder / SHEET) as part:
        contact_sheet(_example(folder, shard, row) for _, shard, row in report.examples).save(part, "JPEG", quality=90)
    splits = [split for split, count in shards.items() if count] or [TRAIN]  # without any, JSON is taken for data
    with whole_file(folder / CARD) as part:
        part.write_text(card(plan.sources, splits), encoding="utf-8")
    reasons = Counter(bad["reason"] for bad in plan.bad_masks)
    statistics = {"builder": builder, "rows": report.rows, **report.tables(), "masks": dict(sorted(reasons.items()))}
    with whole_file(folder / STATISTICS) as part:
        part.write_text(json.dumps(statistics, indent=1, ensure_ascii=False), encoding="utf-8")
    return statistics


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


def _example(folder: Path, shard: str, row: int) -> dict[str, Any]:
    with pq.ParquetFile(folder / shard) as file:
        columns = ["scene", "target", "object", "mask"]
        return file.read_row_group(row // GROUP, columns).slice(row % GROUP, 1).to_pylist()[0]


def card(sources: dict[str, list[tuple[str, ...]]], splits: list[str]) -> str:
    """The data set's card, in which Hugging Face datasets look up which files are which split."""
    files = "".join(f"  - split: {split}\n    path: {split}/*.parquet\n" for split in splits)
    count = " and ".join(f"{len(known)} files of {side}" for side, known in sources.items())
    return (
        f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}---\n\n"
        "# Triplets: scene, scene with the object, picture of the object\n\n"
        f"Made by `visual-insertion build-dataset` of {count}. See statistics.json and bad_rows.jsonl. "
        "The licence is that of the sources (PIPE and PIPE_Masks: CC BY 4.0).\n"
    )
