"""The slides' story measured on the playroom, one change at a time; see pipelines/playroom/ablation.py.

Trains every arm at equal steps with several seeds, inserts the test split's objects, and compares case by case. What is
finished is read back, so a call that was stopped goes on. Figures go to docs/figures/evaluation.json and flagship.json,
plots to docs/images, table and pictures to output/ablation.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..pipelines.evaluation.intervals import mean_interval, paired_interval
from ..pipelines.playroom import ablation, dataset
from ..pipelines.playroom.ablation import ARMS, Study
from ..pipelines.playroom.judge import Judge, load_judge
from ..pipelines.playroom.recipe import GUIDANCE, follow
from ..pipelines.playroom.tasks import grid
from .figures import ROOT, record

MODELS = ROOT / "playroom_models"
SCALES = (1.5, 2.5, 4.0, 6.0)  # object scales of the sensitivity
SENSITIVITY_CASES = 96
COLUMNS = {"identity": "identity", "placement": "supported", "background": "background"}  # ours: the oracle's
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
        part = path.with_suffix(".part.npz")
        np.savez(part, allow_pickle=False, **make())
        os.replace(part, path)
    with np.load(path) as stored:
        return dict(stored)


def row(tables: list[Scores]) -> dict[str, float]:
    """Means of an arm's scores over seeds and cases, with their intervals over the cases."""
    figures = {}
    for ours, theirs in (*COLUMNS.items(), ("inserted", "inserted")):
        found = mean_interval(np.nanmean([table[theirs] for table in tables], axis=0))
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


def plot(rows: dict[str, dict[str, float]], folder: Path) -> None:
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
        curve = [rows[name][f"identity_at_{scale:g}"] for scale in SCALES]
        axes.plot(SCALES, curve, "-o" if name.startswith("resampler") else "--s", ms=4, label=name)
    axes.set(xlabel="object scale", ylabel="identity, 0..1", xscale="log", xticks=SCALES, xticklabels=SCALES)
    axes.minorticks_off()
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(folder / "ablation_guidance.png", dpi=110)


def table(rows: dict[str, dict[str, float]]) -> str:
    """Markdown."""
    lines = [
        "| arm | identity | placement | background, dB | inserted | best scale's spread | per-case scale | reseeding |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, r in rows.items():
        interval = f"{r['identity']:.3f} [{r['identity_low']:.3f}, {r['identity_high']:.3f}]"
        lines.append(
            f"| `{name}` | {interval} | {r['placement']:.3f} | {r['background']:.2f} | {r['inserted']:.3f} | "
            f"{r['best_scale_spread']:.2f} | +{r['per_case_scale_gain']:.3f} | +{r['reseeding_gain']:.3f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400, help="of every arm, of 32 triplets")
    parser.add_argument("--text-steps", type=int, default=1000, help="of the UNet they start from")
    parser.add_argument("--triplets", type=int, default=6000)
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each arm")
    parser.add_argument("--cases", type=int, default=256)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--only-seed", type=int, help="train and score this seed alone, record nothing")
    parser.add_argument("--folder", type=Path, default=ROOT / "output" / "ablation")
    parser.add_argument("--dry", action="store_true", help="print the figures, write no file of the repository")
    options = parser.parse_args()

    shards = dataset.render(options.folder / "triplets", range(options.triplets), views=4)
    with tqdm(desc="encode", unit="shard") as bar:
        study = Study(MODELS, options.folder, shards, follow(bar))
    base = study.text_base(options.text_steps, tqdm.write)
    test = Test(study, load_judge(MODELS / "judge.safetensors"), options.cases)
    seeds = range(options.seeds) if options.only_seed is None else [options.only_seed]
    scores: dict[str, list[Scores]] = {name: [] for name in options.arms}
    sensitivity: dict[str, Scores] = {}
    for seed in seeds:
        for name in options.arms:
            folder = options.folder / f"{name}-{seed}"
            folder.mkdir(exist_ok=True)
            networks = study.train(name, seed, base, options.steps, tqdm.write)
            found = remembered(folder / "scores.npz", lambda: test.scores(name, networks, seed, folder))  # noqa: B023
            scores[name].append(found)
            print(name, seed, {k: round(float(np.nanmean(v)), 4) for k, v in found.items()}, flush=True)
            if seed == 0:
                path = folder / "sensitivity.npz"
                sensitivity[name] = remembered(path, lambda: test.sensitivity(name, networks))  # noqa: B023
    if options.only_seed is not None:
        return

    rows = {name: row(tables) | spread(sensitivity[name]) for name, tables in scores.items()}
    print(text := table(rows))
    (options.folder / "table.md").write_text(text, encoding="utf-8")
    identity = {name: np.mean([one["identity"] for one in tables], axis=0) for name, tables in scores.items()}

    def gains(pairs: dict[str, tuple[str, str]]) -> dict[str, tuple[float, str]]:
        figures = {}
        for figure, (ours, theirs) in pairs.items():
            if ours in identity and theirs in identity and (x := paired_interval(identity[ours], identity[theirs])):
                unit = f"identity, {ours} - {theirs}, paired over cases"
                ends = {"": x.value, "_low": x.low, "_high": x.high}
                figures |= {f"{figure}{end}": (round(v or 0.0, 4), unit) for end, v in ends.items()}
        return figures

    units = {"background": "dB outside the object's effect", "best_scale": "standard deviation, log2 of the scale"}
    figures: dict[str, tuple[float, str]] = {"ablation_rows": (len(rows), "arms")}
    for name, values in rows.items():
        for figure, value in values.items():
            unit = next((u for start, u in units.items() if figure.startswith(start)), "0..1, mean over cases")
            figures[f"ablation_{name}_{figure}"] = (round(value, 4), unit)
    figures |= gains(MORE_PAIRS)
    if not options.dry:
        plot(rows, ROOT / "docs" / "images")
        settings = f"--steps {options.steps} --triplets {options.triplets} --seeds {options.seeds}"
        command = f"python dev.py bench ablation {settings}"
        print(record("evaluation", figures, command), record("flagship", gains(PAIRS), command))


if __name__ == "__main__":
    main()
