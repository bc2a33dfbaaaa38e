"""The ablation as a person reads it: the tables of docs/ablation.md and its plots."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ..pipelines.pictures.sheets import tile
from ..pipelines.whole_files import write_text

Row = dict[str, float]  # figures of an arm
BEGIN = "<!-- measured -->\n"
END = "<!-- end of measured -->"


def table(rows: dict[str, Row]) -> str:
    """Markdown: an arm in each row."""
    heads = ["arm", "identity", "worst, best seed", "shape", "pattern", "colour off by", "placement", "background, dB"]
    lines = [_line([*heads, "inserted", "noise"]), "|---" * 10 + "|"]
    for name, row in rows.items():
        cells = [
            f"`{name}`",
            _interval(row, "identity", ".3f"),
            f"{row['identity_seed_low']:.3f}, {row['identity_seed_high']:.3f}",
            f"{row['shape']:.2f}",
            f"{row['pattern']:.2f}",
            f"{row['colour']:.0f}",
            _interval(row, "placement", ".2f"),
            _interval(row, "background", ".1f"),
            _interval(row, "inserted", ".2f"),
            f"{row['noise_share']:.2f}",
        ]
        lines.append(_line(cells))
    return "\n".join(lines) + "\n"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _interval(row: Row, name: str, form: str) -> str:
    return f"{row[name]:{form}} [{row[f'{name}_low']:{form}}, {row[f'{name}_high']:{form}}]"


def sensitivity_table(rows: dict[str, Row], scales: tuple[float, ...]) -> str:
    """Markdown: how much each arm's identity depends on the object scale."""
    heads = [f"at {scale:g}" for scale in scales] + ["spread of the best, octaves", "best of each case", "reseeding"]
    lines = [_line(["arm", *heads]), "|---" * (len(heads) + 1) + "|"]
    for name, row in rows.items():
        cells = [f"`{name}`"]
        cells += [f"{row[f'identity_at_{scale:g}']:.3f}" for scale in scales]
        cells += [
            f"{row['best_scale_spread']:.2f}",
            f"+{row['per_case_scale_gain']:.3f}",
            f"+{row['reseeding_gain']:.3f}",
        ]
        lines.append(_line(cells))
    return "\n".join(lines) + "\n"


def difference_table(gains: dict[str, Row], pairs: dict[str, tuple[str, str]]) -> str:
    """Markdown: of each pair of arms, by how much identity differs."""
    lines = ["| arm | against | identity |", "|---|---|---|"]
    for figure, (ours, theirs) in pairs.items():
        if figure in gains:
            row = gains[figure]
            interval = f"{row['value']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"
            lines.append(_line([f"`{ours}`", f"`{theirs}`", interval]))
    return "\n".join(lines) + "\n"


def fill(page: Path, text: str) -> None:
    """Put `text` between the page's two marks. Raises ValueError where a mark is missing."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no place for the tables between {BEGIN.strip()} and {END}.")
    write_text(page, before + begin + text + end + after)


def plot(rows: dict[str, Row], scales: tuple[float, ...], folder: Path) -> None:
    """Identity of every arm with its interval, and over the object scale."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = list(rows)
    figure, axes = pyplot.subplots(figsize=(8, 0.42 * len(names) + 1.2), layout="constrained")
    values = np.array([rows[name]["identity"] for name in names])
    ends = np.array([[rows[name]["identity_low"], rows[name]["identity_high"]] for name in names])
    colours = ["#7a8ba6" if not name.startswith("resampler") else "#c8643c" for name in names]
    axes.barh(names, values, xerr=np.abs(ends - values[:, None]).T, color=colours, height=0.6, capsize=2)
    for place, name in enumerate(names):
        axes.plot([rows[name]["identity_seed_low"], rows[name]["identity_seed_high"]], [place] * 2, "k|", ms=7)
        axes.text(0.01, place, f"{values[place]:.3f}", va="center", fontsize=8, color="white")
    axes.invert_yaxis()
    axes.set(xlabel="identity, 0..1 (whisker: 95 % over cases; ticks: worst and best seed)", xlim=(0, 1))
    figure.savefig(folder / "ablation_identity.png", dpi=110)
    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    for name in names:
        curve = [rows[name][f"identity_at_{scale:g}"] for scale in scales]
        axes.plot(scales, curve, "-o" if name.startswith("resampler") else "--s", ms=4, label=name)
    axes.set(xlabel="object scale", ylabel="identity, 0..1", xscale="log", xticks=scales, xticklabels=scales)
    axes.minorticks_off()
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(folder / "ablation_guidance.png", dpi=110)


def side_by_side(results: dict[str, Path], path: Path, cases: int = 6, side: int = 128) -> None:
    """Scene, object and each arm's result of the first cases, out of the arms' grids of four cases across."""
    sheets = {name: Image.open(sheet).convert("RGB") for name, sheet in results.items()}
    any_sheet = next(iter(sheets.values()))
    columns = [("scene", any_sheet, 0), ("object", any_sheet, 1)]
    columns += [(name, sheet, 2) for name, sheet in sheets.items()]
    pictures = []
    for name, _, _ in columns:
        heading = Image.new("RGB", (side, 16), "white")
        ImageDraw.Draw(heading).text((3, 2), name, "black")
        pictures.append(heading)
    for case in range(cases):
        for _, sheet, part in columns:
            left = (3 * (case % 4) + part) * side
            top = case // 4 * side
            pictures.append(sheet.crop((left, top, left + side, top + side)))
    tile(pictures, columns=len(columns)).save(path, quality=92)
