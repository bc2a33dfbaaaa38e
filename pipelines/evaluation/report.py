"""The report of a run: index.html with pictures beside it, report.json with everything, two CSV tables."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image, ImageDraw

from ..output_folders import claim, locked
from ..pictures.files import save_picture
from ..pictures.sheets import tile
from ..provenance import software
from ..whole_files import write_text
from .cases import Benchmark, Case
from .intervals import Interval, paired_interval
from .metrics import CMMD, Metric
from .placement import inserted_box
from .protocol import Table, find_results, read_result
from .tables import as_csv, as_latex, as_markdown, cells, chosen_columns, interval_of, on_a_line, over_seeds
from .vae_noise import RoundTrip

KIND = "evaluation"
PICTURES = "pictures"
GRID = "grid.png"
TABLES = ("table.csv", "table.md", "table.tex")
FILES = ("index.html", "report.json", "cases.csv", "summary.csv", *TABLES, GRID, PICTURES)  # what a report is
IN_GRID = 6  # cases, evenly spaced in the benchmark's order
LABEL = 16  # px, of a column's name in the grid
WORDS_WIDTH = 21  # letters of LABEL px in a line of what is told
PATIENCE = 600  # seconds, for another evaluation that writes its report
SHOWN = 3  # best, median and worst cases of each method
HEIGHT = 192  # px of a picture in the report
GAP = 4  # px between two of them
SORTED_BY = (
    "oracle_identity",
    "identity_dinov2_found",
    "identity_clip_found",
    "dino",
    "clip_i",
    "l1",
    "clip_dir",
    "background_l1",
)
PIECES = ("scene", "object", "target", "result", "what appeared")

Summary = dict[str, dict[str, Interval | None]]  # by method and metric


@dataclass(frozen=True)
class Strip:
    """The pictures of a case side by side, PIECES, as the report shows them for a method."""

    method: str
    rank: str  # "best", "median" or "worst"
    case: str
    value: float | None  # of the metric that chose the case; None where it has none
    file: str  # relative to the report


def summarise(table: Table) -> Summary:
    """Means and intervals by method and metric; metrics of the whole set have no interval."""
    summary: Summary = {}
    for method, row in table.values.items():
        summary[method] = {metric.name: interval_of(metric)(row[metric.name]) for metric in table.metrics}
        for name, value in table.sets.get(method, {}).items():
            summary[method][name] = Interval(value, None, None, len(table.cases))
    return summary


def compare(table: Table, against: str) -> Summary:
    """Every other method minus `against`, case by case; for ratios the difference of their logs."""
    metrics = {metric.name: metric for metric in table.metrics}
    base = table.values[against]
    differences: Summary = {}
    for method, row in table.values.items():
        if method != against:
            differences[method] = {
                name: paired_interval(on_a_line(values, metrics[name]), on_a_line(base[name], metrics[name]))
                for name, values in row.items()
            }
    return differences


def choose_cases(values: np.ndarray, better: str, count: int = SHOWN) -> dict[str, list[int]]:
    """Indices of the best, median and worst cases by values [N], fewer where there are few; NaN is the worst."""
    count = min(count, max(1, len(values) // 3))
    goodness = np.where(np.isnan(values), -np.inf, values if better != "lower" else -values)
    order = np.argsort(-goodness, kind="stable").tolist()
    middle = max(0, len(order) // 2 - count // 2)
    return {"best": order[:count], "median": order[middle : middle + count], "worst": order[::-1][:count]}


def check_names(methods: Collection[str], metrics: Collection[str], against: str | None, sort_by: str | None) -> None:
    """Raise ValueError for a method to compare with, or a metric to sort by, that is not there."""
    if against and against not in methods:
        raise ValueError(f"There is no method {against} to compare with; there are {', '.join(methods)}.")
    if sort_by and sort_by not in metrics:
        raise ValueError(f"There is no metric {sort_by} to sort by; there are {', '.join(metrics)}.")


def claim_folder(folder: Path, results: Mapping[str, Path]) -> None:
    """Make sure that a folder may get a report: nothing in it is of another origin, and no `results` lie in our way.

    Raises ValueError.
    """
    for name, results_folder in results.items():
        if results_folder.resolve().is_relative_to((folder / PICTURES).resolve()):
            raise ValueError(
                f"The results of {name} lie in {folder / PICTURES}, where the report's pictures go. Move them, or "
                "choose another --output."
            )
    claim(folder, KIND, FILES)


def write_report(
    table: Table,
    benchmark: Benchmark,
    results: Mapping[str, Path],
    folder: Path,
    settings: Mapping[str, Any],
    *,
    against: str | None = None,
    sort_by: str | None = None,
    round_trip: RoundTrip | None = None,
    runs: Mapping[str, Sequence[str]] | None = None,
    columns: Collection[str] | None = None,
) -> Path:
    """Write the report into `folder` and return the path of its index.html, the last file written.

    `runs` says which entries of `table` and `results` are runs of which method with other seeds: by default each is a
    method. A method's value of a case is the mean over its runs, its pictures are those of the first. `columns` are the
    metrics of table.csv, .md and .tex, in their order. `against` is what all others are compared with, the first method
    by default; `sort_by` the metric that chooses the pictures; `round_trip` is the one that was measured with. Raises
    ValueError for a name that is not there, and for a folder with files of another origin, OSError when another process
    writes a report there.
    """
    metrics = {metric.name: metric for metric in table.metrics}
    runs = runs or {name: (name,) for name in table.values}
    runs_table = table
    table = over_seeds(runs_table, runs)
    results = {method: results[names[0]] for method, names in runs.items()}
    check_names(table.values, metrics, against, sort_by)
    in_table = chosen_columns(table, columns)
    claim_folder(folder, results)
    against = against or next(iter(table.values))
    sort_by = sort_by or next((name for name in SORTED_BY if name in metrics), table.metrics[0].name)
    chosen = {method: choose_cases(row[sort_by], metrics[sort_by].better) for method, row in table.values.items()}
    with locked(folder, PATIENCE):
        before = _pictures_of(folder)
        strips = write_strips(table, benchmark, results, folder, chosen=chosen, sort_by=sort_by, round_trip=round_trip)
        rows = cells(runs_table, runs, in_table, against)
        texts = (as_csv(rows), as_markdown(rows, in_table, against), as_latex(rows, in_table, against))
        for name, text in zip(TABLES, texts, strict=True):
            write_text(folder / name, text)
        save_picture(draw_grid(benchmark, results), folder / GRID)
        _write_files(table, folder, settings, strips, chosen=chosen, against=against, sort_by=sort_by)
        for old in before - {strip.file for strip in strips}:
            (folder / old).unlink(missing_ok=True)
    return folder / "index.html"


def _write_files(
    table: Table,
    folder: Path,
    settings: Mapping[str, Any],
    strips: list[Strip],
    *,
    chosen: Mapping[str, Any],
    against: str,
    sort_by: str,
) -> None:
    """The files of a report but for its pictures, index.html last."""
    summary = summarise(table)
    differences = compare(table, against)
    facts = {
        "benchmark": table.benchmark,
        "about": table.about,
        "cases": list(table.cases),
        "settings": dict(settings),
        "libraries": software(),
        "metrics": {metric.name: asdict(metric) for metric in (*table.metrics, CMMD)},
        "missing": table.missing,
        "backbones_that_are_not_the_published_ones": table.inexact,
        "summary": summary,
        "against": against,
        "differences": differences,
        "sorted_by": sort_by,
        "shown": chosen,
        "pictures": [strip.file for strip in strips],
        "values": table.values,
    }
    write_text(folder / "report.json", json.dumps(_plain(facts), indent=1, ensure_ascii=False))
    write_text(folder / "cases.csv", _cases_csv(table))
    write_text(folder / "summary.csv", _summary_csv(summary))
    set_metrics = [CMMD] if table.sets else []
    page = render(
        table=table,
        summary=summary,
        best=best_values(summary, [*table.metrics, *set_metrics]),
        set_metrics=set_metrics,
        differences=differences,
        against=against,
        sort_by=sort_by,
        strips=strips,
        pieces=", ".join(PIECES),
        meanings={metric.name: metric.about for metric in (*table.metrics, CMMD)},
        settings=json.dumps(_plain(settings), indent=2, ensure_ascii=False),
    )
    write_text(folder / "index.html", page)


def _pictures_of(folder: Path) -> set[str]:
    """The pictures of the report that is there, as it names them: files of those names are ours."""
    try:
        names = json.loads((folder / "report.json").read_text(encoding="utf-8"))["pictures"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return set()
    return {f"{PICTURES}/{Path(str(name)).name}" for name in names}


def render(**values: Any) -> str:
    """The page of report.html.j2, beside this file; every value is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    return environment.get_template("report.html.j2").render(values)


