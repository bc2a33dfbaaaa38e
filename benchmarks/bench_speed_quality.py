"""What each speed and each student loses on the playroom, case by case against exact, judged by the oracle.

Test triplets, several seeds; diffusers' own pipeline at equal steps is in the same table. Beside the oracle's columns
stands a gate that it has not: texture and spread of colours inside the object, which guidance that is left out washes
out. What is finished is kept in output/bench, so a call that was stopped goes on; `--fresh` begins anew.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor

from ..pipelines.evaluation.intervals import Interval, mean_interval, paired_interval
from ..pipelines.playroom.judging import oracle
from ..pipelines.playroom.judging.judge import load_judge
from ..pipelines.playroom.pictures import grid, restored_pictures
from ..pipelines.playroom.world import dataset
from ..pipelines.sampling.pix2pix import FACTS
from ..pipelines.visual_insertion.distillation.student import LOSS
from ..pipelines.visual_insertion.pipeline import VisualInsertionPipeline
from ..pipelines.weights.reading import read_weights
from ..pipelines.weights.writing import save_tensors
from ..pipelines.whole_files import write_text
from .bench_ablation import remembered
from .figures import ROOT, record

MODELS = ROOT / "playroom_models"
STUDENTS = MODELS / "students"
FOLDER = ROOT / "output" / "bench" / "speed_quality"
BATCH = 32
SHOWN = 8  # cases on the sheet
COLUMNS = ("identity", "placed", "background")
Pictures = Callable[[slice, int], np.ndarray]  # cases, seed -> uint8 [B,H,W,3]
Scores = dict[str, np.ndarray]


@dataclass(frozen=True)
class Arm:
    """A way to make the pictures, how many evaluations one takes, and its name in the figures, if it is in them."""

    make: Pictures
    evaluations: int
    figure: str = ""


class Cases:
    """The triplets, what models are shown of them, and how pictures of them are scored."""

    def __init__(self, count: int):
        self.truth = dataset.render_arrays(dataset.TEST_SEEDS[:count], views=1)
        self.judge = load_judge(MODELS / "judge.safetensors")
        self.teacher = VisualInsertionPipeline.from_folder(MODELS)
        self.restored = restored_pictures(self.teacher.pipeline.vae, self.truth["scene"])
        self.scenes = torch.from_numpy(self.truth["scene"]).float() / 255
        objects = [Image.fromarray(views[0]) for views in self.truth["objects"]]
        contexts, nulls = zip(*map(self.teacher.contexts, objects), strict=True)
        self.contexts = torch.cat(contexts)
        self.null = nulls[0]

    def sampled(self, pipeline: VisualInsertionPipeline, part: slice, seed: int, **settings: Any) -> np.ndarray:
        """Of one of our pipelines."""
        seeds = [1000 * seed + case for case in range(part.start, part.stop)]
        made = pipeline.sample(self.scenes[part], self.contexts[part], self.null, seed=seeds, **settings)
        return _bytes(made.images)

    def of_diffusers(self, part: slice, seed: int, steps: int) -> np.ndarray:
        """Of diffusers' own pipeline, with the scales that ours has."""
        stock: Any = self.teacher.pipeline
        stock.set_progress_bar_config(disable=True)
        context = self.contexts[part]
        pictures = stock(
            image=self.scenes[part].movedim(-1, 1),
            prompt_embeds=context,
            negative_prompt_embeds=self.null.expand_as(context),
            num_inference_steps=steps,
            guidance_scale=self.teacher.guidance.object_scale,
            image_guidance_scale=self.teacher.guidance.scene_scale,
            generator=[torch.Generator().manual_seed(1000 * seed + n) for n in range(part.start, part.stop)],
            output_type="pt",
        ).images
        return _bytes(pictures.movedim(1, -1))

    def score(self, results: np.ndarray) -> Scores:
        """The oracle's columns, and those of the gate, [N] each."""
        table = oracle.score(results, self.restored[: len(results)], self.truth, self.judge)
        table["identity"] = oracle.identity(table)
        table["placed"] = np.nan_to_num(table["supported"]) * table["inserted"]
        inside = [contrast(picture, scene) for picture, scene in zip(results, self.restored, strict=False)]
        table["texture"], table["colours"] = np.array(inside).T
        return table


def contrast(result: np.ndarray, vae_scene: np.ndarray) -> tuple[float, float]:
    """(mean gradient, spread of colours) inside the object of a picture, its rim of 2 px left out; NaN without one."""
    found = oracle.find(result, vae_scene)
    if found is None:
        return float("nan"), float("nan")
    core = np.asarray(ndimage.binary_erosion(found.mask, iterations=2), bool)
    core = core if core.sum() > 20 else found.mask
    down, right = np.gradient(result.astype(float).mean(-1))
    return float(np.hypot(down, right)[core].mean()), float(result[core].astype(float).std(0).mean())


def _bytes(pictures: Tensor) -> np.ndarray:
    return (pictures.clamp(0, 1) * 255).round().byte().numpy()


def arms(cases: Cases) -> dict[str, Arm]:
    """All of them; the first is what the others are compared with."""
    teacher = partial(cases.sampled, cases.teacher)
    presets = cases.teacher.presets
    ways = {
        "exact": Arm(partial(teacher, steps=20), 60),
        "balanced": Arm(partial(teacher, speed="balanced"), 3 * presets["balanced"].steps, "balanced"),
        "fast": Arm(partial(teacher, speed="fast"), 2 * presets["fast"].steps, "fast"),
    }
    for file in sorted(STUDENTS.glob("*.safetensors"), reverse=True):
        student = VisualInsertionPipeline.from_folder(MODELS, student=file)
        assert student.student is not None
        steps = student.student.preset.steps
        ways[f"student {file.stem}"] = Arm(partial(cases.sampled, student), steps, f"distilled{steps}")
    for steps in (20, presets["balanced"].steps, presets["fast"].steps):
        ways[f"diffusers, {steps} steps"] = Arm(partial(cases.of_diffusers, steps=steps), 3 * steps)
    return ways


