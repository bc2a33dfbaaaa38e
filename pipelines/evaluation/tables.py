"""A paper's tables of a run: methods by chosen metrics, with intervals, spread over seeds and paired differences."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import wilcoxon

from .intervals import Interval, mean_interval, paired_interval, ratio_interval
from .metrics import CMMD, Metric

if TYPE_CHECKING:
    from .protocol import Table

COLUMNS = (
    "inclusion",
    "placement_iou",
    "copy_paste",
    "l1",
    "clip_i",
    "dino",
    "identity_dinov2_found",
    "clip_dir",
    "clip_out",
    "clip_im",
    "inclusion_detected",
    "affordance",
    "affordance_found",
    "background_psnr",
)
FEWEST = 6  # pairs that differ: with fewer no test can reach 5 %
NOTE = (
    "Mean over cases (of a case's mean over seeds) with a 95 % bootstrap interval over cases; ± is the standard "
    "deviation of the seeds' means. p is of Wilcoxon's signed-rank test of the case by case difference to {against}, "
    "each case averaged over its seeds, adjusted by Holm for all {tests} tests of this table. Seeds are runs of one "
    "model, other trainings only where several were named; cases of one benchmark are not all images."
)


@dataclass(frozen=True)
class Cell:
    """A method's value of a metric; `spread` is that of seeds, difference and p-value are to the base method."""

    interval: Interval | None
    spread: float | None = None
    difference: Interval | None = None
    p: float | None = None


Cells = dict[str, dict[str, Cell]]  # by method and metric


def over_seeds(table: Table, runs: Mapping[str, Sequence[str]]) -> Table:
    """A table of runs as one of methods: each case's mean over the runs of `runs` by method, where it has values."""
    values: dict[str, dict[str, np.ndarray]] = {}
    for method, names in runs.items():
        values[method] = {
            metric.name: known_mean(np.stack([table.values[name][metric.name] for name in names]), metric)
            for metric in table.metrics
        }
    sets: dict[str, dict[str, float]] = {}
    for method, names in runs.items():
        rows = [table.sets[name] for name in names if name in table.sets]
        if rows:
            sets[method] = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    return replace(table, values=values, sets=sets)


def known_mean(values: np.ndarray, metric: Metric) -> np.ndarray:
    """The mean [N] over runs of values [R,N], of their logs for ratios; NaN where none is known."""
    line = np.log(values) if metric.ratio else values
    known = ~np.isnan(line)
    count = known.sum(0)
    mean = np.where(count > 0, np.where(known, line, 0).sum(0) / np.maximum(count, 1), np.nan)
    return np.exp(mean) if metric.ratio else mean


def seed_spread(table: Table, names: Sequence[str], metric: Metric) -> float | None:
    """The standard deviation of the runs' means; None for one run, or where a run has no value."""
    means = [mean for name in names if (mean := interval_of(metric)(table.values[name][metric.name]))]
    if len(names) < 2 or len(means) < len(names):
        return None
    return float(np.std([mean.value for mean in means], ddof=1))


def interval_of(metric: Metric) -> Callable[[np.ndarray], Interval | None]:
    """How a metric's values [N] are averaged."""
    return ratio_interval if metric.ratio else mean_interval


def on_a_line(values: np.ndarray, metric: Metric) -> np.ndarray:
    """Values [N] whose differences mean something: of ratios the logs."""
    return np.log(values) if metric.ratio else values


def signed_rank_p(differences: np.ndarray) -> float | None:
    """Wilcoxon's two-sided p-value of differences [N]; 1 where none differs, None where too few do."""
    known = differences[~np.isnan(differences)]
    differing = known[known != 0]
    if not len(differing):
        return 1.0 if len(known) else None
    if len(differing) < FEWEST:
        return None
    test: Any = wilcoxon(differing)
    return float(test.pvalue)


