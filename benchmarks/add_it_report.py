"""What `bench_add_it` found, as figures, tables, plots and sheets: docs/add_it.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from ..pipelines.add_it.costs import cache_bytes, image_tokens, map_bytes, row_forwards
from ..pipelines.add_it.windows import REAL
from ..pipelines.evaluation.intervals import Interval, mean_interval
from ..pipelines.pictures.sheets import tile
from ..pipelines.playroom.add_it.additions import AdditionCase
from .ablation_report import fill
from .add_it_arms import GAMMAS, SDEDITS, STARTS
from .figures import ROOT

Rows = list[dict[str, Any]]
Arms = dict[str, list[Rows]]  # rows of each sampling seed
Rooms = dict[str, Rows]
Figures = dict[str, tuple[float, str]]
PAGE = ROOT / "docs" / "add_it.md"
IMAGES = ROOT / "docs" / "images"
COLUMNS = {
    "new": "there",
    "hue": "hue",
    "shape": "shape",
    "placed": "where told",
    "ok": "hue and stands",
    "kept": "others kept",
    "extra": "too many",
    "background": "background, dB",
}
SHEET = ("SDEdit .3", "Prompt-to-Prompt .4", "attention alone", "Add-it", "Add-it, blended", "shown")


def values(arms: Arms, arm: str, column: str) -> dict[int, float]:
    """The mean over sampling seeds of each case; cases without a value are left out."""
    by_case: dict[int, list[float]] = {}
    for rows in arms.get(arm, []):
        for row in rows:
            value = row.get(column)
            if value is not None and np.isfinite(value):
                by_case.setdefault(row["seed"], []).append(value)
    return {case: float(np.mean(each)) for case, each in by_case.items()}


def interval(arms: Arms, arm: str, column: str) -> Interval | None:
    """The mean over cases."""
    return mean_interval(np.array(list(values(arms, arm, column).values())))


def difference(one: dict[int, float], other: dict[int, float]) -> Interval | None:
    """The mean of one - other over the cases of both."""
    common = sorted(one.keys() & other.keys())
    return mean_interval(np.array([one[case] - other[case] for case in common]))


def lead_at_equal_background(arms: Arms, column: str = "ok", ours: str = "Add-it") -> tuple[Interval | None, float]:
    """How much more often ours is right than SDEdit where both keep the background alike, and how far SDEdit's curve
    misses it (0 where it reaches). Between two starts SDEdit's figures are taken on a straight line."""
    background = interval(arms, ours, "background")
    points = []
    for arm in SDEDITS.values():
        own = interval(arms, arm, "background")
        if own is not None:
            points.append((own.value, arm))
    if background is None or len(points) < 2:
        return None, float("nan")
    points.sort()
    inside = [index for index in range(len(points) - 1) if points[index][0] <= background.value <= points[index + 1][0]]
    right = values(arms, ours, column)
    if not inside:
        nearest = min(points, key=lambda point: abs(point[0] - background.value))
        return difference(right, values(arms, nearest[1], column)), background.value - nearest[0]
    low, high = points[inside[0]], points[inside[0] + 1]
    share = (background.value - low[0]) / max(high[0] - low[0], 1e-9)
    before = values(arms, low[1], column)
    after = values(arms, high[1], column)
    between = {case: (1 - share) * before[case] + share * after[case] for case in before.keys() & after.keys()}
    return difference(right, between), 0.0


def causal_swap(arms: Arms) -> dict[int, float]:
    """Of each case, whether the result lies nearer to the scene in the hidden row, the case's own and another one."""
    rates: dict[int, list[float]] = {}
    for arm, own in (("attention alone", True), ("attention alone, another scene", False)):
        for rows in arms.get(arm, []):
            for row in rows:
                nearer = row["to_own"] < row["to_other"]
                rates.setdefault(row["seed"], []).append(float(nearer == own))
    return {case: float(np.mean(each)) for case, each in rates.items()}


