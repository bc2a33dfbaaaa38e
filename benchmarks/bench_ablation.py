"""The slides' story measured on the playroom, one change at a time; see playroom/visual_insertion/ablation.py.

Trains every arm at equal steps with several seeds, inserts the test split's objects, and compares case by case. What is
finished is read back, so a call that was stopped goes on. Figures go to docs/figures/evaluation.json and flagship.json,
tables to docs/ablation.md, plots to docs/images; pictures stay in output/ablation.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..pipelines.evaluation.intervals import mean_interval, paired_interval
from ..pipelines.playroom.judging.judge import Judge, load_judge
from ..pipelines.playroom.pictures import grid
from ..pipelines.playroom.progress import follow
from ..pipelines.playroom.visual_insertion import ablation
from ..pipelines.playroom.visual_insertion.ablation import ARMS, Study
from ..pipelines.playroom.visual_insertion.recipe import GUIDANCE
from ..pipelines.playroom.world import dataset
from ..pipelines.whole_files import whole
from . import ablation_report as report
from .figures import ROOT, record

MODELS = ROOT / "playroom_models"
SCALES = (1.5, 2.5, 4.0, 6.0)  # object scales of the sensitivity
SENSITIVITY_CASES = 96
COLUMNS = {  # ours: the oracle's
    **{name: name for name in ("identity", "shape", "pattern", "colour", "background", "inserted")},
    "placement": "supported",
}
PAIRS = {  # flagship.json: (better?, than)
    "resampler_identity_gain": ("resampler", "pooled_mlp4_attn2_data"),
    "pooled_learned_queries_gain": ("pooled_mlp4_learned_queries", "pooled_mlp4_attn2_data"),
    "pooled_one_null_gain": ("pooled_mlp4_one_null", "pooled_mlp4_attn2_data"),
    "resampler_learned_queries_gain": ("resampler", "resampler_random_queries"),
    "resampler_one_null_gain": ("resampler", "resampler_three_nulls"),
}
MORE_PAIRS = {  # evaluation.json
    "two_linear_gain": ("two_linear", "frozen_swap"),
    "pooled_mlp2_gain": ("pooled_mlp2", "two_linear"),
    "pooled_mlp4_gain": ("pooled_mlp4", "pooled_mlp2"),
    "attn2_training_gain": ("pooled_mlp4_attn2", "pooled_mlp4"),
    "more_data_gain": ("pooled_mlp4_attn2_data", "pooled_mlp4_attn2"),
    "resampler_attn2_gain": ("resampler", "resampler_frozen_unet"),
    "masked_background_gain": ("resampler_masked_crop", "resampler_crop"),
}
SHOWN = ("words", "frozen_swap", "two_linear", "pooled_mlp4_attn2_data", "resampler", "resampler_crop")
Scores = dict[str, np.ndarray]


class Test:
    """The cases, and how pictures of them are scored."""

    def __init__(self, study: Study, judge: Judge, cases: int):
        self.study, self.judge = study, judge
        self.truth = dataset.render_arrays(dataset.TEST_SEEDS[:cases], views=1)
        self.restored = ablation.restored_scenes(study.base, self.truth)

    def first(self, count: int) -> dataset.Arrays:
        return {name: values[:count] for name, values in self.truth.items()}

    def scores(self, name: str, networks, seed: int, folder: Path) -> Scores:
        """Of all cases; the first pictures stay in `folder`."""
        results = self.study.insert(name, networks, self.truth, seed)
        first = self.first(24)
        grid([first["scene"], first["objects"][:, 0], results[:24]], across=4).save(folder / "results.png")
        return ablation.score(results, self.restored, self.truth, self.judge)

    def sensitivity(self, name: str, networks) -> Scores:
        """Identity [scales,cases] over the object scales, and [seeds,cases] of as many seeds at the usual scale."""
        truth = self.first(SENSITIVITY_CASES)
        restored = self.restored[:SENSITIVITY_CASES]

        def identity(seed: int, scale: float) -> np.ndarray:
            results = self.study.insert(name, networks, truth, seed, scale)
            return ablation.score(results, restored, truth, self.judge)["identity"]

        return {
            "scales": np.stack([identity(0, scale) for scale in SCALES]),
            "seeds": np.stack([identity(seed, GUIDANCE.object_scale) for seed in range(len(SCALES))]),
        }


def remembered(path: Path, make) -> Scores:
    """What `make` gives, from the file if it is there."""
    if not path.exists():
        scores = make()
        with whole(path) as part, open(part, "wb") as file:
            np.savez(file, allow_pickle=False, **scores)
    with np.load(path) as stored:
        return dict(stored)


def hold(folder: Path, settings: dict[str, int]) -> None:
    """Write the run's settings into its folder; SystemExit where results of other settings lie there."""
    path = folder / "settings.json"
    if path.exists() and (other := json.loads(path.read_text(encoding="utf-8"))) != settings:
        raise SystemExit(f"{folder} holds a run with {other}, this is one with {settings}. Give another --folder.")
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(settings) + "\n", encoding="utf-8")


