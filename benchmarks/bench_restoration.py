"""Real photographs, an object put in, the drift of an editor simulated: what is given back, beside what others do.

    python dev.py bench restoration
    python dev.py bench restoration --quick
    python dev.py bench restoration --only table --pictures coffee.png --methods RestoreScene

The cases are those of `restoration_cases`, the others' steps those of `restoration_rivals`. Figures go to
docs/figures/restoration.json, tables to docs/restoration.md, pictures for people to docs/images/restoration.jpg and
scene_stays.jpg, README.md's. The results of every part stay in output/restoration; those of the others are read back
while cases and steps are the same.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import TypeVar
from unittest import mock

import numpy as np
import torch

from ..pipelines.layers.matting import separate
from ..pipelines.restoration import restore as restoring
from ..pipelines.restoration.report import BLANK, NOTHING, UNMATCHED
from ..pipelines.restoration.restore import Restoration, restore
from ..pipelines.whole_files import write_text
from . import restoration_cases as cases
from . import restoration_measures as measures
from . import restoration_report as report
from . import restoration_rivals as rivals
from .ablation_report import fill
from .figures import ROOT, record

Result = TypeVar("Result")
OURS = "RestoreScene"
BEST_DIFFERENCE = "difference, best threshold"
TODAY = "today's rule"
METHODS: dict[str, Callable[[cases.Case], rivals.Outcome]] = {
    TODAY: lambda case: rivals.todays_rule(case.scene, case.edited),
    BEST_DIFFERENCE: lambda case: rivals.plain_difference(case.scene, case.edited, case.effect),
    "flow composite": lambda case: rivals.flow_composite(case.scene, case.edited),
    "difference merge": lambda case: rivals.difference_merge(case.scene, case.edited),
}
PARTS = ("table", "hard", "nothing", "chain", "large", "playroom")
QUICK = {"pictures": ["chelsea.png", "page.png"], "drifts": ["VAE alone", "zoom .975, shift, colour"]}
IN_RANGE = [name for name, drift in cases.DRIFTS.items() if not drift.megapixels and drift.matrix == (1, 0, 0, 1)]
RANGE = "zoom .9 to 1.1, shift to 5 %"  # of those drifts
WRONG = 2.0  # px of the scene, from which on a geometry that was undone is wrong
NOTHING_DRIFTS = ("VAE alone", "colour", "zoom 1.05, shift 2 %, colour", "JPEG 80, colour")
ROUNDS = 10
CHAINED = ("chelsea.png", "coffee.png", "camera.png", "motorcycle_left.png")
CHAIN_DRIFTS = ("colour", "zoom .975, shift, colour", "shift .9 %", "JPEG 80, colour", "zoom 1.05, shift 2 %, colour")
SHOWN = ("effect_iou", "object_iou", "background_flagged", "alignment_px", "bit_equal", "seconds")
ILLUSTRATED = (
    ("coffee.png", "zoom .975, shift, colour"),
    ("motorcycle_left.png", "zoom 1.1, shift 5 %"),
    ("camera.png", "zoom .9, shift 5 %, colour"),
    ("ihc.png", "1 megapixel, own aspect, colour"),
    ("chelsea.png", "turned .6 degrees, stretched"),
    ("moon.png", "JPEG 80, colour"),
    ("page.png", "shift .9 %"),
    ("rocket.jpg", "colour"),
)
FRONT = ("coffee.png", "zoom 1.05, shift 2 %, colour")


# Ours.


def in_pixels(matrix: np.ndarray, scene: tuple[int, ...], edited: tuple[int, ...]) -> cases.Affine:
    """A map of `pipelines.restoration.geometry` between the sizes [height,width,...] as one of px."""
    half = max(scene[:2]) / 2
    other = max(edited[:2]) / 2
    into = np.array([[1 / half, 0, (0.5 - scene[1] / 2) / half], [0, 1 / half, (0.5 - scene[0] / 2) / half], [0, 0, 1]])
    out = np.array([[other, 0, edited[1] / 2 - 0.5], [0, other, edited[0] / 2 - 0.5]])
    return out @ np.vstack([matrix, [0, 0, 1]]) @ into


def run_restore(scene: np.ndarray, edited: np.ndarray) -> tuple[Restoration, cases.Affine]:
    """What `restore` makes of a pair [H,W,3], [h,w,3], and the geometry it undid."""
    matrices = []

    def aligning(*arguments):
        alignment = align(*arguments)
        matrices.append(alignment.matrix)
        return alignment

    align = restoring.align
    with mock.patch.object(restoring, "align", aligning):
        result = restore(torch.from_numpy(scene.copy())[None], torch.from_numpy(edited.copy())[None])
    return result, in_pixels(matrices[0], scene.shape, edited.shape)


def timed(function: Callable[..., Result], *arguments: object) -> tuple[Result, float]:
    """What a function gives, and the CPU seconds that it takes."""
    begun = time.process_time()
    return function(*arguments), time.process_time() - begun


def as_outcome(result: Restoration, affine: cases.Affine) -> rivals.Outcome:
    return rivals.Outcome(
        picture=result.images[0].numpy(),
        effect=result.effect[0].numpy(),
        objects=result.objects[0].numpy(),
        affine=affine,
    )


def our_row(case: cases.Case) -> dict:
    """What is measured of `restore` for a case."""
    (result, affine), seconds = timed(run_restore, case.scene, case.edited)
    row: dict = labels(case, OURS) | measures.measured(case, as_outcome(result, affine), seconds)
    verdicts = result.reports[0].verdicts
    left_alone = UNMATCHED in verdicts or BLANK in verdicts
    row["unmatched"] = float(left_alone)
    row["nothing"] = float(NOTHING in verdicts)
    row["wrong_geometry"] = float(not left_alone and is_wrong(case, affine))
    row["layers_off"] = layers_off(case.scene, result)
    return row


def is_wrong(case: cases.Case, affine: cases.Affine) -> bool:
    """Whether an undone geometry is more than 2 px off; where there is none, whether it is more than resizing."""
    height, width = case.scene.shape[:2]
    truth = rivals.stretched(case.scene, case.edited) if case.affine is None else case.affine
    return cases.alignment_error(affine, truth, width, height) > WRONG


def layers_off(scene: np.ndarray, result: Restoration) -> float:
    """How far the layers, put together again, are from the restored picture at most."""
    layers = separate(torch.from_numpy(scene.copy()), result.images[0], result.objects[0], result.effect[0])
    return float((layers.recompose() - result.images[0]).abs().max())


# The parts.


def labels(case: cases.Case, method: str) -> dict:
    return {"case": case.name, "picture": case.picture, "drift": case.drift, "method": method}


class Remembered:
    """Rows of the others' methods, by case and method, from a file while cases and steps are the same."""

    def __init__(self, path: Path):
        self.path = path
        sources = [Path(module.__file__ or "") for module in (cases, rivals, measures)]
        self.key = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
        stored = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        self.rows: dict[str, dict] = stored["rows"] if stored.get("key") == self.key else {}

    def keep(self, rows: list[dict]) -> None:
        for row in rows:
            if row["method"] != OURS:
                self.rows[f"{row['case']}: {row['method']}"] = row
        write_text(self.path, json.dumps({"key": self.key, "rows": self.rows}))