def measure(cases: Cases, name: str, arm: Arm, seed: int, folder: Path) -> Scores:
    """The scores of all cases; the first pictures stay in the folder."""
    count = len(cases.scenes)
    parts = [slice(start, min(start + BATCH, count)) for start in range(0, count, BATCH)]
    results = np.concatenate([arm.make(part, seed) for part in parts])
    if not seed:
        np.save(folder / f"{_file(name)}.npy", results[:SHOWN])
    print(f"{name}, seed {seed}", flush=True)
    return cases.score(results)


def _file(name: str) -> str:
    return name.replace(", ", "_").replace(" ", "_")


def lost(tables: list[Scores], exact: list[Scores], column: str) -> Interval:
    """What exact has more in a column, the mean over seeds of each case, with its interval over the cases."""
    ours, theirs = (np.nanmean([table[column] for table in each], 0) for each in (tables, exact))
    interval = paired_interval(theirs, ours)
    assert interval is not None
    return interval


def kept(tables: list[Scores], exact: list[Scores], column: str) -> float:
    """The median ratio to exact in a column of the gate."""
    ratios = [table[column] / other[column] for table, other in zip(tables, exact, strict=True)]
    return float(np.nanmedian(np.concatenate(ratios)))


def told(tables: list[Scores], exact: list[Scores], count: str) -> str:
    """What an arm loses, as presets and students say it."""
    identity, background = (lost(tables, exact, column) for column in ("identity", "background"))
    ends = [-100 * (end or 0) for end in (identity.high, identity.low)]
    return (
        f"identity {-100 * identity.value:+.1f} points [{ends[0]:+.1f}, {ends[1]:+.1f}], "
        f"background {-background.value:+.2f} dB ({count})"
    )


def note(losses: dict[str, str]) -> None:
    """Write what was measured into the models themselves: the presets' facts, and the metadata of students."""
    path = MODELS / FACTS
    facts = json.loads(path.read_text(encoding="utf-8"))
    for speed, preset in facts["speed"].items():
        preset["loss"] = losses[speed]
    write_text(path, json.dumps(facts, indent=2) + "\n")
    for file in STUDENTS.glob("*.safetensors"):
        state, metadata = read_weights(file)
        save_tensors(file, state, {**metadata, LOSS: losses[f"student {file.stem}"]})


def asked(description: str | None, place: Path) -> tuple[argparse.Namespace, Path]:
    """The options of a call, and the folder below `place` where its finished parts are kept."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=256)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--dry", action="store_true", help="print the figures, write no file")
    parser.add_argument("--note", action="store_true", help="write the losses into presets and students as well")
    options = parser.parse_args()
    folder = place / f"{options.cases}"
    if options.fresh:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    return options, folder


def main() -> None:
    options, folder = asked(__doc__, FOLDER)
    torch.set_num_threads(1)
    cases = Cases(options.cases)
    ways = arms(cases)
    tables: dict[str, list[Scores]] = {name: [] for name in ways}
    for seed in range(options.seeds):
        for name, arm in ways.items():
            path = folder / f"{_file(name)}_{seed}.npz"
            tables[name].append(remembered(path, partial(measure, cases, name, arm, seed, folder)))
    exact = tables["exact"]
    n = f"{options.cases} cases x {options.seeds} seeds"
    figures: dict[str, tuple[float, str]] = {}
    print(f"{'':24}evals  " + "  ".join(f"{c:>26}" for c in (*COLUMNS, "texture, colours")))
    for name, own in tables.items():
        cells = []
        for column in COLUMNS:
            scale = 1 if column == "background" else 100
            interval = lost(own, exact, column)
            mean = scale * float(np.nanmean([table[column] for table in own]))
            ends = [scale * (end or 0) for end in (interval.low, interval.high)]
            cells.append(f"{mean:6.2f} -{scale * interval.value:5.2f} [{ends[0]:5.2f},{ends[1]:5.2f}]")
            if figure := ways[name].figure:
                unit = "dB" if column == "background" else "points"
                unit = f"{unit} below exact, mean of {n}; 95 % over cases: {ends[0]:.2f} to {ends[1]:.2f}"
                figures[f"{figure}_{column}_drop"] = (round(scale * interval.value, 3), unit)
        ratios = [kept(own, exact, column) for column in ("texture", "colours")]
        print(f"{name:24}{ways[name].evaluations:5}  " + "  ".join(cells) + "  " + " ".join(f"{r:.3f}" for r in ratios))
        if figure := ways[name].figure:
            unit = "of exact inside the object, the lesser of texture and spread of colours, medians"
            figures[f"contrast_ratio_{figure}"] = (round(min(ratios), 3), unit)
    rows = [np.load(folder / f"{_file(name)}.npy") for name in ways]
    shown = {name: cases.truth[name][:SHOWN] for name in ("scene", "target")}
    grid([shown["scene"], cases.truth["objects"][:SHOWN, 0], shown["target"], *rows], across=1).save(
        folder / "sheet.png"
    )
    seeds = mean_interval(np.nanstd([table["identity"] for table in exact], 0))
    if seeds:
        print(f"identity of exact over seeds, standard deviation within a case: {100 * seeds.value:.2f} points")
    if not options.dry:
        print(record("speed", figures, f"python dev.py bench speed_quality --cases {options.cases}"))
    if options.note:  # after the record, which names a commit without changes
        note({name: told(own, exact, n) for name, own in tables.items()})


if __name__ == "__main__":
    main()
