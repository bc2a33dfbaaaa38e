"""The evaluation on the playroom: what doing nothing, pasting, the baselines and the shipped models score.

Runs `visual-insertion evaluate` as a user does; pictures and report stay in output/evaluation, figures go to
docs/figures/evaluation.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ..pipelines.__main__ import main as visual_insertion
from .figures import ROOT, record

MODELS = ROOT / "playroom_models"
METHODS = (
    *("unchanged", "perfect_copy", "copy_paste", "shuffled_object"),
    *("frozen-swap", "paint-by-example-encoder", "visual-insertion"),
)
METRICS = {  # figure: (the report's metric, unit)
    "inclusion": ("inclusion", "share of cases in which an object appeared"),
    "identity": ("oracle_identity", "0..1: shape, pattern, colour by the oracle"),
    "placement": ("oracle_supported", "share of inserted objects that stand on something"),
    "placement_iou": ("placement_iou", "0..1, of the changed region's box with the true one"),
    "background": ("oracle_background", "dB to the scene, outside what changed"),
    "copy_paste": ("copy_paste", "share of cases that are flagged as pasted"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--folder", type=Path, default=ROOT / "output" / "evaluation")
    parser.add_argument("--dry", action="store_true", help="print the figures, write no file of the repository")
    options = parser.parse_args()
    arguments = ["evaluate", "--benchmark", "playroom", "--limit", str(options.cases), "--output", str(options.folder)]
    arguments += ["--method", *METHODS, "--vae", str(MODELS / "vae"), "--models", str(MODELS)]
    arguments += ["--paint-by-example", str(MODELS / "paint_by_example"), "--device", "cpu"]
    code = visual_insertion(arguments)
    if code:
        raise SystemExit(code)
    summary = json.loads((options.folder / "report.json").read_text(encoding="utf-8"))["summary"]
    figures: dict[str, tuple[float, str]] = {}
    for method, row in summary.items():
        for figure, (metric, unit) in METRICS.items():
            interval = row.get(metric)
            if interval:
                name = f"{method.replace('-', '_')}_{figure}"
                figures[name] = (round(interval["value"], 4), unit)
                ends = {end: interval[end] for end in ("low", "high") if interval[end] is not None}
                figures |= {f"{name}_{end}": (round(value, 4), f"{unit}, 95 %") for end, value in ends.items()}
    for name, (value, unit) in figures.items():
        if not name.endswith(("_low", "_high")):
            print(f"{name:44}{value:9.4f}  {unit}")
    if not options.dry:
        print(record("evaluation", figures, f"python dev.py bench evaluation --cases {options.cases}"))


if __name__ == "__main__":
    main()