def best_values(summary: Summary, metrics: Iterable[Metric]) -> dict[str, float]:
    """The best mean of any method by metric; a metric without a better end, or without a value, is left out."""
    best: dict[str, float] = {}
    for metric in metrics:
        intervals = [row.get(metric.name) for row in summary.values()]
        means = [interval.value for interval in intervals if interval]
        if means and metric.better:
            best[metric.name] = max(means) if metric.better == "higher" else min(means)
    return best


def _plain(value: Any) -> Any:
    """The same for JSON, which knows no NaN, no infinity and no arrays."""
    if isinstance(value, Interval):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


def _csv(rows: list[list[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _cases_csv(table: Table) -> str:
    """A line per case and method; empty where there is no value."""
    names = [metric.name for metric in table.metrics]
    rows = [["case", "method", *names]]
    for index, case in enumerate(table.cases):
        for method, row in table.values.items():
            values = [row[name][index] for name in names]
            rows.append([case, method, *("" if math.isnan(value) else f"{value:.6g}" for value in values)])
    return _csv(rows)


def _summary_csv(summary: Summary) -> str:
    """A line per method and metric; a missing metric has none, its reason is in report.json."""
    rows: list[list[Any]] = [["method", "metric", "mean", "low", "high", "cases"]]
    for method, row in summary.items():
        for name, interval in row.items():
            if interval:
                ends = ["" if end is None else f"{end:.6g}" for end in (interval.low, interval.high)]
                rows.append([method, name, f"{interval.value:.6g}", *ends, interval.count])
    return _csv(rows)


def write_strips(
    table: Table,
    benchmark: Benchmark,
    results: Mapping[str, Path],
    folder: Path,
    *,
    chosen: Mapping[str, Mapping[str, list[int]]],
    sort_by: str,
    round_trip: RoundTrip | None,
) -> list[Strip]:
    """Write a strip for every chosen case (indices by method and rank) into `folder`."""
    (folder / PICTURES).mkdir(exist_ok=True)
    strips = []
    for method, ranks in chosen.items():
        files = find_results(benchmark, results[method])
        ranked = [(rank, index) for rank, indices in ranks.items() for index in indices]
        for rank, index in ranked:
            case = benchmark[index]
            vae_scene = round_trip(case.scene) if round_trip else None
            strip = draw_strip(case, read_result(files[index], case.scene.size), vae_scene)
            file = f"{PICTURES}/{method}_{rank}_{case.name}.png"
            save_picture(strip, folder / file)
            value = float(table.values[method][sort_by][index])
            strips.append(Strip(method, rank, case.name, value=None if math.isnan(value) else value, file=file))
    return strips


def draw_strip(case: Case, result: Image.Image, vae_scene: Image.Image | None) -> Image.Image:
    """PIECES side by side: words where the object is told, a grey field where there is no target."""
    framed = result.copy()
    box = inserted_box(result, case.scene, vae_scene)
    if box:
        x0, y0, x1, y1 = box
        width = max(1, max(result.size) // 128)
        ImageDraw.Draw(framed).rectangle((x0, y0, x1 - 1, y1 - 1), outline=(255, 0, 128), width=width)
    target = case.target or Image.new("RGB", case.scene.size, (128, 128, 128))
    pieces = [case.scene, object_piece(case), target, result, framed]
    pieces = [piece.resize((max(1, round(piece.width * HEIGHT / piece.height)), HEIGHT)) for piece in pieces]
    return tile(pieces, columns=len(pieces), gap=GAP)


def draw_grid(benchmark: Benchmark, results: Mapping[str, Path]) -> Image.Image:
    """The same cases across all methods: scene, object, each method's result, the target where there is one.

    The cases are evenly spaced in the benchmark's order, so that nobody chose them.
    """
    chosen = sorted(set(np.linspace(0, len(benchmark) - 1, min(IN_GRID, len(benchmark))).round().astype(int).tolist()))
    files = {method: find_results(benchmark, folder) for method, folder in results.items()}
    cases = [benchmark[index] for index in chosen]
    truth = any(case.target for case in cases)
    pieces = [_label(name) for name in ("scene", "object", *results, *(["target"] if truth else []))]
    for index, case in zip(chosen, cases, strict=True):
        row = [
            case.scene,
            object_piece(case),
            *(read_result(paths[index], case.scene.size) for paths in files.values()),
        ]
        if truth:
            row.append(case.target or Image.new("RGB", case.scene.size, (128, 128, 128)))
        pieces += [fitted(piece) for piece in row]
    return tile(pieces, columns=2 + len(results) + truth, gap=GAP)


def object_piece(case: Case) -> Image.Image:
    """The first picture of a case's object, or what is told of it on a white square."""
    if case.objects:
        return case.objects[0]
    square = Image.new("RGB", (HEIGHT, HEIGHT), (255, 255, 255))
    text = fill(case.told, WORDS_WIDTH, max_lines=HEIGHT // (LABEL + LABEL // 2))
    ImageDraw.Draw(square).multiline_text((LABEL // 2, LABEL // 2), text, fill=(0, 0, 0), font_size=LABEL)
    return square


def fitted(picture: Image.Image) -> Image.Image:
    """A picture in the middle of a white square of HEIGHT px."""
    square = Image.new("RGB", (HEIGHT, HEIGHT), (255, 255, 255))
    small = picture.copy()
    scale = HEIGHT / max(picture.size)
    small = small.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))))
    square.paste(small, ((HEIGHT - small.width) // 2, (HEIGHT - small.height) // 2))
    return square


def _label(text: str) -> Image.Image:
    """A column's name on white, as wide as a picture."""
    label = Image.new("RGB", (HEIGHT, HEIGHT // 8), (255, 255, 255))
    ImageDraw.Draw(label).text((4, 4), text, fill=(0, 0, 0), font_size=LABEL)
    return label