def row(tables: list[Scores]) -> dict[str, float]:
    """Means of an arm's scores over seeds and cases, with their intervals over the cases."""
    figures = {}
    for ours, theirs in COLUMNS.items():
        over_seeds = np.ma.masked_invalid([table[theirs] for table in tables]).mean(0)
        found = mean_interval(over_seeds.filled(np.nan))
        if found:
            figures |= {ours: found.value, f"{ours}_low": found.low or 0.0, f"{ours}_high": found.high or 0.0}
    seeds = [float(table["identity"].mean()) for table in tables]
    return figures | {"identity_seed_low": min(seeds), "identity_seed_high": max(seeds)}


def spread(found: Scores) -> dict[str, float]:
    """How much the best object scale depends on the case, and what knowing it would bring, beside reseeding."""
    scales, seeds = found["scales"], found["seeds"]
    best = np.log2(np.array(SCALES))[scales.argmax(0)]
    return {
        "best_scale_spread": float(best.std()),
        "per_case_scale_gain": float(scales.max(0).mean() - scales.mean(1).max()),
        "reseeding_gain": float(seeds.max(0).mean() - seeds[0].mean()),
        **{f"identity_at_{scale:g}": float(values.mean()) for scale, values in zip(SCALES, scales, strict=True)},
    }


def gain(ours: np.ndarray, theirs: np.ndarray) -> dict[str, float]:
    """By how much identity [N] is better, case by case."""
    found = paired_interval(ours, theirs)
    if found is None:
        raise ValueError("No case has an identity in both arms.")
    ends = [found.value if end is None else end for end in (found.low, found.high)]
    return rounded({"value": found.value, "low": ends[0], "high": ends[1]})


def rounded(figures: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in figures.items()}


def tables_of(rows: dict[str, report.Row], differences: dict[str, report.Row]) -> str:
    """What docs/ablation.md shows between its marks."""
    plots = "![Identity by arm](images/ablation_identity.png)", "![Identity over scale](images/ablation_guidance.png)"
    tables = report.table(rows), report.difference_table(differences, PAIRS | MORE_PAIRS)
    return "\n".join(["", tables[0], plots[0], "", tables[1], report.sensitivity_table(rows, SCALES), plots[1], ""])


def row_figures(rows: dict[str, report.Row]) -> dict[str, tuple[float, str]]:
    units = {
        "background": "dB outside the object's effect",
        "best_scale": "standard deviation, log2 of the scale",
        "colour": "RGB distance, of 255",
        "noise": "share of the contexts' variance",
    }
    return {
        f"ablation_{name}_{figure}": (
            value,
            next((unit for start, unit in units.items() if figure.startswith(start)), "0..1, mean over cases"),
        )
        for name, values in rows.items()
        for figure, value in values.items()
    }


