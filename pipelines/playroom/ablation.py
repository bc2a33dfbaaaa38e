"""One embedding optimizer against another, all else equal: the same UNet, triplets, steps and random choices.

Every arm starts from the shipped UNet with its cross-attention drawn anew, so that none inherits what was learned with
another optimizer's contexts, and trains a new optimizer and that cross-attention. The rest of the UNet stays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPVisionModelWithProjection

from ..training.engine import fit
from ..training.trainer import Settings
from ..visual_insertion.optimizer_modules import EmbeddingOptimizer
from ..visual_insertion.training.insertion import AsReleased, InsertionTask, Weighting, preview
from ..visual_insertion.training.triplets import EncodedTriplets
from . import dataset, oracle
from .encoded import encode_objects, encode_pictures
from .judge import Judge
from .models import make_embedding_optimizer
from .recipe import GUIDANCE, noise_schedule
from .tasks import decode_latents, to_pictures

BATCH = 32
SAMPLING_BATCH = 64


@dataclass(frozen=True)
class Arm:
    """What is compared."""

    variant: str  # of the embedding optimizer
    random_queries: bool = False  # drawn anew in every forward, in training and afterwards
    nulls: str = "one"  # "released": trained with the context of a blank picture, guided against zeros


ARMS = {
    "resampler": Arm("resampler"),
    "pooled_mlp4_released": Arm("pooled_mlp4", random_queries=True, nulls="released"),
    "pooled_mlp4_learned_queries": Arm("pooled_mlp4", nulls="released"),
    "pooled_mlp4_one_null": Arm("pooled_mlp4", random_queries=True),
    "resampler_random_queries": Arm("resampler", random_queries=True),
    "resampler_released_nulls": Arm("resampler", nulls="released"),
}


@dataclass(frozen=True)
class Base:
    """The shipped networks that every arm shares."""

    folder: Path
    vae: AutoencoderKL
    encoder: CLIPVisionModelWithProjection

    @classmethod
    def load(cls, folder: Path) -> Base:
        vae = AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32)
        encoder = CLIPVisionModelWithProjection.from_pretrained(folder / "image_encoder", dtype=torch.float32)
        return cls(folder, cast(AutoencoderKL, vae).eval(), encoder.eval())

    def unet(self, seed: int) -> UNet2DConditionModel:
        """The UNet, frozen but for its cross-attention, which is drawn anew from `seed`."""
        unet: Any = UNet2DConditionModel.from_pretrained(self.folder / "unet", torch_dtype=torch.float32)
        unet.requires_grad_(False)
        torch.manual_seed(seed)
        for name, module in unet.named_modules():
            if ".attn2." in name and isinstance(module, torch.nn.Linear):
                module.reset_parameters()
                module.requires_grad_(True)
        return unet

    def blank(self) -> Tensor:
        """[1,T,D] tokens of an all-zero encoder input: the mean colour everywhere."""
        size = cast(Any, self.encoder.config).image_size
        with torch.no_grad():
            return self.encoder(pixel_values=torch.zeros(1, 3, size, size)).last_hidden_state


def train(
    arm: Arm, seed: int, base: Base, data: EncodedTriplets, steps: int, folder: Path, report: Callable[[str], None]
) -> tuple[UNet2DConditionModel, EmbeddingOptimizer]:
    """Train an arm in `folder`, going on from its checkpoint; a finished one is read back."""
    unet = base.unet(seed)
    torch.manual_seed(seed)
    optimizer = make_embedding_optimizer(arm.variant)
    released = AsReleased(arm.random_queries, base.blank() if arm.nulls == "released" else None)
    task = InsertionTask(
        unet, optimizer, data, noise_schedule(), BATCH, weighting=Weighting(region=3.0), as_released=released
    )
    settings = Settings(steps, learning_rate=1e-3, seed=seed, warmup=min(100, steps // 10))
    trained = fit(task, settings, folder, report).modules
    return trained["unet"], trained["embedding_optimizer"]


@torch.no_grad()
def insert(arm: Arm, unet, optimizer: EmbeddingOptimizer, base: Base, truth: dataset.Arrays, seed: int) -> np.ndarray:
    """uint8 pictures [N,H,W,3] of the objects in the scenes of `truth`, by DDIM at the playroom's scales."""
    generator = torch.Generator().manual_seed(seed)
    features = encode_objects(base.encoder, truth["objects"][:, :1])[:, 0].float()
    scenes = encode_pictures(base.vae, truth["scene"])
    pictures = []
    for start in range(0, len(scenes), SAMPLING_BATCH):
        part = slice(start, start + SAMPLING_BATCH)
        queries = optimizer.draw_queries(len(features[part]), generator) if arm.random_queries else None
        context = optimizer(features[part], queries=queries)
        with torch.autocast("cpu", torch.bfloat16):
            latent = preview(
                unet, context, optimizer.null, scenes[part], noise_schedule(), GUIDANCE, seed=seed * 1000 + start
            )
            pictures.append(to_pictures(decode_latents(base.vae, latent)))
    return np.concatenate(pictures)


@torch.no_grad()
def restored_scenes(base: Base, truth: dataset.Arrays) -> np.ndarray:
    """What the VAE alone makes of the scenes, uint8."""
    parts = np.array_split(truth["scene"], max(1, len(truth["scene"]) // SAMPLING_BATCH))
    return np.concatenate([to_pictures(decode_latents(base.vae, encode_pictures(base.vae, part))) for part in parts])


def score(results: np.ndarray, restored: np.ndarray, truth: dataset.Arrays, judge: Judge) -> dict[str, np.ndarray]:
    """Per case: "identity" and the oracle's other scores."""
    table = oracle.score(results, restored, truth, judge)
    return {**table, "identity": oracle.identity(table)}