def case_rows(make: cases.Maker, methods: list[str], remembered: dict[str, dict]) -> list[dict]:
    """Every method's figures for a case."""
    torch.set_num_threads(1)
    case = make()
    rows = []
    for name in methods:
        known = remembered.get(f"{case.name}: {name}")
        if name == OURS:
            rows.append(our_row(case))
        elif known is not None:
            rows.append(known)
        else:
            outcome, seconds = timed(METHODS[name], case)
            rows.append(labels(case, name) | measures.measured(case, outcome, seconds))
    return rows


def rows_of(makers: list[cases.Maker], methods: list[str], remembered: Remembered, workers: int) -> list[dict]:
    """Every method's figures for every case, the cases in as many processes."""
    rows = []
    work = partial(case_rows, methods=methods, remembered=remembered.rows)
    # The package was loaded by hand: children have it by being forks.
    with ProcessPoolExecutor(workers, get_context("fork")) as pool:
        for of_case in pool.map(work, makers):
            rows += of_case
            show(of_case[0])
            remembered.keep(of_case)
    return rows


def show(row: dict) -> None:
    cells = [f"{key} {row[key]:.3g}" for key in SHOWN if row.get(key) is not None]
    marks = [key for key in ("unmatched", "nothing", "wrong_geometry") if row.get(key)]
    print(f"{row['case']:52}", *cells, *marks, flush=True)


