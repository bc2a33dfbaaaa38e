"""Does Paint by Example's playroom model paint the given object into the given hole, and leave the rest alone?

Held-out scenes without their object, the true box and a margin as the hole, another view of the object as the exemplar.
Prints every figure over a range of guidance scales, and writes `docs/figures/exemplar.json` and a sheet.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..pipelines.playroom.judging import oracle
from ..pipelines.playroom.judging.judge import Judge, load_judge
from ..pipelines.playroom.models import ShippedNetworks
from ..pipelines.playroom.paint_by_example.export import load_models
from ..pipelines.playroom.paint_by_example.painting import GUIDANCE, PaintingCases, paint, sheet
from ..pipelines.playroom.pictures import restored_pictures
from ..pipelines.playroom.world import dataset
from .figures import ROOT, joined, record

MODELS = ROOT / "playroom_models"
INSIDE = 0.9  # of the inserted object's pixels have to lie in the hole
SCALES = (1.0, 1.5, 2.0, 3.0, 5.0)


def score(
    pictures: np.ndarray, restored: np.ndarray, truth: dataset.Arrays, *, holes: np.ndarray, judge: Judge
) -> dict[str, np.ndarray]:
    """The oracle's scores of each picture [N,H,W,3], whether the object lies in its hole [N,H,W], dB outside it."""
    table = oracle.score(pictures, restored, truth, judge)
    table["identity"] = oracle.identity(table)
    for column in ("inside", "outside", "outside_vae"):
        table[column] = np.zeros(len(pictures))
    for i, (picture, of_vae, hole) in enumerate(zip(pictures, restored, holes, strict=True)):
        finding = oracle.find(picture, of_vae)
        if finding:
            table["inside"][i] = (finding.mask & hole).sum() >= INSIDE * finding.mask.sum()
        table["outside"][i] = oracle.psnr(picture, truth["scene"][i], ~hole)
        table["outside_vae"][i] = oracle.psnr(of_vae, truth["scene"][i], ~hole)
    return table


def summary(table: dict[str, np.ndarray]) -> dict[str, float]:
    """The figures of `docs/figures/exemplar.json`, means over the cases."""
    mean = {name: float(np.nanmean(values)) for name, values in table.items()}
    return {
        "inserted_rate": mean["inside"],
        "colour_ratio": mean["colour"] / mean["shuffled"],
        "background_psnr_db": mean["outside"],
        "background_psnr_share_of_vae": mean["outside"] / mean["outside_vae"],
        "identity": mean["identity"],
        "shape_accuracy": mean["shape"],
        "pattern_accuracy": mean["pattern"],
        "supported_rate": mean["supported"],
    }


UNITS = {
    "inserted_rate": f"share of cases with an object of which {INSIDE:.0%} lie in the hole",
    "colour_ratio": "distance to the right object / to a shuffled one",
    "background_psnr_db": "dB to the scene, outside the hole, before any compositing",
    "background_psnr_share_of_vae": "share of the VAE round trip's dB there",
    "identity": "mean of shape, pattern and colour agreement, 0..1",
    "shape_accuracy": "share of inserted",
    "pattern_accuracy": "share of inserted",
    "supported_rate": "share of inserted",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=MODELS / "paint_by_example")
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--split", choices=["test", "validation"], default="test")
    parser.add_argument("--scale", type=float, default=GUIDANCE, help="the guidance that is recorded")
    parser.add_argument("--scales", type=float, nargs="*", default=SCALES, help="looked at beside it")
    parser.add_argument("--dry", action="store_true", help="print the figures, write no file")
    options = parser.parse_args()

    shipped = ShippedNetworks.load(MODELS)
    judge = load_judge(MODELS / "judge.safetensors")
    unet, encoder = load_models(options.model)
    seeds = dataset.TEST_SEEDS if options.split == "test" else dataset.VALIDATION_SEEDS
    truth = dataset.render_arrays(seeds[: options.cases], views=1)
    cases = PaintingCases.of(truth, shipped)
    restored = restored_pictures(shipped.vae, truth["scene"])
    output = ROOT / "output" / "bench"
    output.mkdir(parents=True, exist_ok=True)
    figures = {}
    first = slice(36)
    for scale in tqdm(sorted({*options.scales, options.scale}), desc="guidance"):
        tables = []
        for seed in range(options.seeds):
            pictures = paint(unet, encoder, shipped.vae, cases, scale=scale, seed=seed)
            tables.append(score(pictures, restored, truth, holes=cases.hole.numpy(), judge=judge))
            if not seed:
                sheet(cases[first], pictures[first]).save(output / f"paint_by_example_{scale:g}.png")
        figures[scale] = summary(joined(tables))
    print(f"{'guidance':30}" + "".join(f"{scale:8g}" for scale in figures))
    for name in UNITS:
        print(f"{name:30}" + "".join(f"{values[name]:8.3f}" for values in figures.values()))
    if not options.dry:
        recorded = {f"pbe_{name}": (round(value, 4), UNITS[name]) for name, value in figures[options.scale].items()}
        for scale, values in figures.items():
            unit = f"{UNITS['identity']}, guidance {scale:g}"
            recorded[f"pbe_identity_at_{scale:g}"] = (round(values["identity"], 4), unit)
        print(record("exemplar", recorded, "python dev.py bench paint_by_example"))


if __name__ == "__main__":
    main()
