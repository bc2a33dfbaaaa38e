"""The playroom's inpainting model for Paint by Example: holes, exemplars, training, files; every stage resumable.

    render -> encode -> train -> export

Starts from the shipped playroom UNet, whose channels for noise and scene become those for noise and masked picture.
VAE and vision encoder are the shipped ones and stay as they are.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import torch
from PIL import Image
from torch import nn

from ...paint_by_example.exemplar_encoder import ExemplarEncoder, ExemplarSettings
from ...paint_by_example.training.exemplar_task import EncodedExemplars, ExemplarTask
from ...paint_by_example.training.initial_model import inpainting_unet
from ...progress import ProgressBar
from ...training.denoising import Weighting
from ...training.engine import fit
from ...training.run_folder import run_folder
from ...training.task import Modules
from ...training.trainer import Settings
from ..models import CONTEXT_WIDTH, ENCODER_WIDTH, ShippedNetworks, noise_schedule
from ..toy_head import ToyHead
from ..world import dataset
from .encoded_exemplars import encode
from .export import save_models
from .painting import GUIDANCE, PaintingCases, paint, sheet

SHEET_CASES = 24
EXEMPLAR_ENCODER = ExemplarSettings(ENCODER_WIDTH, CONTEXT_WIDTH, blocks=2, heads=1)


@dataclass(frozen=True)
class Recipe:
    """How much of everything; a step is 32 holes."""

    triplets: int = 8000  # only their pictures with the toy, its box and other pictures of it are used
    views: int = 4
    steps: int = 3000
    learning_rate: float = 7e-4
    null_share: float = 0.2  # of the samples lose their exemplar, as published
    other_share: float = 0.5  # of the samples see another picture of the toy, not a crop of the target
    region: float = 3.0  # the hole's cells count this much more
    seed: int = 0


class ExemplarHead(ToyHead):
    """Reads a toy's identity off the one token [B,1,128]; thrown away after training."""

    def __init__(self):
        super().__init__()
        self.read = nn.Linear(CONTEXT_WIDTH, sum(self.sizes))


def exemplar_task(
    recipe: Recipe, data: EncodedExemplars, shipped: ShippedNetworks, held_out: dataset.Arrays
) -> ExemplarTask:
    """The shipped UNet made wider, a new exemplar encoder, encoded pictures."""
    unet = shipped.unet()
    cases = PaintingCases.of(held_out, shipped)

    def draw_sheet(modules: Modules) -> Image.Image:
        encoder = cast(ExemplarEncoder, modules["exemplar_encoder"])
        return sheet(cases, paint(modules["unet"], encoder, shipped.vae, cases, scale=GUIDANCE))

    torch.manual_seed(recipe.seed)
    return ExemplarTask(
        inpainting_unet(unet),
        ExemplarEncoder(EXEMPLAR_ENCODER),
        data,
        noise_schedule(),
        batch=32,
        null_share=recipe.null_share,
        other_share=recipe.other_share,
        weighting=Weighting(region=recipe.region, region_until=1000),
        head=ExemplarHead(),
        draw_sheet=draw_sheet,
    )


def build(recipe: Recipe, models: Path, folder: Path, output: Path, report: Callable[[str], None] = print) -> None:
    """Run the recipe on the shipped `models` in `folder`, and write the inpainting model to `output`."""
    shipped = ShippedNetworks.load(models)
    with ProgressBar("render", "shard") as progress:
        shards = dataset.render(folder / "triplets", range(recipe.triplets), recipe.views, progress=progress)
    with ProgressBar("encode", "shard") as progress:
        data = encode(shards, folder / "exemplars", shipped.vae, shipped.encoder, progress=progress)
    held_out = dataset.render_arrays(dataset.VALIDATION_SEEDS[:SHEET_CASES], views=1)
    settings = Settings(
        recipe.steps,
        recipe.learning_rate,
        seed=recipe.seed,
        warmup=min(100, max(1, recipe.steps // 10)),
        validate_every=max(100, recipe.steps // 10),
        log_every=25,
        ema=0.998,
    )
    seed = {"run.seed": str(recipe.seed)}
    with run_folder(folder / "inpainting"):
        result = fit(exemplar_task(recipe, data, shipped, held_out), settings, folder / "inpainting", report, seed)
    facts = {
        "guidance": GUIDANCE,
        "prediction_type": "v_prediction",
        "unet_input": ["noisy latent", "masked picture's latent", "mask, 1 = keep"],
        "recipe": asdict(recipe),
        "seconds": round(result.seconds),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
    }
    save_models(output, result.modules["unet"], cast(ExemplarEncoder, result.modules["exemplar_encoder"]), facts)


def main() -> None:
    shipped = Recipe()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path("playroom_models"), help="the shipped playroom models")
    parser.add_argument("--folder", type=Path, default=Path("output/playroom"), help="data, checkpoint, sheet and log")
    parser.add_argument("--output", type=Path, help="where the model goes; default FOLDER/paint_by_example")
    parser.add_argument("--triplets", type=int, default=shipped.triplets)
    parser.add_argument("--steps", type=int, default=shipped.steps)
    parser.add_argument("--seed", type=int, default=shipped.seed)
    options = parser.parse_args()
    recipe = Recipe(triplets=options.triplets, steps=options.steps, seed=options.seed)
    build(recipe, options.models, options.folder, options.output or options.folder / "paint_by_example")


if __name__ == "__main__":
    main()
