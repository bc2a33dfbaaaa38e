"""The playroom's models from nothing: one recipe in stages, each resumable, on a CPU or a GPU.

    render -> vae -> vision -> judge -> encode -> insertion -> decoder -> polish -> export

A second call goes on where the first one stopped; finished stages are read back. `--scale 0.01` runs the whole
recipe in minutes, to see that it works.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from diffusers import AutoencoderKL
from tqdm import tqdm

from ...progress import ProgressBar
from ...sampling.guidance import Guidance
from ...training.denoising import Weighting
from ...training.engine import fit
from ...training.run_folder import run_folder
from ...training.task import Modules, Task
from ...training.trainer import Settings
from ...visual_insertion.training.insertion_task import EncodedTriplets, InsertionTask, preview
from ..judging.judge import JudgeTask, save_judge
from ..latent_basis import whiten
from ..models import make_unet, noise_schedule
from ..pictures import decode_latents, encode_pictures, grid, to_pictures, to_signed
from ..toy_head import LABELS
from ..world import dataset
from .decoder_examples import ExampleMaker
from .decoder_task import LEARNING_RATE, POLISH_SETTINGS, DecoderTask
from .encoded_triplets import encode, encode_objects
from .export import preview_factors, save_models
from .tasks import VaeTask, VisionTask

GUIDANCE = Guidance(object_scale=2.5, scene_scale=1.2)  # the playroom's shipped scales
SHEET_CASES = 24
POLISH_SHARDS = 6  # of triplets, two pictures each
DRAWN = 512  # latents of the UNet that the polish sees
POLISH_BATCH = 32


@dataclass(frozen=True)
class Recipe:
    """How much of everything.

    A step is 12 crops (VAE, decoder), 32 pictures (polish), 48 or 64 toys (vision, judge), 32 triplets.
    """

    triplets: int = 12_500
    views: int = 4
    vae: int = 2000
    vision: int = 2000
    judge: int = 1100
    insertion: int = 6500
    decoder: int = 900
    polish: int = 4000
    seed: int = 0

    def scaled(self, factor: float) -> Recipe:
        """A share of the triplets, at least a shard, and of the steps, at least ten of each."""
        stages = ("vae", "vision", "judge", "insertion", "decoder", "polish")
        steps = {stage: max(10, round(factor * getattr(self, stage))) for stage in stages}
        return replace(self, triplets=max(dataset.SHARD, round(factor * self.triplets)), **steps)


class Stages:
    """The stages of a recipe: what they leave lies in `folder`, where what is finished is read back."""

    def __init__(self, recipe: Recipe, folder: Path, device: str):
        self.recipe = recipe
        self.folder = folder
        self.device = device
        self.seconds: dict[str, float] = {}

    def render(self, seeds: range) -> list[Path]:
        started = time.monotonic()
        with ProgressBar(f"render {len(seeds)} triplets", "shard") as progress:
            shards = dataset.render(self.folder / "triplets", seeds, self.recipe.views, progress=progress)
        self.seconds["render"] = self.seconds.get("render", 0) + time.monotonic() - started
        return shards

    def train(
        self, name: str, make: Callable[[], Task], *, steps: int, learning_rate: float, **settings: Any
    ) -> Modules:
        torch.manual_seed(self.recipe.seed)  # here, so that stages read back do not change the next one
        bar = tqdm(desc=name, total=steps, unit="step")

        def report(line: str) -> None:
            bar.set_postfix_str(line, refresh=False)
            words = line.split()
            if words[0] == "step":
                bar.update(int(words[1]) - bar.n)

        common = Settings(
            steps,
            learning_rate,
            seed=self.recipe.seed,
            device=cast(Any, self.device),
            warmup=min(100, steps // 10),
            validate_every=max(100, steps // 10),
        )
        seed = {"run.seed": str(self.recipe.seed)}
        with run_folder(self.folder / name):
            result = fit(make(), replace(common, **settings), self.folder / name, report, seed)
        bar.close()
        self.seconds[name] = result.seconds
        return result.modules


def insertion_task(
    data: EncodedTriplets, vision: Modules, vae: AutoencoderKL, held_out: dataset.Arrays, *, device: str
) -> InsertionTask:
    """The UNet from nothing and the embedding optimizer from where the vision stage left it, on encoded triplets."""
    scenes = held_out["scene"][:SHEET_CASES]
    objects = held_out["objects"][:SHEET_CASES, 0]
    targets = held_out["target"][:SHEET_CASES]
    scene_latents = encode_pictures(vae, scenes)
    features = encode_objects(vision["vision_encoder"], objects[:, None])[:, 0].float()

    def sheet(modules):
        embedding_optimizer = modules["embedding_optimizer"]
        latents = preview(
            modules["unet"],
            embedding_optimizer(features.to(device)),
            embedding_optimizer.null,
            scene_latents.to(device),
            noise_schedule(),
            GUIDANCE,
        )
        return grid([scenes, objects, targets, to_pictures(decode_latents(vae, latents.cpu()))], across=3)

    return InsertionTask(
        make_unet(),
        vision["embedding_optimizer"],
        data,
        noise_schedule(),
        batch=32,
        weighting=Weighting(region=3.0),
        head=vision["head"],
        rates={"embedding_optimizer": 0.4, "head": 0.4},
        draw_sheet=sheet,
    )


def build(recipe: Recipe, folder: Path, output: Path, device: str) -> None:
    """Run the recipe in `folder` and write the models to `output`."""
    stages = Stages(recipe, folder, device)
    shards = stages.render(range(recipe.triplets))
    held_out = dataset.load(stages.render(dataset.VALIDATION_SEEDS), ("scene", "target", "objects", "box"))
    pictures = dataset.load(shards, ("target", "box", "shape", "pattern"))
    toys = dataset.load(shards, ("objects", *LABELS))

    vision = stages.train(
        "vision", lambda: VisionTask(toys, held_out), steps=recipe.vision, learning_rate=8e-4, weight_decay=0.02
    )
    judge = stages.train(
        "judge",
        lambda: JudgeTask(pictures),
        steps=recipe.judge,
        learning_rate=2e-3,
        ema=0.99,
        precision="fp32",
    )
    of_vae = {"ema": 0.995, "weight_decay": 1e-4}
    trained = stages.train(
        "vae", lambda: VaeTask(pictures, held_out, recipe.vae), steps=recipe.vae, learning_rate=1.5e-3, **of_vae
    )
    vae: Any = trained["vae"].cpu()
    whiten(vae, encode_pictures(vae, pictures["target"][: dataset.SHARD]))

    vision_encoder: Any = vision["vision_encoder"].cpu()
    with ProgressBar("encode", "shard") as progress:
        data = encode(shards, folder / "encoded", vae, vision_encoder, progress=progress)
    insertion = stages.train(
        "insertion",
        lambda: insertion_task(data, vision, vae, held_out, device=device),
        steps=recipe.insertion,
        learning_rate=1e-3,
        ema=0.999,
    )
    vae.to(device)
    decoded = stages.train(
        "decoder",
        lambda: VaeTask(pictures, held_out, recipe.decoder, vae=vae),
        steps=recipe.decoder,
        learning_rate=1e-3,
        **of_vae,
    )
    of_polish = dataset.load(shards[:POLISH_SHARDS], ("scene", "target", "objects"))
    looked_at = {name: values[:SHEET_CASES] for name, values in held_out.items()}
    unet: Any = insertion["unet"].to(device)
    make = ExampleMaker(
        decoded["vae"], unet, vision_encoder, cast(Any, insertion["embedding_optimizer"].to(device)), GUIDANCE
    )
    polished = stages.train(
        "polish",
        lambda: DecoderTask(
            vae,
            vision_encoder,
            make(of_polish, DRAWN, seed=1000),
            make(looked_at, SHEET_CASES, seed=0),
            batch=POLISH_BATCH,
        ),
        steps=recipe.polish,
        learning_rate=LEARNING_RATE,
        **POLISH_SETTINGS,
    )
    vae = polished["vae"].cpu()
    vision_encoder = vision_encoder.cpu()

    sample = pictures["target"][:256]
    facts = {
        **preview_factors(encode_pictures(vae, sample), to_signed(sample)),
        "guidance": {"object_scale": GUIDANCE.object_scale, "scene_scale": GUIDANCE.scene_scale},
        "recipe": asdict(recipe),
        "seconds": {name: round(value) for name, value in stages.seconds.items()},
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, {device}, torch {torch.__version__}",
    }
    save_models(
        output,
        vae=vae,
        vision_encoder=vision_encoder,
        embedding_optimizer=cast(Any, insertion["embedding_optimizer"].cpu()),
        unet=unet.cpu(),
        facts=facts,
    )
    save_judge(judge["judge"].cpu(), output / "judge.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("output/playroom"), help="checkpoints, sheets and logs")
    parser.add_argument("--output", type=Path, help="where the models go; default FOLDER/models")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the recipe's triplets and steps")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    recipe = Recipe(seed=options.seed)
    if options.scale != 1:
        recipe = recipe.scaled(options.scale)
    build(recipe, options.folder, options.output or options.folder / "models", options.device)


if __name__ == "__main__":
    main()
