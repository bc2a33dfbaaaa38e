"""Restoring as a person reads it: the tables of docs/restoration.md and a sheet of pictures."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ..pipelines.pictures.sheets import tile
from .restoration_cases import Case
from .restoration_rivals import Outcome, at_size_of

Figures = dict[str, float | None]
CELL = 250  # px, width of a picture on the sheet
HEADS = {  # of the tables of methods and drifts
    "effect_iou": ("effect IoU", "{:.2f}"),
    "object_iou": ("object IoU", "{:.2f}"),
    "background_flagged": ("background flagged", "{:.2%}"),
    "alignment_px": ("alignment error, px", "{:.2f}"),
    "background_db_before": ("background before, dB", "{:.1f}"),
    "background_db_after": ("after, dB", "{:.1f}"),
    "bit_equal": ("bit-equal outside", "{:.0%}"),
    "identical": ("identical pixels", "{:.0%}"),
    "seconds": ("s", "{:.2f}"),
}


PROMISED = {  # figures of docs/figures/restoration.json: what it is, what is aimed at
    "outside_bit_equal": ("cases that are bit-equal outside the reported effect", "{:.1%}", "100 %"),
    "align_median_px": ("alignment error, median, px", "{:.2f}", "<= 0.5"),
    "align_p95_px": ("alignment error, 95th percentile, px", "{:.2f}", "<= 1"),
    "align_within_1px": ("alignment within 1 px", "{:.1%}", ">= 95 %"),
    "background_flagged": ("background flagged, median", "{:.2%}", "<= 1 %"),
    "effect_iou": ("effect IoU, mean", "{:.3f}", ">= .80"),
    "object_iou": ("object IoU, mean", "{:.3f}", ">= .85"),
    "wrong_geometry_cases": ("cases with a wrong geometry", "{:.0f}", "0"),
    "seconds_2mp": ("2 megapixels, CPU seconds", "{:.1f}", "<= 5"),
    "copies_24mp": ("24 megapixels, copies of the scene", "{:.1f}", "<= 4"),
    "chain10_background_equal": ("ten in a row: chains with an equal background", "{:.0%}", "100 %"),
    "layers_recompose_max": ("layers against the picture, largest difference", "{:.5f}", "<= 0.00392 (1/255)"),
    "playroom_object_iou": ("playroom, object IoU", "{:.3f}", ">= .85"),
    "best_rival_effect_iou": ("the best of the others, effect IoU", "{:.3f}", ""),
    "todays_rule_background_flagged": ("the rule before, background flagged, median", "{:.2%}", ""),
    "todays_rule_background_flagged_mean": ("the rule before, background flagged, mean", "{:.2%}", ""),
}


def promises(figures: dict[str, float]) -> str:
    """Markdown: what is aimed at beside what was measured, from the values of the figures' file."""
    text = line(["", "measured", "aim"]) + "|---|---|---|\n"
    for name, (meaning, form, aim) in PROMISED.items():
        if name in figures:
            text += line([meaning, form.format(figures[name]), aim])
    return text


def average(rows: Iterable[dict], key: str, how=np.mean) -> float | None:
    """Over the rows that have a figure; None where none has."""
    values = [row[key] for row in rows if row.get(key) is not None]
    return float(how(values)) if values else None


def line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def cell(value: float | None, form: str) -> str:
    return "" if value is None or np.isnan(value) else form.format(value)


def table(rows: list[dict], key: str, first: str, medians: tuple[str, ...] = ()) -> str:
    """Markdown: means of the rows with the same `key`, a line for each; medians in brackets behind those named."""
    heads = [f"{head} (median)" if name in medians else head for name, (head, _) in HEADS.items()]
    text = line([first, *heads]) + "|---" * (len(heads) + 1) + "|\n"
    for group in dict.fromkeys(row[key] for row in rows):
        members = [row for row in rows if row[key] == group]
        cells = [str(group)]
        for name, (_, form) in HEADS.items():
            value = cell(average(members, name), form)
            if name in medians and value:
                value += f" ({cell(average(members, name, np.median), form)})"
            cells.append(value)
        text += line(cells)
    return text


def named(rows: dict[str, Figures], heads: dict[str, tuple[str, str]], first: str) -> str:
    """Markdown: a line for each entry."""
    text = line([first, *(head for head, _ in heads.values())]) + "|---" * (len(heads) + 1) + "|\n"
    for name, row in rows.items():
        text += line([name, *(cell(row.get(key), form) for key, (_, form) in heads.items())])
    return text


def on_sheet(picture: np.ndarray) -> Image.Image:
    """A picture [H,W,3] or a mask [H,W], 0..1, at the sheet's size."""
    if picture.ndim == 2:
        picture = np.repeat(picture[..., None], 3, -1)
    image = Image.fromarray(np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8))
    image.thumbnail((CELL, CELL), Image.Resampling.LANCZOS)
    return image


def difference(picture: np.ndarray, scene: np.ndarray) -> np.ndarray:
    """How much a picture differs from its scene [H,W], on white, ten times as much as it does."""
    return 1 - np.clip(10 * np.abs(picture - scene).max(-1), 0, 1)


def views(case: Case, outcome: Outcome) -> dict[str, np.ndarray]:
    """What there is to see of a case, by heading: pictures [H,W,3], differences and masks [H,W]."""
    edited = at_size_of(case.scene, case.edited)
    masks = 0.5 * (outcome.effect >= 0.5)
    if outcome.objects is not None:
        masks = np.maximum(masks, outcome.objects >= 0.5)
    return {
        "scene": case.scene,
        "edit": edited,
        "edit - scene, x10": difference(edited, case.scene),
        "restored": outcome.picture,
        "restored - scene, x10": difference(outcome.picture, case.scene),
        "effect, object": masks,
    }


def headed(rows: list[list[np.ndarray]], headings: Iterable[str], font_size: int = 11) -> Image.Image:
    """Rows of views, with headings above the first."""
    pictures = []
    for heading in headings:
        pictures.append(Image.new("RGB", (CELL + 4, font_size + 9), "white"))
        ImageDraw.Draw(pictures[-1]).text((4, 4), heading, "black", font_size=font_size)
    columns = len(pictures)
    pictures += [on_sheet(view) for row in rows for view in row]
    return tile(pictures, columns=columns, gap=4)


def sheet(entries: list[tuple[Case, Outcome]], path: Path) -> None:
    """What was given back of some cases, a row for each."""
    rows = [views(case, outcome) for case, outcome in entries]
    headed([list(row.values()) for row in rows], rows[0]).save(path, quality=85, optimize=True)


def front(case: Case, outcome: Outcome, path: Path) -> None:
    """One case in words that need no explanation, for the front page."""
    row = list(views(case, outcome).values())[:5]
    headings = ("your scene", "the edit", "what the edit changed", "restored", "what differs still")
    headed([row], headings, font_size=18).save(path, quality=90, optimize=True)