def nothing_makers(pictures: list[str] | None = None) -> list[cases.Maker]:
    """Scenes that come back drifted and otherwise as they were, and objects pasted into their very pixels."""
    makers: list[cases.Maker] = []
    for picture in pictures or cases.PICTURES:
        makers += [partial(cases.without_object, picture, drift) for drift in NOTHING_DRIFTS]
        makers.append(partial(cases.copied, picture))
    return makers


def inserted_and_drifted(scene: np.ndarray, picture: str, number: int) -> tuple[np.ndarray, np.ndarray]:
    """What the editor of a chain's round makes of a scene [H,W,3], and what it touched [H,W] bool, before its drift."""
    rng = cases.seeded(picture, "chain", number)
    ideal, _, _ = cases.composited(scene, cases.OBJECTS[number % len(cases.OBJECTS)], rng, size=0.5)
    edited, _ = cases.drifted(ideal, cases.DRIFTS[CHAIN_DRIFTS[number % len(CHAIN_DRIFTS)]], rng)
    return edited, np.abs(ideal - scene).max(-1) > cases.TOUCHED


def chain(picture: str, rounds: int = ROUNDS) -> dict:
    """Objects put in one after the other by an editor that drifts each time, each result restored before the next.

    Beside it, the same without restoring: what is drifted drifts again.
    """
    first = cases.photograph(picture)
    current = first
    unrestored = first
    union = np.zeros(first.shape[:2], bool)
    touched = np.zeros(first.shape[:2], bool)
    for number in range(rounds):
        edited, _ = inserted_and_drifted(current, picture, number)
        result, _ = run_restore(current, edited)
        current = result.images[0].numpy()
        union |= result.effect[0].numpy() > 0
        unrestored, changed = inserted_and_drifted(unrestored, picture, number)
        touched |= changed
    rest = ~touched
    return {
        "case": f"{Path(picture).stem}, {rounds} rounds",
        "background_equal": float(np.array_equal(current[~union], first[~union])),
        "kept": float((~union).mean()),
        "background_db": measures.decibels(current, first, rest),
        "unrestored_db": measures.decibels(unrestored, first, rest),
    }


def seconds_of(case: cases.Case, repeats: int = 3) -> float:
    """CPU seconds of `restore`, the median of some runs."""
    return median(timed(run_restore, case.scene, case.edited)[1] for _ in range(repeats))


def copies(megapixels: float) -> dict:
    """What a fresh process holds at most while it restores, beyond scene and edit, in float32 copies of the scene."""
    case = cases.enlarged(cases.make_case("motorcycle_left.png", "zoom .975, shift, colour"), megapixels)
    with tempfile.TemporaryDirectory() as folder:
        for name, picture in (("scene", case.scene), ("edited", case.edited)):
            np.save(Path(folder) / f"{name}.npy", np.round(picture * 255).astype(np.uint8))
        launcher = [sys.executable, str(ROOT / "devtools" / "pack.py"), "benchmarks.bench_restoration"]
        run = subprocess.run([*launcher, f"--peak={folder}"], cwd=ROOT, check=True, capture_output=True, text=True)
    return json.loads(run.stdout.strip().splitlines()[-1])


def own_peak(folder: Path) -> dict:
    """Restore the pictures of a folder; Linux only."""
    scene, edited = (
        torch.from_numpy(np.load(folder / f"{name}.npy")).float().div_(255) for name in ("scene", "edited")
    )
    restore(scene[None, :64, :64], edited[None, :64, :64])  # imports

    def status(name: str) -> float:
        _, _, text = Path("/proc/self/status").read_text().partition(f"{name}:")
        return int(text.split()[0]) * 1024

    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew
    before = status("VmRSS")
    result, seconds = timed(restore, scene[None], edited[None])
    peak = status("VmHWM")  # before the comparison, which copies too
    untouched = result.effect[0] == 0
    equal = torch.equal(result.images[0][untouched], scene[untouched])
    size = scene.numel() * scene.element_size()
    return {"copies": (peak - before) / size, "seconds": seconds, "bit_equal": float(equal)}