def figures(arms: Arms, rooms: Rooms) -> Figures:
    """{name: (value, unit)}; the unit says interval and cases."""
    result: Figures = {}

    def put(name: str, found: Interval | None, unit: str) -> None:
        if found is not None:
            ends = "" if found.low is None else f", 95 % from {found.low:.3f} to {found.high:.3f}"
            result[name] = (round(found.value, 4), f"{unit}{ends}, {found.count} cases")

    put("causal_swap", mean_interval(np.array(list(causal_swap(arms).values()))), "share nearer to the hidden scene")
    plain = values(arms, "text to picture", "background")
    put("start0_gain_db", difference(values(arms, "attention alone", "background"), plain), "dB")
    lead, miss = lead_at_equal_background(arms)
    reach = "" if not miss else f", SDEdit's nearest background is {miss:.1f} dB below"
    put("ok_lead_at_equal_background", lead, f"share of cases{reach}")
    kept, _ = lead_at_equal_background(arms, "kept")
    put("kept_lead_at_equal_background", kept, "share of toys")
    for name, blended, raw in (
        ("blending_gain_db", "Add-it, blended", "Add-it"),
        ("blending_gain_sdedit_db", "SDEdit .3, blended", "SDEdit .3"),
    ):
        put(name, difference(values(arms, blended, "background"), values(arms, raw, "background")), "dB")
    put("t2i_shape", interval(arms, "text to picture", "all_shapes"), "share of toys")
    put("map_in_box", interval(arms, "Add-it, blended", "map_in_box"), "share of cases")
    for arm in arms:
        key = "".join(letter if letter.isalnum() else "_" for letter in arm.lower()).replace("__", "_")
        put(f"inclusion_{key}", interval(arms, arm, "hue"), "share with a new toy of the hue")
        put(f"shape_{key}", interval(arms, arm, "shape"), "share with a new toy of the shape")
        put(f"placement_{key}", interval(arms, arm, "placed"), "share of new toys that stand where told")
        put(f"kept_{key}", interval(arms, arm, "kept"), "share of the scene's toys")
        put(f"background_{key}", interval(arms, arm, "background"), "dB")
    for way, rows in rooms.items():
        units = {"same": "share of pixels equal to the empty room", "toys": "share in their hue", "background": "dB"}
        for column, unit in units.items():
            put(f"rooms_{column}_{way.replace(' ', '_')}", mean_interval(_column(rows, column)), unit)
    tokens = image_tokens(1024, 1024)
    result["row_forwards_ratio"] = (round(row_forwards(REAL, 30) / 30, 3), "of a plain run of 30 steps, computed")
    result["map_extra_mb_1024"] = (round(map_bytes(tokens) / 2**20, 1), "MiB, computed")
    result["cache_gb_1024"] = (round(cache_bytes(tokens) / 2**30, 2), "GiB, computed")
    return result


def _column(rows: Rows, name: str) -> np.ndarray:
    return np.array([row[name] for row in rows], float)


def table(arms: Arms) -> str:
    """Markdown: an arm in each row."""
    lines = [_line(["arm", "cases", *COLUMNS.values()]), "|---" * (len(COLUMNS) + 2) + "|"]
    for arm in arms:
        cells = [arm, str(len(values(arms, arm, "new")))]
        for column in COLUMNS:
            found = interval(arms, arm, column)
            form = ".1f" if column == "background" else ".2f"
            if found is None:
                cells.append("")
            elif column in ("ok", "background", "kept") and found.low is not None:
                cells.append(f"{found.value:{form}} [{found.low:{form}}, {found.high:{form}}]")
            else:
                cells.append(f"{found.value:{form}}")
        lines.append(_line(cells))
    return "\n".join(lines) + "\n"


