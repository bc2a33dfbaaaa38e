"""The playroom's inpainting model for Paint by Example: holes, exemplars, training, files; every stage resumable.

    render -> encode -> train -> export

Starts from the shipped playroom UNet, whose channels for noise and scene become those for noise and masked picture.
VAE and vision encoder are the shipped ones and stay as they are.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn
from tqdm import tqdm

from ...paint_by_example import exemplar_encoder
from ...paint_by_example.exemplar_encoder import ExemplarEncoder, ExemplarSettings
from ...paint_by_example.training.exemplar_task import EncodedExemplars, ExemplarTask, preview
from ...paint_by_example.training.initial_model import inpainting_unet
from ...pictures.masks import box_mask
from ...training.denoising import Weighting
from ...training.engine import fit
from ...training.task import Modules
from ...training.trainer import Settings
from ..models import CONTEXT_WIDTH, ENCODER_WIDTH, Base, noise_schedule
from ..pictures import decode_latents, grid, to_pictures, to_signed
from ..progress import follow
from ..toy_head import ToyHead
from ..world import dataset
from ..world.rooms import SIZE
from .encoded_exemplars import encode, pool, show

GUIDANCE = 3.0  # the scale the shipped model is meant for
MARGIN = 8  # px around a toy's box, one latent cell: the holes of sheets and benchmarks
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
    """Reads a toy's identity off the one token; thrown away afterwards."""

    def __init__(self):
        super().__init__()
        self.read = nn.Linear(CONTEXT_WIDTH, sum(self.sizes))


@dataclass(frozen=True)
class Cases:
    """Scenes without their object, a hole where the truth has it, and the exemplar to paint there."""

    scene: np.ndarray  # [N,H,W,3] uint8
    exemplar: np.ndarray  # [N,64,64,3] uint8: the toy alone, another view than the truth's
    hole: Tensor  # [N,H,W] bool
    masked: Tensor  # [N,4,h,w] latents of the scenes with a grey hole
    cells: Tensor  # [N,1,h,w] the hole in latent cells
    pooled: Tensor  # [N,D]

    @classmethod
    def of(cls, truth: dataset.Arrays, base: Base, margin: int = MARGIN) -> Cases:
        """The cases of triplets: the toy's true box and `margin` px around it, filled."""
        low, high = np.floor(truth["box"][:, :2]) - margin, np.ceil(truth["box"][:, 2:]) + margin
        boxes = np.concatenate([low, high], 1).astype(int).tolist()
        hole = torch.stack([box_mask(tuple(box), SIZE, SIZE) for box in boxes])
        exemplar = truth["objects"][:, 0]
        seen = pool(base.encoder, to_signed(exemplar))
        return cls(truth["scene"], exemplar, hole, *show(base.vae, truth["scene"], hole), seen)

    def __getitem__(self, part: slice) -> Cases:
        return Cases(*(getattr(self, name)[part] for name in self.__dataclass_fields__))

    def __len__(self) -> int:
        return len(self.scene)


@torch.no_grad()
def paint(
    unet: Any, encoder: ExemplarEncoder, vae: AutoencoderKL, cases: Cases, scale: float, seed: int = 0, batch: int = 64
) -> np.ndarray:
    """uint8 pictures [N,H,W,3], whole from the VAE, by DDIM in 20 steps."""
    pictures = []
    for start in range(0, len(cases), batch):
        part = cases[start : start + batch]
        with torch.autocast("cpu", torch.bfloat16):
            context = encoder(part.pooled)
            around = (part.masked, part.cells, noise_schedule())
            latent = preview(unet, context, encoder.null, *around, scale=scale, seed=seed * 1000 + start)
            pictures.append(to_pictures(decode_latents(vae, latent)))
    return np.concatenate(pictures)


def sheet(cases: Cases, pictures: np.ndarray, across: int = 3) -> Any:
    """Scene with its hole grey, exemplar, result."""
    holed = np.where(cases.hole[..., None].numpy(), 128, cases.scene).astype(np.uint8)
    return grid([holed, cases.exemplar, pictures], across=across)


def task(recipe: Recipe, data: EncodedExemplars, base: Base, held_out: dataset.Arrays) -> ExemplarTask:
    """The shipped UNet made wider, a new exemplar encoder, encoded pictures."""
    unet: Any = UNet2DConditionModel.from_pretrained(base.folder / "unet", torch_dtype=torch.float32)
    cases = Cases.of({name: values[:SHEET_CASES] for name, values in held_out.items()}, base)

    def draw_sheet(modules: Modules):
        return sheet(cases, paint(modules["unet"], modules["exemplar_encoder"], base.vae, cases, GUIDANCE))

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


def save_models(folder: Path, unet: Any, encoder: ExemplarEncoder, facts: dict[str, Any]) -> None:
    """Write `unet/`, `exemplar_encoder.safetensors` and `facts.json` in half precision."""
    folder.mkdir(parents=True, exist_ok=True)
    shipped = copy.deepcopy(unet).half()
    shipped.register_to_config(_name_or_path="")  # it would name a folder of this machine
    shipped.save_pretrained(folder / "unet")
    notes = {"licence": "Apache-2.0", "training_data": "playroom"}
    exemplar_encoder.save(encoder, folder / "exemplar_encoder.safetensors", torch.float16, **notes)
    (folder / "facts.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def load_models(folder: Path) -> tuple[Any, ExemplarEncoder]:
    """The UNet and the exemplar encoder that `save_models` wrote, in float32."""
    unet: Any = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32)
    return unet.eval(), exemplar_encoder.load(folder / "exemplar_encoder.safetensors").float()


def build(recipe: Recipe, models: Path, folder: Path, output: Path, report: Callable[[str], None] = print) -> None:
    """Run the recipe on the shipped `models` in `folder`, and write the inpainting model to `output`."""
    base = Base.load(models)
    with tqdm(desc="render", unit="shard") as bar:
        shards = dataset.render(folder / "triplets", range(recipe.triplets), recipe.views, progress=follow(bar))
    with tqdm(desc="encode", unit="shard") as bar:
        data = encode(shards, folder / "exemplars", base.vae, base.encoder, follow(bar))
    held = dataset.render_arrays(dataset.VALIDATION_SEEDS[:SHEET_CASES], views=1)
    settings = Settings(
        recipe.steps,
        recipe.learning_rate,
        seed=recipe.seed,
        warmup=min(100, max(1, recipe.steps // 10)),
        validate_every=max(100, recipe.steps // 10),
        log_every=25,
        ema=0.998,
    )
    result = fit(task(recipe, data, base, held), settings, folder / "inpainting", report)
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
    plain = Recipe()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path("playroom_models"), help="the shipped playroom models")
    parser.add_argument("--folder", type=Path, default=Path("output/playroom"), help="data, checkpoint, sheet and log")
    parser.add_argument("--output", type=Path, help="where the model goes; default FOLDER/paint_by_example")
    parser.add_argument("--triplets", type=int, default=plain.triplets)
    parser.add_argument("--steps", type=int, default=plain.steps)
    parser.add_argument("--seed", type=int, default=plain.seed)
    options = parser.parse_args()
    recipe = Recipe(triplets=options.triplets, steps=options.steps, seed=options.seed)
    build(recipe, options.models, options.folder, options.output or options.folder / "paint_by_example")


if __name__ == "__main__":
    main()