def large(megapixels: float) -> dict:
    two = cases.two_megapixels()
    row = our_row(two)
    show(row)
    peak = copies(megapixels)
    print(f"{megapixels:g} megapixels:", peak, flush=True)
    return {"seconds_2mp": seconds_of(two), **{f"{key}_24mp": value for key, value in peak.items()}, "row": row}


def playroom(count: int) -> dict:
    from .restoration_playroom import measure

    rows = measure(ROOT / "playroom_models", count)
    for name, row in rows.items():
        print(f"{name:40}", {key: round(value, 3) for key, value in row.items()}, flush=True)
    return rows


# What is written.


def of(rows: list[dict], method: str) -> list[dict]:
    return [row for row in rows if row["method"] == method]


def figures_of(results: dict) -> dict[str, tuple[float, str]]:
    """The figures of docs/figures/restoration.json from the results of all parts."""
    table = results["table"]
    ours = of(table, OURS)
    every = [*ours, *results["hard"], *results["nothing"], results["large"]["row"]]
    toys = [results["playroom"][name] for name in ("restored", "true pictures")]
    today = of(table, TODAY)
    in_range = np.array([row["alignment_px"] for row in ours if row["drift"] in IN_RANGE])
    aligned = np.array([row["alignment_px"] for row in ours])
    rival_ious = {name: report.average(of(table, name), "effect_iou") or 0.0 for name in METHODS if name != TODAY}
    best = max(rival_ious, key=lambda name: rival_ious[name])
    chains = results["chain"]
    empty = [row for row in results["nothing"] if row["drift"] != "pasted"]
    figures = {
        "cases": (len(ours), f"{len(cases.PICTURES)} pictures x {len(cases.DRIFTS)} drifts, simulated"),
        "outside_bit_equal": (
            report.average(every, "bit_equal"),
            f"share of all {len(every)} cases, the hard ones too",
        ),
        "align_median_px": (np.median(in_range), f"px of the scene, {RANGE}"),
        "align_p95_px": (np.quantile(in_range, 0.95), f"px of the scene, {RANGE}"),
        "align_within_1px": ((in_range <= 1).mean(), f"share, {RANGE}"),
        "align_within_1px_all": ((aligned <= 1).mean(), "share of all cases, other sizes and turned ones too"),
        "background_flagged": (report.average(ours, "background_flagged", np.median), "median share"),
        "background_flagged_mean": (report.average(ours, "background_flagged"), "mean share"),
        "effect_iou": (report.average(ours, "effect_iou"), "mean over the cases"),
        "effect_iou_median": (report.average(ours, "effect_iou", np.median), "median over the cases"),
        "object_iou": (report.average(ours, "object_iou"), "mean over the cases"),
        "object_iou_median": (report.average(ours, "object_iou", np.median), "median over the cases"),
        "wrong_geometry_cases": (
            sum(row["wrong_geometry"] for row in [*every, *toys]),
            f"of {len(every)} cases and {sum(row['cases'] for row in toys):.0f} of the playroom: undone, and more than "
            f"{WRONG:g} px off",
        ),
        "left_alone_cases": (
            sum(row["unmatched"] for row in ours),
            f"of the {len(ours)} cases of the table: background not matched, geometry left alone",
        ),
        "nothing_flagged_cases": (
            sum(not row["nothing"] for row in empty),
            f"of {len(empty)} scenes that came back without an object",
        ),
        "seconds_2mp": (results["large"]["seconds_2mp"], "CPU s on one core, 1411 x 1411 px, median of 3"),
        "copies_24mp": (results["large"]["copies_24mp"], "float32 copies of the scene beyond scene and edit, peak"),
        "seconds_24mp": (results["large"]["seconds_24mp"], "CPU s on one core"),
        "layers_recompose_max": (
            max(row["layers_off"] for row in every),
            f"of 1, largest difference in {len(every)} cases; 1/255 is 0.00392",
        ),
        "chain10_background_equal": (
            report.average(chains, "background_equal"),
            f"share of {len(chains)} chains of ten insertions",
        ),
        "chain10_background_db": (report.average(chains, "background_db"), "dB outside all that was put in"),
        "chain10_unrestored_db": (report.average(chains, "unrestored_db"), "dB, the same chains without restoring"),
        "best_rival_effect_iou": (rival_ious[best], f"mean over the cases, {best}"),
        "todays_rule_background_flagged": (report.average(today, "background_flagged", np.median), "median share"),
        "todays_rule_background_flagged_mean": (report.average(today, "background_flagged"), "mean share"),
        "todays_rule_effect_iou": (report.average(today, "effect_iou"), "mean over the cases"),
    }
    for name, row in results["playroom"].items():
        for key, value in row.items():
            if not np.isnan(value):
                figures[f"playroom_{slug(name)}{key}"] = (value, f"{name}; see docs/restoration.md")
    return {name: (round(float(value), 5), unit) for name, (value, unit) in figures.items()}