def rooms_table(rooms: Rooms) -> str:
    """Markdown: three additions in a row, restored and not."""
    lines = ["| three in a row | rooms | toys in their hue | of their shape | background, dB | untouched pixels |"]
    lines.append("|---" * 6 + "|")
    for way, rows in rooms.items():
        cells = [way, str(len(rows))]
        cells += [f"{np.nanmean(_column(rows, column)):.2f}" for column in ("toys", "shapes")]
        cells += [f"{np.nanmean(_column(rows, 'background')):.1f}", f"{np.nanmean(_column(rows, 'same')):.3f}"]
        lines.append(_line(cells))
    return "\n".join(lines) + "\n"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def plot(arms: Arms, folder: Path) -> None:
    """The two knobs, and all arms in the plane of background and right additions."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for axes, label, knob in ((panels[0], "gamma, start .1", GAMMAS), (panels[1], "start, gamma 1.1", STARTS)):
        known = {value: arm for value, arm in knob.items() if arm in arms}
        common = set.intersection(*(set(values(arms, arm, "new")) for arm in known.values()))
        other = axes.twinx()
        curves = (
            (axes, "background", "#3b6ea5", "o-"),
            (other, "hue", "#c8643c", "s-"),
            (other, "kept", "#7d9c3c", "^--"),
        )
        for place, column, colour, style in curves:
            means = []
            for arm in known.values():
                per_case = values(arms, arm, column)
                means.append(np.mean([per_case[case] for case in common & per_case.keys()]))
            place.plot(list(known), means, style, color=colour, label=column)
        axes.set(xlabel=f"{label} ({len(common)} cases)", ylabel="background, dB")
        other.set(ylim=(0, 1.05), ylabel="share of cases")
        lines = [*axes.get_lines(), *other.get_lines()]
        axes.legend(lines, [str(line.get_label()) for line in lines], fontsize=7, loc="lower center")
    figure.savefig(folder / "add_it_knobs.png", dpi=100)
    figure, axes = pyplot.subplots(figsize=(7.5, 4.5), layout="constrained")
    groups = {"SDEdit": ("#7a8ba6", "s"), "Prompt": ("#9c7aa6", "D"), "": ("#c8643c", "o")}
    for arm in arms:
        background = interval(arms, arm, "background")
        right = interval(arms, arm, "ok")
        if background is None or right is None or "another" in arm:
            continue
        colour, marker = next(style for start, style in groups.items() if arm.startswith(start))
        axes.plot(background.value, right.value, marker, color=colour)
        axes.annotate(
            arm, (background.value, right.value), fontsize=6, rotation=20, xytext=(3, 3), textcoords="offset points"
        )
    axes.set(xlabel="background, dB to the scene", ylabel="right hue and standing, share")
    axes.grid(alpha=0.3)
    figure.savefig(folder / "add_it_methods.png", dpi=100)


def sheet(cases: Sequence[AdditionCase], output: Path, path: Path, count: int = 6, side: int = 128) -> None:
    """Scene, truth, the toy shown and what the arms made of the first cases that have toys already or none, mixed."""
    from .bench_add_it import file_name

    arrays = {}
    for arm in SHEET:
        file = output / f"{file_name(arm, 0, 0)}.npz"
        if file.is_file():
            arrays[arm] = np.load(file)["pictures"]
    if not arrays:
        return
    length = len(next(iter(arrays.values())))
    order = sorted(range(length), key=lambda index: cases[index].toys == 0)
    half = [*order[: count // 2], *order[length - count + count // 2 :]]
    pictures = [_heading(name, side) for name in ("scene", "truth", "the toy", *arrays)]
    for index in half:
        case = cases[index]
        row = [case.scene, case.truth, case.view, *(array[index] for array in arrays.values())]
        pictures += [Image.fromarray(each).resize((side, side), Image.Resampling.BICUBIC) for each in row]
    tile(pictures, columns=3 + len(arrays)).save(path, quality=90)


def rooms_sheet(output: Path, path: Path, count: int = 4, side: int = 128) -> None:
    """Stages of the first rooms, restored; the last column is without."""
    ways = [output / f"rooms-{way}-0000.npz" for way in ("restored", "not_restored")]
    if not all(way.is_file() for way in ways):
        return
    restored, raw = (np.load(way)["pictures"] for way in ways)
    pictures = [_heading(name, side) for name in ("empty", "one", "two", "three", "not restored")]
    for room in range(min(count, restored.shape[1])):
        row = [*restored[:, room], raw[-1, room]]
        pictures += [Image.fromarray(each) for each in row]
    tile(pictures, columns=5).save(path, quality=90)


def _heading(name: str, side: int) -> Image.Image:
    heading = Image.new("RGB", (side, 16), "white")
    ImageDraw.Draw(heading).text((3, 2), name, "black")
    return heading


def write_page(arms: Arms, rooms: Rooms, cases: Sequence[AdditionCase], output: Path) -> None:
    """Fill the page's tables and draw its pictures."""
    plot(arms, IMAGES)
    sheet(cases, output, IMAGES / "add_it.jpg")
    rooms_sheet(output, IMAGES / "add_it_rooms.jpg")
    tables = table(arms) + ("\n" + rooms_table(rooms) if rooms else "")
    fill(PAGE, tables)
