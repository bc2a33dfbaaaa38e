"""The shipped VAE's decoder against the one before its polish, on the same latents.

True pictures of the test split: sharpness, PSNR, and what the judge sees (`pipelines/playroom/judging`). The flagship's
results: drawn once, decoded by both, judged by the oracle, each against the scenes as the same decoder gives them back.
Nothing may get worse by more than its bar; if something does, the command says so and ends with 1.

    python dev.py bench decoder                                   docs/figures/first_hour.json, docs/images/decoder.jpg
    python dev.py bench decoder --after decoder.safetensors --dry        a decoder that is not in the shipped VAE yet
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from tqdm import tqdm

from ..pipelines.playroom.judging import oracle, sharpness
from ..pipelines.playroom.judging.judge import load_judge
from ..pipelines.playroom.pictures import grid, to_signed
from ..pipelines.playroom.visual_insertion.decoder_examples import decode_exactly, encode_exactly
from ..pipelines.playroom.visual_insertion.decoder_file import WEIGHTS, encoder_fingerprint, load_decoder
from ..pipelines.playroom.world import dataset
from ..pipelines.visual_insertion.pipeline import VisualInsertionPipeline
from ..pipelines.weights.pretrained import load_model
from ..pipelines.weights.reading import read_weights
from ..pipelines.weights.writing import save_tensors
from .bench_playroom import UNITS, shipped_settings
from .figures import ROOT, joined, record

MODELS = ROOT / "playroom_models"
BEFORE = "ced073c"  # the last commit with the decoder as it was
BATCH = 32
SHEET = 8  # true pictures and results each
BARS = {  # by how much a figure may get worse; colours are better when small
    "psnr_db": 0.2,
    "flat_psnr_db": 0.2,
    "inserted_rate": 0.01,
    "colour_distance": 1.0,
    "colour_ratio": 0.01,
    "shape_accuracy": 0.01,
    "pattern_accuracy": 0.01,
    "supported_rate": 0.01,
    "background_psnr_db": 0.2,
    "background_psnr_share_of_vae": 0.01,
}
LOWER_IS_BETTER = ("colour_distance", "colour_ratio")
OF_TRUE = " of true pictures"  # ends the names of what the judge sees of those

Figures = dict[str, float]


def weights_before(commit: str, folder: Path) -> Path:
    """A VAE's folder as it was at a commit, written into `folder`."""
    for name in ("config.json", WEIGHTS):
        content = subprocess.run(
            ["git", "show", f"{commit}:playroom_models/vae/{name}"], cwd=ROOT, capture_output=True, check=True
        ).stdout
        (folder / name).write_bytes(content)
    return folder


@dataclass
class Cases:
    """Test triplets, their latents and those that the flagship draws."""

    truth: dataset.Arrays
    scenes: Tensor  # [N,4,h,w]
    targets: Tensor  # [N,4,h,w]
    results: list[Tensor]  # [N,4,h,w], for each seed


def drawn_latents(truth: dataset.Arrays, seeds: int, device: str) -> list[Tensor]:
    """The flagship's latents for these triplets, at the shipped settings."""
    pipeline = VisualInsertionPipeline.from_folder(MODELS, device=device)
    sampler = shipped_settings()["sampler"]
    scenes = torch.from_numpy(truth["scene"]).float() / 255
    objects = torch.from_numpy(truth["objects"][:, 0]).float() / 255
    contexts = [pipeline.contexts(picture) for picture in objects]
    results = []
    for seed in range(seeds):
        parts = []
        for start in tqdm(range(0, len(scenes), BATCH), desc=f"seed {seed}", leave=False):
            part = slice(start, start + BATCH)
            insertion = pipeline.sample(
                scenes[part],
                torch.cat([context for context, _ in contexts[part]]),
                contexts[0][1],
                steps=sampler["steps"],
                sampler=sampler["sampler_name"],
                seed=seed * 1000 + start,
            )
            parts.append(insertion.latents.cpu())
        results.append(torch.cat(parts))
    return results