def gain_figures(differences: dict[str, report.Row], pairs: dict[str, tuple[str, str]]) -> dict[str, tuple[float, str]]:
    return {
        figure if end == "value" else f"{figure}_{end}": (value, f"identity, {pairs[figure][0]} - {pairs[figure][1]}")
        for figure, values in differences.items()
        if figure in pairs
        for end, value in values.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400, help="of every arm, of 32 triplets")
    parser.add_argument("--text-steps", type=int, default=1000, help="of the UNet they start from")
    parser.add_argument("--triplets", type=int, default=6000)
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each arm")
    parser.add_argument("--cases", type=int, default=256)
    parser.add_argument(
        "--arms", nargs="+", choices=ARMS, default=list(ARMS), help="with fewer than all, records nothing"
    )
    parser.add_argument("--only-seed", type=int, help="train and score this seed alone, record nothing")
    parser.add_argument("--folder", type=Path, default=ROOT / "output" / "ablation")
    parser.add_argument("--dry", action="store_true", help="print the tables, write no file of the repository")
    options = parser.parse_args()

    settings = ("steps", "text_steps", "triplets", "cases")
    hold(options.folder, {name: getattr(options, name) for name in settings})
    shards = dataset.render(options.folder / "triplets", range(options.triplets), views=4)
    with tqdm(desc="encode", unit="shard") as bar:
        study = Study(MODELS, options.folder, shards, follow(bar))
    base = study.text_base(options.text_steps, tqdm.write)
    test = Test(study, load_judge(MODELS / "judge.safetensors"), options.cases)
    seeds = range(options.seeds) if options.only_seed is None else [options.only_seed]
    scores: dict[str, list[Scores]] = {name: [] for name in options.arms}
    sensitivity: dict[str, Scores] = {}
    noise: dict[str, float] = {}
    for seed in seeds:
        for name in options.arms:
            folder = options.folder / f"{name}-{seed}"
            folder.mkdir(exist_ok=True)
            networks = study.train(name, seed, base, options.steps, tqdm.write)
            found = remembered(folder / "scores.npz", lambda: test.scores(name, networks, seed, folder))  # noqa: B023
            scores[name].append(found)
            print(name, seed, {k: round(float(np.nanmean(v)), 4) for k, v in found.items()}, flush=True)
            if seed == 0:
                noise[name] = study.noise_share(name, networks, test.first(SENSITIVITY_CASES))
                path = folder / "sensitivity.npz"
                sensitivity[name] = remembered(path, lambda: test.sensitivity(name, networks))  # noqa: B023
    if options.only_seed is not None:
        return

    rows = {
        name: rounded(row(tables) | spread(sensitivity[name]) | {"noise_share": noise[name]})
        for name, tables in scores.items()
    }
    identity = {name: np.mean([one["identity"] for one in tables], axis=0) for name, tables in scores.items()}
    differences = {
        figure: gain(identity[ours], identity[theirs])
        for figure, (ours, theirs) in (PAIRS | MORE_PAIRS).items()
        if ours in identity and theirs in identity
    }
    print(text := tables_of(rows, differences))
    if options.dry or len(rows) < len(ARMS):
        return
    command = f"python dev.py bench ablation --steps {options.steps} --triplets {options.triplets} "
    command += f"--seeds {options.seeds}"
    figures = {"ablation_rows": (len(rows), "arms")} | row_figures(rows) | gain_figures(differences, MORE_PAIRS)
    print(record("evaluation", figures, command), record("flagship", gain_figures(differences, PAIRS), command))
    report.fill(ROOT / "docs" / "ablation.md", text)
    report.plot(rows, SCALES, ROOT / "docs" / "images")
    results = {name: options.folder / f"{name}-0" / "results.png" for name in SHOWN}
    report.side_by_side(results, ROOT / "docs" / "images" / "ablation_results.jpg")


if __name__ == "__main__":
    main()
