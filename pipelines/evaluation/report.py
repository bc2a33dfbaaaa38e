"""The report of a run: index.html with pictures beside it, report.json with everything, two CSV tables."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Collection, Mapping
from dataclasses import asdict
from html import escape
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from ..pictures.files import save_picture
from ..whole_files import write_text
from .cases import Benchmark, Case
from .change import calibrate, find_region
from .intervals import Interval, mean_interval, paired_interval
from .metrics import CMMD
from .protocol import Restore, Table, find_results, read_result

SHOWN = 3  # best, median and worst cases of each method
HEIGHT = 192  # px of a picture in the report
SORTED_BY = ("oracle_identity", "identity_dinov2_found", "identity_clip_found", "dino", "clip_i", "l1", "background_l1")
LIBRARIES = ("torch", "torchvision", "torchmetrics", "transformers", "scipy", "numpy", "pillow")
PIECES = ("scene", "object", "target", "result", "what appeared")
STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1200px; margin: 2rem auto; padding: 0 1rem; }
h1, h2, h3 { line-height: 1.2; } h2 { margin-top: 2.5rem; }
div.wide { overflow-x: auto; } table { border-collapse: collapse; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } td.about { text-align: left; white-space: normal; opacity: .75; }
td small { display: block; opacity: .65; } .best { font-weight: 700; } .sure { background: var(--soft); }
figure { margin: .5rem 0 1.2rem; } figure img { max-width: 100%; } figcaption { font-size: .9em; opacity: .8; }
p.note { border-left: 3px solid var(--line); padding-left: .8rem; }
"""


def summarise(table: Table) -> dict[str, dict[str, Interval | None]]:
    """Means and intervals by method and metric; metrics of the whole set have no interval."""
    summary = {
        method: {metric.name: mean_interval(row[metric.name]) for metric in table.metrics}
        for method, row in table.values.items()
    }
    for method, row in table.sets.items():
        summary[method] |= {name: Interval(value, None, None, len(table.cases)) for name, value in row.items()}
    return summary


def compare(table: Table, against: str) -> dict[str, dict[str, Interval | None]]:
    """Every other method minus `against`, case by case."""
    base = table.values[against]
    return {
        method: {metric.name: paired_interval(row[metric.name], base[metric.name]) for metric in table.metrics}
        for method, row in table.values.items()
        if method != against
    }