def holm(values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number (Holm 1979)."""
    adjusted = [1.0] * len(values)
    least = 0.0
    for rank, index in enumerate(np.argsort(values, kind="stable").tolist()):
        least = max(least, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = least
    return adjusted


def chosen_columns(table: Table, columns: Collection[str] | None) -> list[Metric]:
    """The metrics of a table by name, by default those of COLUMNS that were measured, or all.

    Raises ValueError for a name that was not measured.
    """
    measured = {metric.name: metric for metric in (*table.metrics, *([CMMD] if table.sets else []))}
    absent = [name for name in columns or () if name not in measured]
    if absent:
        raise ValueError(f"There is no metric {absent[0]} in this run; there are {', '.join(measured)}.")
    names = columns or [name for name in COLUMNS if name in measured] or measured
    return [measured[name] for name in names]


def cells(runs_table: Table, runs: Mapping[str, Sequence[str]], metrics: Sequence[Metric], against: str) -> Cells:
    """Everything in the table; `runs_table` has every run, `runs` says which are whose."""
    table = over_seeds(runs_table, runs)
    rows: Cells = {}
    for method, row in table.values.items():
        rows[method] = {}
        for metric in metrics:
            if metric is CMMD:
                value = table.sets.get(method, {}).get(CMMD.name)
                rows[method][CMMD.name] = Cell(
                    value if value is None else Interval(value, None, None, len(table.cases))
                )
                continue
            cell = Cell(interval_of(metric)(row[metric.name]), seed_spread(runs_table, runs[method], metric))
            if method != against:
                own, base = (on_a_line(one[metric.name], metric) for one in (row, table.values[against]))
                cell = replace(cell, difference=paired_interval(own, base), p=signed_rank_p(own - base))
            rows[method][metric.name] = cell
    tested = [(method, name) for method, row in rows.items() for name, cell in row.items() if cell.p is not None]
    adjusted = holm([rows[method][name].p or 0.0 for method, name in tested])
    for (method, name), p in zip(tested, adjusted, strict=True):
        rows[method][name] = replace(rows[method][name], p=p)
    return rows


def note(rows: Cells, against: str) -> str:
    """What the table's numbers are, and what they cannot say."""
    tests = sum(cell.p is not None for row in rows.values() for cell in row.values())
    return NOTE.format(against=against, tests=tests)


def as_csv(rows: Cells) -> str:
    """A line per method and metric; empty where there is no value."""
    heads = ["method", "metric", "mean", "low", "high", "cases", "seeds_sd", "difference", "difference_low"]
    lines: list[list[str]] = [[*heads, "difference_high", "p_holm"]]
    for method, row in rows.items():
        for name, cell in row.items():
            mean, difference = (
                one or Interval(float("nan"), None, None, 0) for one in (cell.interval, cell.difference)
            )
            values = [mean.value, mean.low, mean.high, mean.count, cell.spread]
            values += [difference.value, difference.low, difference.high, cell.p]
            lines.append([method, name, *("" if one is None or one != one else f"{one:.6g}" for one in values)])
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


def as_markdown(rows: Cells, metrics: Sequence[Metric], against: str) -> str:
    """Methods down, metrics across, then the paired differences."""
    heads = [f"{metric.name} {ARROWS[metric.better]}".strip() for metric in metrics]
    lines = ["| method | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for method, row in rows.items():
        lines.append(f"| {method} | " + " | ".join(plain(row[metric.name]) for metric in metrics) + " |")
    others = {method: row for method, row in rows.items() if method != against}
    if others:
        lines += ["", f"Differences to {against}:", ""]
        lines += ["| method | " + " | ".join(metric.name for metric in metrics) + " |", lines[1]]
        for method, row in others.items():
            lines.append(f"| {method} | " + " | ".join(difference(row[metric.name]) for metric in metrics) + " |")
    return "\n".join([*lines, "", note(rows, against), ""])


ARROWS = {"higher": "↑", "lower": "↓", "": ""}
LATEX_ARROWS = {"higher": r"$\uparrow$", "lower": r"$\downarrow$", "": ""}


def plain(cell: Cell) -> str:
    """A cell as text: the mean, the spread over seeds, the interval."""
    if cell.interval is None:
        return "-"
    text = f"{cell.interval.value:.3f}"
    if cell.spread is not None:
        text += f" ± {cell.spread:.3f}"
    if cell.interval.low is not None:
        text += f" [{cell.interval.low:.3f}, {cell.interval.high:.3f}]"
    return text


def difference(cell: Cell) -> str:
    """The paired difference as text."""
    if cell.difference is None:
        return "-"
    text = f"{cell.difference.value:+.3f}"
    if cell.difference.low is not None:
        text += f" [{cell.difference.low:+.3f}, {cell.difference.high:+.3f}]"
    return text if cell.p is None else f"{text}, p = {cell.p:.2g}"


def as_latex(rows: Cells, metrics: Sequence[Metric], against: str) -> str:
    """A table for booktabs: the best mean of a column bold, a star where it differs from the base method at 5 %."""

    def escaped(text: str) -> str:
        return text.replace("\\", r"\textbackslash{}").replace("_", r"\_").replace("%", r"\%").replace("±", r"$\pm$")

    heads = [f"{escaped(metric.name)} {LATEX_ARROWS[metric.better]}".strip() for metric in metrics]
    lines = [r"\begin{tabular}{l" + "c" * len(metrics) + "}", r"\toprule", " & ".join(["method", *heads]) + r" \\"]
    lines.append(r"\midrule")
    for method, row in rows.items():
        texts = [escaped(method)]
        for metric in metrics:
            cell = row[metric.name]
            if cell.interval is None:
                texts.append("--")
                continue
            means = [other[metric.name].interval for other in rows.values()]
            values = [mean.value for mean in means if mean]
            best = {"higher": max(values), "lower": min(values), "": None}[metric.better]
            text = f"{cell.interval.value:.3f}"
            text = rf"\textbf{{{text}}}" if cell.interval.value == best else text
            text += "" if cell.spread is None else rf" $\pm$ {cell.spread:.3f}"
            texts.append(text + ("$^*$" if cell.p is not None and cell.p < 0.05 else ""))
        lines.append(" & ".join(texts) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    return "\n".join(["% " + escaped(note(rows, against)), *lines, ""])