def slug(name: str) -> str:
    """A restored playroom is what the issue's figures mean; other ways say so."""
    if name == "restored":
        return ""
    return name.replace(",", "").replace(" ", "_") + "_"


def text_of(results: dict, figures: dict[str, tuple[float, str]]) -> str:
    """What docs/restoration.md shows between its marks."""
    table = results["table"]
    ours = of(table, OURS)
    chains = {row["case"]: row for row in results["chain"]}
    chain_heads = {
        "background_equal": ("background equal to the first scene's", "{:.0%}"),
        "kept": ("pixels outside all effects", "{:.0%}"),
        "background_db": ("background, dB", "{:.1f}"),
        "unrestored_db": ("without restoring, dB", "{:.1f}"),
    }
    playroom_heads = {
        "cases": ("cases", "{:.0f}"),
        "object_iou": ("object IoU", "{:.3f}"),
        "object_iou_median": ("median", "{:.3f}"),
        "effect_iou": ("effect IoU", "{:.3f}"),
        "true_place_object_iou": ("object IoU with the drawn toy", "{:.3f}"),
        "true_place_cases": ("where it stands there", "{:.0f}"),
        "identity": ("identity", "{:.3f}"),
        "identity_change": ("its change", "{:+.4f}"),
        "identity_change_low": ("95 %, from", "{:+.4f}"),
        "identity_change_high": ("to", "{:+.4f}"),
        "inserted": ("inserted", "{:.3f}"),
        "background_db": ("background, dB", "{:.1f}"),
        "bit_equal": ("bit-equal outside", "{:.0%}"),
        "identical": ("identical pixels", "{:.0%}"),
        "wrong_geometry": ("wrong geometry", "{:.0f}"),
        "seen_iou": ("object IoU of the benchmark's own rule", "{:.3f}"),
    }
    hard_heads = {
        "count": ("cases", "{:.0f}"),
        "unmatched": ("left alone, with a verdict", "{:.0f}"),
        "wrong": ("wrong geometry", "{:.0f}"),
        "nothing": ("'nothing inserted'", "{:.0f}"),
        "flagged": ("background flagged", "{:.2%}"),
    }
    blocks = [
        "",
        report.promises({name: value for name, (value, _) in figures.items()}),
        "### Every method, mean over all cases (median)",
        "",
        report.table(table, "method", "method", medians=("effect_iou", "background_flagged", "alignment_px")),
        "### RestoreScene by drift",
        "",
        report.table(ours, "drift", "drift", medians=("background_flagged", "alignment_px")),
        "### RestoreScene by picture",
        "",
        report.table(ours, "picture", "picture", medians=("background_flagged", "alignment_px")),
        "### Where geometry must be right or left alone, and where there is nothing",
        "",
        report.named(hard_groups(results), hard_heads, "kind"),
        "### Ten insertions in a row",
        "",
        report.named(chains, chain_heads, "scene"),
        "### The playroom",
        "",
        report.named(results["playroom"], playroom_heads, "what was restored"),
        "![Scene, edit, restored](images/restoration.jpg)",
        "",
    ]
    return "\n".join(blocks)