def choose_cases(values: np.ndarray, better: str, count: int = SHOWN) -> dict[str, list[int]]:
    """Indices of the best, median and worst cases, fewer of each where there are few; no value is the worst."""
    count = min(count, max(1, len(values) // 3))
    good = np.where(np.isnan(values), -np.inf, values if better != "lower" else -values)
    order = np.argsort(-good, kind="stable")
    middle = max(0, len(order) // 2 - count // 2)
    chosen = {"best": order[:count], "median": order[middle : middle + count], "worst": order[::-1][:count]}
    return {name: [int(index) for index in indices] for name, indices in chosen.items()}


def check_names(methods: Collection[str], metrics: Collection[str], against: str | None, sort_by: str | None) -> None:
    """Raise ValueError for a method to compare with, or a metric to sort by, that is not there."""
    if against and against not in methods:
        raise ValueError(f"There is no method {against} to compare with; there are {', '.join(methods)}.")
    if sort_by and sort_by not in metrics:
        raise ValueError(f"There is no metric {sort_by} to sort by; there are {', '.join(metrics)}.")


def write_report(
    table: Table,
    benchmark: Benchmark,
    results: Mapping[str, Path],
    folder: Path,
    settings: Mapping[str, Any],
    against: str | None = None,
    sort_by: str | None = None,
    restore: Restore | None = None,
) -> Path:
    """Write the report into `folder` and return the path of its index.html, the last file written.

    `against` is what all others are compared with, the first method by default; `sort_by` the metric that chooses
    the pictures; `restore` is the one that was measured with. Raises ValueError for a name that is not there.
    """
    metrics = {metric.name: metric for metric in table.metrics}
    check_names(table.values, metrics, against, sort_by)
    folder.mkdir(parents=True, exist_ok=True)
    against = against or next(iter(table.values))
    sort_by = sort_by or next((name for name in SORTED_BY if name in metrics), table.metrics[0].name)
    summary, differences = summarise(table), compare(table, against)
    shown = {method: choose_cases(row[sort_by], metrics[sort_by].better) for method, row in table.values.items()}
    pictures = _write_pictures(benchmark, results, shown, folder, restore)
    facts = {
        "benchmark": table.benchmark,
        "about": table.about,
        "cases": list(table.cases),
        "settings": dict(settings),
        "libraries": {name: metadata.version(name) for name in LIBRARIES},
        "metrics": {metric.name: asdict(metric) for metric in (*table.metrics, CMMD)},
        "missing": table.missing,
        "backbones_that_are_not_the_published_ones": table.inexact,
        "summary": summary,
        "against": against,
        "differences": differences,
        "sorted_by": sort_by,
        "shown": shown,
        "values": table.values,
    }
    write_text(folder / "report.json", json.dumps(_plain(facts), indent=1, ensure_ascii=False))
    write_text(folder / "cases.csv", _cases_csv(table))
    write_text(folder / "summary.csv", _summary_csv(table, summary))
    page = _page(table, summary, differences, against, sort_by, pictures, settings)
    write_text(folder / "index.html", page)
    return folder / "index.html"


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


def _summary_csv(table: Table, summary: Mapping[str, Mapping[str, Interval | None]]) -> str:
    """A line per method and metric; a missing metric has none, its reason is in report.json."""
    rows: list[list[Any]] = [["method", "metric", "mean", "low", "high", "cases"]]
    for method, row in summary.items():
        for name, found in row.items():
            if found:
                ends = ["" if end is None else f"{end:.6g}" for end in (found.low, found.high)]
                rows.append([method, name, f"{found.value:.6g}", *ends, found.count])
    return _csv(rows)


def _write_pictures(
    benchmark: Benchmark,
    results: Mapping[str, Path],
    shown: Mapping[str, Mapping[str, list[int]]],
    folder: Path,
    restore: Restore | None,
) -> dict[str, dict[str, list[str]]]:
    """A strip per shown case; names of files, relative to the folder, by method and rank. Older strips are removed."""
    (folder / "pictures").mkdir(exist_ok=True)
    for old in (folder / "pictures").glob("*.png"):
        old.unlink()
    names: dict[str, dict[str, list[str]]] = {}
    for method, ranks in shown.items():
        files = find_results(benchmark, results[method])
        for rank, indices in ranks.items():
            for index in indices:
                case = benchmark[index]
                limit = calibrate(case.scene, restore(case.scene) if restore else None)
                name = f"pictures/{method}_{rank}_{case.name}.png"
                result = read_result(files[index], case.scene.size)
                save_picture(_strip(case, result, limit), folder / name)
                names.setdefault(method, {}).setdefault(rank, []).append(name)
    return names


def _strip(case: Case, result: Image.Image, limit: float) -> Image.Image:
    """PIECES side by side, a grey field where there is no target."""
    found = result.copy()
    if region := find_region(result, case.scene, limit):
        x0, y0, x1, y1 = region.box
        width = max(1, max(result.size) // 128)
        ImageDraw.Draw(found).rectangle((x0, y0, x1 - 1, y1 - 1), outline=(255, 0, 128), width=width)
    target = case.target or Image.new("RGB", case.scene.size, (128, 128, 128))
    pieces = [case.scene, case.objects[0], target, result, found]
    pieces = [piece.resize((max(1, round(piece.width * HEIGHT / piece.height)), HEIGHT)) for piece in pieces]
    strip = Image.new("RGB", (sum(piece.width + 4 for piece in pieces) - 4, HEIGHT), (255, 255, 255))
    x = 0
    for piece in pieces:
        strip.paste(piece, (x, 0))
        x += piece.width + 4
    return strip


def _cell(found: Interval | None, best: bool = False, signed: bool = False) -> str:
    if found is None:
        return "<td>-</td>"
    number = "{:+.4f}" if signed else "{:.4f}"
    ends = "" if found.low is None else f"{number.format(found.low)} to {number.format(found.high)}"
    sure = signed and found.low is not None and found.high is not None and found.low * found.high > 0
    marks = " ".join(name for name, set_ in (("best", best), ("sure", sure)) if set_)
    return f'<td class="{marks}">{number.format(found.value)}<small>{ends} ({found.count})</small></td>'


def _grid(table: Table, rows: Mapping[str, Mapping[str, Interval | None]], signed: bool) -> str:
    metrics = [*table.metrics] + ([CMMD] if not signed and table.sets else [])
    head = "".join(f"<th>{escape(method)}</th>" for method in rows)
    lines = []
    for metric in metrics:
        cells = {method: row.get(metric.name) for method, row in rows.items()}
        values = {method: found.value for method, found in cells.items() if found}
        choose = {"higher": max, "lower": min}.get(metric.better)
        best = choose(values.values()) if choose and values and not signed else None
        drawn = "".join(_cell(found, found is not None and found.value == best, signed) for found in cells.values())
        arrow = {"higher": " &uarr;", "lower": " &darr;"}.get(metric.better, "")
        lines.append(f'<tr><td title="{escape(metric.about)}">{escape(metric.name)}{arrow}</td>{drawn}</tr>')
    return f'<div class="wide"><table><tr><th></th>{head}</tr>{"".join(lines)}</table></div>'


def _page(
    table: Table,
    summary: Mapping[str, Mapping[str, Interval | None]],
    differences: Mapping[str, Mapping[str, Interval | None]],
    against: str,
    sort_by: str,
    pictures: Mapping[str, Mapping[str, list[str]]],
    settings: Mapping[str, Any],
) -> str:
    parts = [
        f"<h1>{escape(table.benchmark)}, {len(table.cases)} cases</h1><p>{escape(table.about)}</p>",
        "<h2>Results</h2><p>Mean over cases; below it the 95 % bootstrap interval and the number of cases with a "
        "value. Read similarity only beside inclusion and copy_paste: doing nothing and pasting both score well.</p>",
        _grid(table, summary, signed=False),
    ]
    if table.inexact:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in table.inexact)
        parts.append(f'<p class="note">Not the published networks, so not to be compared with any table: {names}.</p>')
    if differences:
        parts.append(
            f"<h2>Against {escape(against)}</h2><p>The other method minus {escape(against)}, case by case, over the "
            "cases where both have a value; shaded where the interval leaves out zero.</p>"
        )
        parts.append(_grid(table, differences, signed=True))
    if table.missing:
        rows = "".join(
            f'<tr><td>{escape(name)}</td><td class="about">{escape(why)}</td></tr>'
            for name, why in table.missing.items()
        )
        parts.append(f"<h2>Not measured</h2><table>{rows}</table>")
    parts.append(
        f"<h2>Pictures</h2><p>Best, median and worst cases of each method by {escape(sort_by)}. From left to right: "
        f"{', '.join(PIECES)}.</p>"
    )
    for method, ranks in pictures.items():
        for rank, names in ranks.items():
            parts.append(f"<h3>{escape(method)}: {rank}</h3>")
            for name in names:
                index = table.cases.index(Path(name).stem.removeprefix(f"{method}_{rank}_"))
                value = table.values[method][sort_by][index]
                said = f"{table.cases[index]}: {sort_by} {'none' if math.isnan(value) else f'{value:.3f}'}"
                parts.append(
                    f'<figure><img src="{escape(name)}" alt="{escape(", ".join(PIECES))}" loading="lazy">'
                    f"<figcaption>{escape(said)}</figcaption></figure>"
                )
    meanings = "".join(
        f'<tr><td>{escape(metric.name)}</td><td class="about">{escape(metric.about)}</td></tr>'
        for metric in (*table.metrics, CMMD)
    )
    parts.append(f"<h2>What the names mean</h2><table>{meanings}</table>")
    parts.append(f"<h2>Settings</h2><pre>{escape(json.dumps(_plain(settings), indent=2, ensure_ascii=False))}</pre>")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width"><title>{escape(table.benchmark)}</title><style>{STYLE}</style></head>'
        f"<body>{''.join(parts)}</body></html>\n"
    )
