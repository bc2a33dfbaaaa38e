"""Measuring against an older commit of this pack: the same results, in turns, and the same numbers.

The older code is taken from git into a temporary folder. Each turn is a process of its own; only `protocol.measure` is
timed, the start of worker processes included, without backbones, as both have the same. Numbers are compared with the
older code as it was, and with its dense SSIM computed in double precision. Figures go to docs/figures/research.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from .copy_paste_cases import paste_case
from .figures import ROOT, record

BEFORE = "ced073c"  # the last commit with dense SSIM, one thread and no store
METHODS = ("exact", "VAE", "redrawn")
CHANGED = ("copy_paste", "copy_paste_score", "placement_iou", "placement_distance", "placement_area")  # by other rules
TURN = """
import json, sys, time, inspect
from pathlib import Path
root, data, workers, double = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "True"
sys.path.insert(0, str(root / "devtools"))
import pack
pack.load_pack()
sys.path.pop(0)
import numpy as np
from PIL import Image
from visual_insertion_pack.pipelines.evaluation import pixel_metrics, protocol
from visual_insertion_pack.pipelines.evaluation.backbones import Backbones
from visual_insertion_pack.pipelines.evaluation.cases import Benchmark, Case
if double:
    dense = pixel_metrics.structural_similarity_index_measure
    pixel_metrics.structural_similarity_index_measure = lambda a, b, **kept: dense(a.double(), b.double(), **kept)
names = tuple(sorted(path.name for path in (data / "cases").iterdir()))
def read(index):
    folder = data / "cases" / names[index]
    picture = lambda name: Image.open(folder / name).convert("RGB")
    mask = np.asarray(Image.open(folder / "mask.png").convert("L")) > 127
    return Case(names[index], picture("scene.png"), (picture("object.png"),), target=picture("target.png"), mask=mask)
benchmark = Benchmark("photographs", "", names, read)
results = {path.name: path for path in sorted((data / "results").iterdir())}
options = {"workers": workers} if "workers" in inspect.signature(protocol.measure).parameters else {}
start = time.perf_counter()
table = protocol.measure(benchmark, results, Backbones(), **options)
seconds = time.perf_counter() - start
print(json.dumps([seconds, {m: {k: v.tolist() for k, v in row.items()} for m, row in table.values.items()}]))
"""


def write_cases(folder: Path, count: int) -> None:
    """Scenes of photographs and the results of METHODS, made larger to 512 px."""
    for number in range(count):
        for method in METHODS:
            made = paste_case("held out", number, method)
            results = folder / "results" / method.replace(" ", "-")
            results.mkdir(parents=True, exist_ok=True)
            made.result.resize((512, 512), Image.Resampling.BICUBIC).save(results / f"case{number}.png")
        made = paste_case("held out", number, "exact")
        case = folder / "cases" / f"case{number}"
        case.mkdir(parents=True)
        made.scene.resize((512, 512), Image.Resampling.BICUBIC).save(case / "scene.png")
        made.result.resize((512, 512), Image.Resampling.BICUBIC).save(case / "target.png")
        made.object_picture.save(case / "object.png")
        Image.fromarray(made.mask).resize((512, 512)).save(case / "mask.png")


Values = dict[str, dict[str, list[float]]]  # by method and metric


def turn(root: Path, data: Path, workers: int, *, double: bool = False) -> tuple[float, Values]:
    """(seconds, values) of one process with the code in `root`, its dense SSIM in double precision if asked for."""
    command = [sys.executable, "-c", TURN, str(root), str(data), str(workers), str(double)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    seconds, values = json.loads(lines[-1])
    return seconds, values


def largest_difference(one: Values, other: Values) -> float:
    """Of all values that both have by the same rule, as a share of those above 1."""
    differences = [0.0]
    for method, row in one.items():
        for name in (set(row) & set(other[method])) - set(CHANGED):
            before, now = (np.array(each, float) for each in (row[name], other[method][name]))
            apart = np.abs(before - now) / np.maximum(1, np.abs(before))
            differences.append(float(np.nanmax(apart, initial=0.0, where=~np.isnan(apart))))
    return max(differences)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=24)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--workers", type=int, default=min(8, os.cpu_count() or 1))
    parser.add_argument("--before", default=BEFORE, metavar="COMMIT")
    parser.add_argument("--dry", action="store_true", help="print the figures, write no file of the repository")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        older = folder / "older"
        older.mkdir()
        archive = subprocess.run(["git", "archive", options.before], cwd=ROOT, capture_output=True, check=True).stdout
        subprocess.run(["tar", "-x", "-C", str(older)], input=archive, check=True)
        write_cases(folder / "data", options.cases)
        _, exact = turn(older, folder / "data", 1, double=True)
        ratios: list[float] = []
        apart, single = 0.0, 0.0
        for _ in range(options.turns):
            before, values = turn(older, folder / "data", 1)
            now, others = turn(ROOT, folder / "data", options.workers)
            ratios.append(before / now)
            apart = max(apart, largest_difference(exact, others))
            single = max(single, largest_difference(values, others))
            print(f"{before:7.2f} s before, {now:7.2f} s now, {ratios[-1]:5.2f} times", flush=True)
    per_case = f"per case and method of 512 px without backbones, {options.before} over now, {options.workers} workers"
    figures = {
        "measure_speedup": (round(median(ratios), 2), f"times as fast {per_case}"),
        "measure_max_abs": (
            apart,
            "largest difference of values with the same rule, the older SSIM in float64; dB / dB",
        ),
        "measure_max_abs_float32": (single, "the same, older SSIM in float32, as it was"),
    }
    print(figures)
    if not options.dry:
        command = f"python dev.py bench measuring --cases {options.cases} --turns {options.turns}"
        print(record("research", figures, command))


if __name__ == "__main__":
    main()