def hard_groups(results: dict) -> dict[str, report.Figures]:
    """Counts of the hard cases by kind."""
    kinds: dict[str, list[dict]] = {}
    for row in [*results["hard"], *results["nothing"]]:
        if row["picture"].startswith("blank"):
            kind = "blank sky, nothing inserted" if row["case"].endswith("nothing inserted") else "blank sky"
        elif row["case"].endswith("nothing inserted"):
            kind = "nothing inserted"
        else:
            kind = row["drift"]
        kinds.setdefault(kind, []).append(row)
    return {
        kind: {
            "count": len(rows),
            "unmatched": sum(row["unmatched"] for row in rows),
            "wrong": sum(row["wrong_geometry"] for row in rows),
            "nothing": sum(row["nothing"] for row in rows),
            "flagged": report.average(rows, "background_flagged"),
        }
        for kind, rows in kinds.items()
    }


def draw_sheets(folder: Path) -> None:
    """Some cases for people to look at, and the one of the front page."""
    entries = []
    for picture, drift in (*ILLUSTRATED, FRONT):
        case = cases.make_case(picture, drift)
        entries.append((case, as_outcome(*run_restore(case.scene, case.edited))))
    report.sheet(entries[:-1], folder / "restoration.jpg")
    report.front(*entries[-1], folder / "scene_stays.jpg")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few cases of each part, nothing recorded")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="the other parts are read back")
    parser.add_argument("--pictures", nargs="+", choices=list(cases.PICTURES), help="of the table; nothing is recorded")
    parser.add_argument("--drifts", nargs="+", choices=list(cases.DRIFTS), help="of the table; nothing is recorded")
    parser.add_argument("--methods", nargs="+", choices=[OURS, *METHODS], default=[OURS, *METHODS])
    parser.add_argument("--workers", type=int, default=1, help="processes, of table, hard and nothing")
    parser.add_argument("--playroom-cases", type=int, default=256)
    parser.add_argument("--folder", type=Path, default=ROOT / "output" / "restoration")
    parser.add_argument("--dry", action="store_true", help="print, write no file of the repository")
    parser.add_argument("--peak", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.peak:
        print(json.dumps(own_peak(options.peak)))
        return

    options.folder.mkdir(parents=True, exist_ok=True)
    quick = QUICK if options.quick else {}
    pictures = options.pictures or quick.get("pictures")
    drifts = options.drifts or quick.get("drifts")
    is_partial = options.quick or pictures or drifts or len(options.methods) <= len(METHODS)
    hard = cases.hard_makers()[:: 8 if options.quick else 1]
    nothing = nothing_makers(quick.get("pictures"))
    remembered = Remembered(options.folder / "others.json")
    makers: dict[str, Callable[[], object]] = {
        "table": lambda: rows_of(cases.main_makers(pictures, drifts), options.methods, remembered, options.workers),
        "hard": lambda: rows_of(hard, [OURS], remembered, options.workers),
        "nothing": lambda: rows_of(nothing, [OURS], remembered, options.workers),
        "chain": lambda: [chain(picture, 2 if options.quick else ROUNDS) for picture in CHAINED],
        "large": lambda: large(4 if options.quick else 24),
        "playroom": lambda: playroom(4 if options.quick else options.playroom_cases),
    }
    results = {}
    for part in PARTS:
        path = options.folder / f"{part}{'-partial' if is_partial else ''}.json"
        if part in options.only:
            results[part] = makers[part]()
            write_text(path, json.dumps(results[part]))
        elif path.exists():
            results[part] = json.loads(path.read_text(encoding="utf-8"))
    if "table" in results:
        print(report.table(results["table"], "method", "method", medians=("effect_iou", "background_flagged")))
    if len(results) < len(PARTS):
        return
    figures = figures_of(results)
    text = text_of(results, figures)
    print(text)
    for name, (value, unit) in figures.items():
        print(f"{name:44}{value:10.4f}  {unit}")
    if is_partial or options.dry:
        return
    print(record("restoration", figures, "python dev.py bench restoration"))
    fill(ROOT / "docs" / "restoration.md", text)
    draw_sheets(ROOT / "docs" / "images")


if __name__ == "__main__":
    main()