def kept_latents(truth: dataset.Arrays, seeds: int, device: str, file: Path) -> list[Tensor]:
    """As `drawn_latents`, from a file of an earlier call if there is one."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        save_tensors(file, {str(seed): latents for seed, latents in enumerate(drawn_latents(truth, seeds, device))})
    stored, _ = read_weights(file)
    return [stored[str(seed)] for seed in range(seeds)]


@dataclass
class Decoded:
    """What one decoder makes of the cases, and how good that is."""

    targets: np.ndarray
    results: np.ndarray  # of the first seed
    figures: Figures


def measure(vae: AutoencoderKL, cases: Cases, judge) -> Decoded:
    """Decode all latents of the cases and judge what comes out."""
    scenes = decode_exactly(vae, cases.scenes)
    targets = decode_exactly(vae, cases.targets)
    results = [decode_exactly(vae, latents) for latents in cases.results]
    true = to_signed(cases.truth["target"])
    signed = to_signed(targets)
    figures = {
        "sharpness": sharpness.sharpness(signed, true),
        "psnr_db": sharpness.psnr(signed, true),
        "flat_psnr_db": sharpness.flat_psnr(signed, true),
        "results_steepness": sharpness.strongest_gradient(to_signed(results[0])) / sharpness.strongest_gradient(true),
    }
    tables = [oracle.score(pictures, scenes, cases.truth, judge) for pictures in results]
    figures |= oracle.summary(joined(tables))
    of_true = oracle.summary(oracle.score(targets, scenes, cases.truth, judge))
    figures |= {name + OF_TRUE: value for name, value in of_true.items()}
    return Decoded(targets, results[0], figures)


def misses(before: Figures, after: Figures) -> list[str]:
    """The names of what got worse by more than its bar."""
    missed = []
    for name, bar in BARS.items():
        sign = -1 if name in LOWER_IS_BETTER else 1
        for full in (name, name + OF_TRUE):
            if full in before and sign * (after[full] - before[full]) < -bar:
                missed.append(full)
    return missed


def figures_to_record(before: Figures, after: Figures) -> dict[str, tuple[float, str]]:
    """What goes into first_hour.json."""
    edges = "mean gradient at true edges, share of the truth's"
    values = {
        "decoder_sharpness_gain": (after["sharpness"] / before["sharpness"], "sharpness, polished over before"),
        "decoder_sharpness": (after["sharpness"], edges),
        "decoder_sharpness_before": (before["sharpness"], edges),
        "decoder_psnr_db": (after["psnr_db"], "dB, true pictures of the test split through the VAE"),
        "decoder_psnr_before_db": (before["psnr_db"], "dB, true pictures of the test split through the VAE"),
        "decoder_flat_psnr_db": (after["flat_psnr_db"], "dB, the same more than 3 px from every true edge"),
        "decoder_flat_psnr_before_db": (before["flat_psnr_db"], "dB, the same more than 3 px from every true edge"),
        "decoder_bars_missed": (float(len(misses(before, after))), "figures worse than before by more than their bar"),
    }
    for name, unit in UNITS.items():
        values[f"decoder_{name}"] = (after[name], unit)
        values[f"decoder_{name}_before"] = (before[name], unit)
    return {name: (round(value, 4), unit) for name, (value, unit) in values.items()}


def draw_sheet(truth: dataset.Arrays, before: Decoded, after: Decoded, path: Path) -> None:
    """True pictures, before, now; below them the scene, before, now of the flagship's results. Not picked."""
    columns = []
    for top, bottom in (
        (truth["target"], truth["scene"]),
        (before.targets, before.results),
        (after.targets, after.results),
    ):
        columns.append(np.concatenate([top[:SHEET], bottom[SHEET : 2 * SHEET]]))
    path.parent.mkdir(parents=True, exist_ok=True)
    grid(columns, height=256).save(path, quality=90)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", default=BEFORE, help="a commit, or the folder of a VAE")
    parser.add_argument("--after", type=Path, help="a decoder's file; default: the shipped VAE")
    parser.add_argument("--cases", type=int, default=256)
    parser.add_argument("--seeds", type=int, default=1, help="of the flagship's results")
    parser.add_argument(
        "--latents", type=Path, help="the flagship's, drawn where the file is not there; see --draw-only"
    )
    parser.add_argument("--draw-only", action="store_true", help="draw the flagship's latents and stop")
    parser.add_argument("--device", default="cpu", help="that draws them")
    parser.add_argument("--dry", action="store_true", help="print, write no figure; the sheet goes to output/bench")
    options = parser.parse_args()
    output = ROOT / "output" / "bench"
    latents_file = options.latents or output / f"decoder_latents_{options.cases}_{options.seeds}.safetensors"
    truth = dataset.render_arrays(dataset.TEST_SEEDS[: options.cases], views=1)
    results = kept_latents(truth, options.seeds, options.device, latents_file)
    if options.draw_only:
        print(latents_file)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        is_folder = Path(options.before).is_dir()
        source = Path(options.before) if is_folder else weights_before(options.before, Path(folder))
        old: AutoencoderKL = load_model(AutoencoderKL, source)
    new: AutoencoderKL = load_model(AutoencoderKL, MODELS / "vae")
    if options.after:
        load_decoder(options.after, new)
    assert encoder_fingerprint(old) == encoder_fingerprint(new), "the two VAEs do not have the same latents"

    cases = Cases(truth, encode_exactly(new, truth["scene"]), encode_exactly(new, truth["target"]), results)
    judge = load_judge(MODELS / "judge.safetensors")
    before = measure(old, cases, judge)
    after = measure(new, cases, judge)
    missed = misses(before.figures, after.figures)
    print(f"{'':44}{'before':>10}{'polished':>10}{'bar':>8}")
    for name, value in before.figures.items():
        bar = BARS.get(name.removesuffix(OF_TRUE), "")
        note = "  worse than its bar" if name in missed else ""
        print(f"{name:44}{value:10.4f}{after.figures[name]:10.4f}{bar:>8}{note}")
    sheet = output / "decoder.jpg" if options.dry else ROOT / "docs" / "images" / "decoder.jpg"
    draw_sheet(truth, before, after, sheet)
    print(sheet)
    if not options.dry:
        values = figures_to_record(before.figures, after.figures)
        print(record("first_hour", values, "python dev.py bench decoder"))
    return 1 if missed else 0


if __name__ == "__main__":
    main()
