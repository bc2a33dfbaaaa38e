"""Real photographs, an object put in, the drift of an editor simulated: what is given back, beside what others do.

    python dev.py bench restoration
    python dev.py bench restoration --quick --dry

The cases are those of `restoration_cases`; the others' steps those of `restoration_rivals`. Figures go to
docs/figures/restoration.json, the tables to docs/restoration.md, pictures for people to docs/images/restoration.jpg.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch

from ..pipelines.restoration.alignment import align
from ..pipelines.restoration.restore import restore
from . import restoration_cases as cases
from . import restoration_rivals as rivals
from .figures import ROOT
from .restoration_measures import Row, measured

OURS = "RestoreScene"
METHODS: dict[str, Callable[[cases.Case], rivals.Outcome]] = {
    "today's rule": lambda case: rivals.todays_rule(case.scene, case.edited),
    "difference, best threshold": lambda case: rivals.plain_difference(case.scene, case.edited, case.effect),
    "flow composite": lambda case: rivals.flow_composite(case.scene, case.edited),
    "difference merge": lambda case: rivals.difference_merge(case.scene, case.edited),
}
QUICK = {"pictures": ["chelsea.png", "page.png", "coins.png"], "drifts": ["VAE alone", "zoom .975, shift, colour"]}


def in_pixels(matrix: np.ndarray, scene: tuple[int, ...], edited: tuple[int, ...]) -> cases.Affine:
    """A map of `pipelines.restoration.geometry` between the sizes [height,width,...] as one of px."""
    half = max(scene[:2]) / 2
    other = max(edited[:2]) / 2
    into = np.array([[1 / half, 0, (0.5 - scene[1] / 2) / half], [0, 1 / half, (0.5 - scene[0] / 2) / half], [0, 0, 1]])
    out = np.array([[other, 0, edited[1] / 2 - 0.5], [0, other, edited[0] / 2 - 0.5]])
    return out @ np.vstack([matrix, [0, 0, 1]]) @ into


def restored(case: cases.Case) -> rivals.Outcome:
    """What `restore` makes of a case."""
    scene = torch.from_numpy(case.scene.copy())[None]
    result = restore(scene, torch.from_numpy(case.edited.copy())[None])
    return rivals.Outcome(
        picture=result.images[0].numpy(),
        effect=result.effect[0].numpy(),
        objects=result.objects[0].numpy(),
    )


def estimated(case: cases.Case) -> tuple[cases.Affine, bool]:
    """(the geometry that `restore` undoes, whether it is more than a change of size)."""
    alignment = align(torch.from_numpy(case.scene.copy()), torch.from_numpy(case.edited.copy()))
    return in_pixels(alignment.matrix, case.scene.shape, case.edited.shape), alignment.trusted


def rows_of(selected: Iterable[cases.Case], methods: list[str], folder: Path | None = None) -> list[dict]:
    """Every method's figures for every case."""
    rows = []
    for case in selected:
        for name in methods:
            make = restored if name == OURS else METHODS[name]
            begun = time.process_time()
            outcome = make(case)
            row: Row = measured(case, outcome, time.process_time() - begun)
            if name == OURS:
                affine, trusted = estimated(case)
                row["trusted"] = float(trusted)
                if case.affine is not None:
                    height, width = case.scene.shape[:2]
                    row["alignment_px"] = cases.alignment_error(affine, case.affine, width, height)
            rows.append({"case": case.name, "picture": case.picture, "drift": case.drift, "method": name, **row})
        line = rows[-len(methods)]
        print(f"{case.name:52}", *(f"{key} {line[key]:.3g}" for key in SHOWN if line.get(key) is not None), flush=True)
    return rows


SHOWN = ("effect_iou", "object_iou", "background_flagged", "alignment_px", "bit_equal", "seconds")


def median(rows: list[dict], method: str, key: str) -> float:
    values = [row[key] for row in rows if row["method"] == method and row.get(key) is not None]
    return float(np.median(values)) if values else float("nan")


def mean(rows: list[dict], method: str, key: str) -> float:
    values = [row[key] for row in rows if row["method"] == method and row.get(key) is not None]
    return float(np.mean(values)) if values else float("nan")


def summary(rows: list[dict], methods: list[str]) -> str:
    lines = []
    for name in methods:
        cells = [f"{key} {mean(rows, name, key):.3f}/{median(rows, name, key):.3f}" for key in SHOWN]
        lines.append(f"{name:28}" + "  ".join(cells))
    return "mean/median\n" + "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few cases, nothing recorded")
    parser.add_argument("--pictures", nargs="+", choices=list(cases.PICTURES))
    parser.add_argument("--drifts", nargs="+", choices=list(cases.DRIFTS))
    parser.add_argument("--methods", nargs="+", choices=[OURS, *METHODS], default=[OURS, *METHODS])
    parser.add_argument("--folder", type=Path, default=ROOT / "output" / "restoration")
    options = parser.parse_args()
    torch.set_num_threads(1)
    pictures = options.pictures or (QUICK["pictures"] if options.quick else None)
    drifts = options.drifts or (QUICK["drifts"] if options.quick else None)
    rows = rows_of(cases.main_cases(pictures, drifts), options.methods)
    options.folder.mkdir(parents=True, exist_ok=True)
    (options.folder / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    print(summary(rows, options.methods))


if __name__ == "__main__":
    main()
