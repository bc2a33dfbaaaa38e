"""Resampler against the published pooled_mlp4 on the playroom, and each of their differences on its own.

Trains every arm at equal steps and seeds (resumable), inserts the test split's objects, and compares identity case by
case. Figures go to docs/figures/flagship.json, the table and the first pictures to output/ablation.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from scipy.stats import bootstrap
from tqdm import tqdm

from ..pipelines.playroom import ablation, dataset
from ..pipelines.playroom.encoded import encode
from ..pipelines.playroom.judge import load_judge
from ..pipelines.playroom.recipe import follow
from ..pipelines.playroom.tasks import grid
from .figures import ROOT, record

MODELS = ROOT / "playroom_models"
PAIRS = {  # figure: (better?, than)
    "resampler_identity_gain": ("resampler", "pooled_mlp4_released"),
    "pooled_learned_queries_gain": ("pooled_mlp4_learned_queries", "pooled_mlp4_released"),
    "pooled_one_null_gain": ("pooled_mlp4_one_null", "pooled_mlp4_released"),
    "resampler_learned_queries_gain": ("resampler", "resampler_random_queries"),
    "resampler_one_null_gain": ("resampler", "resampler_released_nulls"),
}


def interval(differences: np.ndarray) -> tuple[float, float, float]:
    """Mean of paired differences [cases] and its 95 % bootstrap interval over the cases."""
    found = bootstrap((differences,), np.mean, confidence_level=0.95, rng=np.random.default_rng(0)).confidence_interval
    return float(differences.mean()), float(found.low), float(found.high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--triplets", type=int, default=6000)
    parser.add_argument("--seeds", type=int, default=2, help="trainings of each arm")
    parser.add_argument("--cases", type=int, default=256)
    parser.add_argument("--arms", nargs="+", choices=ablation.ARMS, default=list(ablation.ARMS))
    parser.add_argument("--folder", type=Path, default=ROOT / "output" / "ablation")
    parser.add_argument("--dry", action="store_true", help="print the figures, write no file")
    options = parser.parse_args()

    base, judge = ablation.Base.load(MODELS), load_judge(MODELS / "judge.safetensors")
    shards = dataset.render(options.folder / "triplets", range(options.triplets), views=4)
    with tqdm(desc="encode", unit="shard") as bar:
        data = encode(shards, options.folder / "encoded", base.vae, base.encoder, follow(bar))
    data.labels.clear()
    truth = dataset.render_arrays(dataset.TEST_SEEDS[: options.cases], views=1)
    restored = ablation.restored_scenes(base, truth)
    scores: dict[str, list[dict[str, np.ndarray]]] = {name: [] for name in options.arms}
    for seed in range(options.seeds):
        for name in options.arms:
            arm, folder = ablation.ARMS[name], options.folder / f"{name}-{seed}"
            networks = ablation.train(arm, seed, base, data, options.steps, folder, tqdm.write)
            results = ablation.insert(arm, *networks, base, truth, seed)
            grid([truth["scene"][:24], truth["objects"][:24, 0], results[:24]], across=4).save(folder / "results.png")
            scores[name].append(ablation.score(results, restored, truth, judge))
            print(name, seed, {k: round(float(np.nanmean(v)), 4) for k, v in scores[name][-1].items()}, flush=True)

    means = {name: {k: np.mean([t[k] for t in tables], axis=0) for k in tables[0]} for name, tables in scores.items()}
    table = {name: {k: round(float(np.nanmean(v)), 4) for k, v in row.items()} for name, row in means.items()}
    (options.folder / "table.json").write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
    figures = {f"identity_{name}": (row["identity"], "0..1, mean over cases") for name, row in table.items()}
    for figure, (ours, theirs) in PAIRS.items():
        if ours in means and theirs in means:
            gain, low, high = interval(means[ours]["identity"] - means[theirs]["identity"])
            unit = f"identity, {ours} - {theirs}, paired over cases"
            figures[figure] = (round(gain, 4), unit)
            figures[f"{figure}_low"] = (round(low, 4), f"{unit}, lower end of 95 %")
            figures[f"{figure}_high"] = (round(high, 4), f"{unit}, upper end of 95 %")
    for name, (value, unit) in figures.items():
        print(f"{name:44}{value:8.4f}  {unit}")
    if not options.dry:
        settings = f"--steps {options.steps} --triplets {options.triplets} --seeds {options.seeds}"
        print(record("flagship", figures, f"python dev.py bench ablation {settings}"))


if __name__ == "__main__":
    main()
