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
from ..pipelines.playroom.judging import oracle
from ..pipelines.playroom.judging.judge import Judge, load_judge
from ..pipelines.playroom.pictures import grid, restored_pictures
from ..pipelines.playroom.visual_insertion.ablation import ARMS, Ablation, Networks
from ..pipelines.playroom.visual_insertion.recipe import GUIDANCE
from ..pipelines.playroom.world import dataset
from ..pipelines.progress import ProgressBar
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
ILLUSTRATED = ("words", "frozen_swap", "two_linear", "pooled_mlp4_attn2_data", "resampler", "resampler_crop")
Scores = dict[str, np.ndarray]


class Test:
    """The cases, and how pictures of them are scored."""

    def __init__(self, ablation: Ablation, judge: Judge, cases: int):
        self.ablation = ablation
        self.judge = judge
        self.truth = dataset.render_arrays(dataset.TEST_SEEDS[:cases], views=1)
        self.restored = restored_pictures(ablation.shipped.vae, self.truth["scene"])

    def first(self, count: int) -> dataset.Arrays:
        return {name: values[:count] for name, values in self.truth.items()}

    def scores(self, name: str, networks: Networks, seed: int, folder: Path) -> Scores:
        """The oracle's scores of all cases and their identity; the first pictures stay in `folder`."""
        results = self.ablation.insert(name, networks, self.truth, seed=seed)
        first = self.first(24)
        grid([first["scene"], first["objects"][:, 0], results[:24]], across=4).save(folder / "results.png")
        table = oracle.score(results, self.restored, self.truth, self.judge)
        return {**table, "identity": oracle.identity(table)}

    def sensitivity(self, name: str, networks: Networks) -> Scores:
        """Identity [scales,cases] over the object scales, and [seeds,cases] of as many seeds at the usual scale."""
        truth = self.first(SENSITIVITY_CASES)
        restored = self.restored[:SENSITIVITY_CASES]

        def identity(seed: int, scale: float) -> np.ndarray:
            results = self.ablation.insert(name, networks, truth, seed=seed, object_scale=scale)
            return oracle.identity(oracle.score(results, restored, truth, self.judge))

        return {
            "scales": np.stack([identity(0, scale) for scale in SCALES]),
            "seeds": np.stack([identity(seed, GUIDANCE.object_scale) for seed in range(len(SCALES))]),
        }


def remembered(path: Path, make) -> Scores:
    """What `make` gives, from the file if that is there."""
    if not path.exists():
        scores = make()
        with whole(path) as part, open(part, "wb") as file:
            np.savez(file, allow_pickle=False, **scores)
    with np.load(path) as stored:
        return dict(stored)


def hold(folder: Path, settings: dict[str, int]) -> None:
    """Write the run's settings into its folder; SystemExit where results of other settings lie there."""
    path = folder / "settings.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else settings
    if before != settings:
        raise SystemExit(f"{folder} holds a run with {before}, this is one with {settings}. Give another --folder.")
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(settings) + "\n", encoding="utf-8")


def row(tables: list[Scores]) -> dict[str, float]:
    """Means of an arm's scores over seeds and cases, with their intervals over the cases."""
    figures = {}
    for ours, theirs in COLUMNS.items():
        over_seeds = np.ma.masked_invalid([table[theirs] for table in tables]).mean(0)
        interval = mean_interval(over_seeds.filled(np.nan))
        if interval:
            figures[ours] = interval.value
            figures[f"{ours}_low"] = interval.low or 0.0
            figures[f"{ours}_high"] = interval.high or 0.0
    seeds = [float(table["identity"].mean()) for table in tables]
    return figures | {"identity_seed_low": min(seeds), "identity_seed_high": max(seeds)}


def spread(sensitivity: Scores) -> dict[str, float]:
    """How much the best object scale depends on the case, and what knowing it would bring, beside reseeding."""
    scales = sensitivity["scales"]
    seeds = sensitivity["seeds"]
    best = np.log2(np.array(SCALES))[scales.argmax(0)]
    return {
        "best_scale_spread": float(best.std()),
        "per_case_scale_gain": float(scales.max(0).mean() - scales.mean(1).max()),
        "reseeding_gain": float(seeds.max(0).mean() - seeds[0].mean()),
        **{f"identity_at_{scale:g}": float(values.mean()) for scale, values in zip(SCALES, scales, strict=True)},
    }


def gain(ours: np.ndarray, theirs: np.ndarray) -> dict[str, float]:
    """By how much identity [N] is better, case by case."""
    interval = paired_interval(ours, theirs)
    if interval is None:
        raise ValueError("No case has an identity in both arms.")
    low = interval.value if interval.low is None else interval.low
    high = interval.value if interval.high is None else interval.high
    return rounded({"value": interval.value, "low": low, "high": high})


def rounded(figures: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in figures.items()}


def tables_of(rows: dict[str, report.Row], differences: dict[str, report.Row]) -> str:
    """What docs/ablation.md shows between its marks."""
    blocks = [
        "",
        report.table(rows),
        "![Identity by arm](images/ablation_identity.png)",
        "",
        report.difference_table(differences, PAIRS | MORE_PAIRS),
        report.sensitivity_table(rows, SCALES),
        "![Identity over scale](images/ablation_guidance.png)",
        "",
    ]
    return "\n".join(blocks)


def row_figures(rows: dict[str, report.Row]) -> dict[str, tuple[float, str]]:
    """Every figure of every arm, by the name that docs/figures/evaluation.json has for it."""
    units = {
        "background": "dB outside the object's effect",
        "best_scale": "standard deviation, log2 of the scale",
        "colour": "RGB distance, of 255",
        "noise": "share of the contexts' variance",
    }
    figures = {}
    for name, values in rows.items():
        for figure, value in values.items():
            unit = next((unit for start, unit in units.items() if figure.startswith(start)), "0..1, mean over cases")
            figures[f"ablation_{name}_{figure}"] = (value, unit)
    return figures


def gain_figures(differences: dict[str, report.Row], pairs: dict[str, tuple[str, str]]) -> dict[str, tuple[float, str]]:
    """The differences of these pairs with their ends, by figure."""
    figures = {}
    for figure, (ours, theirs) in pairs.items():
        for end, value in differences.get(figure, {}).items():
            figures[figure if end == "value" else f"{figure}_{end}"] = (value, f"identity, {ours} - {theirs}")
    return figures


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

    hold(options.folder, {name: getattr(options, name) for name in ("steps", "text_steps", "triplets", "cases")})
    shards = dataset.render(options.folder / "triplets", range(options.triplets), views=4)
    with ProgressBar("encode", "shard") as progress:
        ablation = Ablation(MODELS, options.folder, shards, progress)
    base = ablation.text_base(options.text_steps, tqdm.write)
    test = Test(ablation, load_judge(MODELS / "judge.safetensors"), options.cases)
    seeds = range(options.seeds) if options.only_seed is None else [options.only_seed]
    scores: dict[str, list[Scores]] = {name: [] for name in options.arms}
    sensitivity: dict[str, Scores] = {}
    noise: dict[str, float] = {}
    for seed in seeds:
        for name in options.arms:
            folder = options.folder / f"{name}-{seed}"
            folder.mkdir(exist_ok=True)
            networks = ablation.train(name, seed, base, options.steps, report=tqdm.write)
            table = remembered(folder / "scores.npz", lambda: test.scores(name, networks, seed, folder))  # noqa: B023
            scores[name].append(table)
            means = {figure: round(float(np.nanmean(values)), 4) for figure, values in table.items()}
            print(name, seed, means, flush=True)
            if seed == 0:
                noise[name] = ablation.noise_share(name, networks, test.first(SENSITIVITY_CASES))
                path = folder / "sensitivity.npz"
                sensitivity[name] = remembered(path, lambda: test.sensitivity(name, networks))  # noqa: B023
    if options.only_seed is not None:
        return

    rows = {}
    identity = {}
    for name, tables in scores.items():
        rows[name] = rounded(row(tables) | spread(sensitivity[name]) | {"noise_share": noise[name]})
        identity[name] = np.mean([table["identity"] for table in tables], axis=0)
    differences = {}
    for figure, (ours, theirs) in (PAIRS | MORE_PAIRS).items():
        if ours in identity and theirs in identity:
            differences[figure] = gain(identity[ours], identity[theirs])
    text = tables_of(rows, differences)
    print(text)
    if options.dry or len(rows) < len(ARMS):
        return
    command = f"python dev.py bench ablation --steps {options.steps} --triplets {options.triplets} "
    command += f"--seeds {options.seeds}"
    figures = {"ablation_rows": (len(rows), "arms")} | row_figures(rows) | gain_figures(differences, MORE_PAIRS)
    print(record("evaluation", figures, command), record("flagship", gain_figures(differences, PAIRS), command))
    report.fill(ROOT / "docs" / "ablation.md", text)
    report.plot(rows, SCALES, ROOT / "docs" / "images")
    results = {name: options.folder / f"{name}-0" / "results.png" for name in ILLUSTRATED}
    report.side_by_side(results, ROOT / "docs" / "images" / "ablation_results.jpg")


if __name__ == "__main__":
    main()
