"""What makes visually guided insertion work: one change at a time on the playroom, at equal steps.

As for the authors, the story begins with a UNet that follows words, here the playroom's (`words`): `Study.text_base`
trains it once. Every arm starts from there, shows it pictures in place of words, and trains what the arm says.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from ...baselines.frozen_swap import TokensForWords
from ...pictures.objects import crop_box
from ...training.denoising import Weighting
from ...training.engine import fit
from ...training.trainer import Settings
from ...visual_insertion.context_encoder import ContextEncoder
from ...visual_insertion.released_optimizers import set_null
from ...visual_insertion.training.insertion_task import AsReleased, EncodedTriplets, InsertionTask, preview
from ..judging import oracle
from ..judging.judge import Judge
from ..models import CONTEXT_TOKENS, CONTEXT_WIDTH, ENCODER_WIDTH, Base, make_embedding_optimizer, noise_schedule
from ..pictures import decode_latents, encode_pictures, to_pictures, to_signed
from ..world import dataset, words
from ..world.triplets import OBJECT_SIZE
from .encoded_triplets import encode
from .recipe import GUIDANCE
from .word_encoder import WordEncoder

BATCH = 32
SAMPLING_BATCH = 64


@dataclass(frozen=True)
class Arm:
    """What is compared. `pictures` are those of training and, but for "crop", of sampling."""

    variant: str | None  # of the embedding optimizer; None: vision tokens in the place of words, nothing trained
    unet: bool = False  # its cross-attention is trained as well
    share: float = 1.0  # of the triplets
    random_queries: bool = False  # drawn anew in every forward, in training and sampling
    nulls: str = "one"  # the base's empty caption; "three": that before, a blank picture in training, then zeros
    pictures: str = "views"  # other pictures of the toy; "crop": out of the target; "masked crop": without background;
    # "words": none


_SLIDES: dict[str, Any] = dict(random_queries=True, nulls="three")
ARMS = {
    "words": Arm(None, pictures="words"),  # the base itself, told what to add
    "frozen_swap": Arm(None),
    "two_linear": Arm("two_linear", share=0.4, nulls="three"),
    "pooled_mlp2": Arm("pooled_mlp2", share=0.4, **_SLIDES),
    "pooled_mlp4": Arm("pooled_mlp4", share=0.4, **_SLIDES),
    "pooled_mlp4_attn2": Arm("pooled_mlp4", True, share=0.4, **_SLIDES),
    "pooled_mlp4_attn2_data": Arm("pooled_mlp4", True, **_SLIDES),
    "pooled_mlp4_learned_queries": Arm("pooled_mlp4", True, nulls="three"),
    "pooled_mlp4_one_null": Arm("pooled_mlp4", True, random_queries=True),
    "resampler": Arm("resampler", True),
    "resampler_frozen_unet": Arm("resampler"),
    "resampler_random_queries": Arm("resampler", True, random_queries=True),
    "resampler_three_nulls": Arm("resampler", True, nulls="three"),
    "resampler_crop": Arm("resampler", True, pictures="crop"),
    "resampler_masked_crop": Arm("resampler", True, pictures="masked crop"),
}
SWAP: dict[str, Any] = {
    "encoder_width": ENCODER_WIDTH,
    "context_width": CONTEXT_WIDTH,
    "context_tokens": CONTEXT_TOKENS,
}
Networks = tuple[UNet2DConditionModel, ContextEncoder]


def cross_attention(unet: UNet2DConditionModel, anew: bool = False) -> UNet2DConditionModel:
    """The UNet with only its cross-attention to be trained, if asked for drawn anew."""
    unet.requires_grad_(False)
    for name, module in unet.named_modules():
        if ".attn2." in name and isinstance(module, torch.nn.Linear):
            module.requires_grad_(True)
            if anew:
                module.reset_parameters()
    return unet


def crops(toys: dataset.Arrays, masked: bool) -> Tensor:
    """Pictures [N,3,64,64] of toys cut out of their targets, in -1..1; masked, all around them is 0."""
    pictures = to_signed(toys["target"])
    if masked:
        pictures = pictures * torch.from_numpy(toys["object_mask"])[:, None]
    cut = zip(pictures, toys["box"].tolist(), strict=True)
    return torch.stack([crop_box(one, tuple(box), OBJECT_SIZE, margin=2) for one, box in cut]).clamp(-1, 1)


class Study:
    """The data, the base and the arms of one comparison, in a folder where what is finished is read back."""

    def __init__(self, models: Path, folder: Path, shards: list[Path], progress: Callable[[int, int], None]):
        self.base, self.folder, self.shards = Base.load(models), folder, shards
        self.views = encode(shards, folder / "encoded", self.base.vae, self.base.encoder, progress)
        self.views.labels.clear()

    def _fit(self, task: InsertionTask, steps: int, seed: int, name: str, report: Callable[[str], None]) -> Any:
        settings = Settings(steps, learning_rate=1e-3, seed=seed, warmup=min(100, steps // 10))
        return fit(task, settings, self.folder / name, report).modules

    def _task(self, unet, optimizer: ContextEncoder, data: EncodedTriplets, released: AsReleased) -> InsertionTask:
        weighting, rates = Weighting(region=3.0), {"unet": 0.5}
        return InsertionTask(
            unet, optimizer, data, noise_schedule(), BATCH, weighting=weighting, rates=rates, as_released=released
        )

    def text_base(self, steps: int, report: Callable[[str], None] = print) -> Networks:
        """The UNet that follows words, and their encoder, whose null is the context of the empty caption."""
        toys = dataset.load(self.shards, ("shape", "pattern", "colour"))
        data = replace(self.views, features=words.tokens(toys)[:, None])
        torch.manual_seed(0)
        unet, encoder = cross_attention(self.base.unet(), anew=True), WordEncoder()
        blank = AsReleased(blank=words.EMPTY)
        trained = self._fit(self._task(unet, encoder, data, blank), steps, 0, "text", report)
        encoder = trained["embedding_optimizer"]
        with torch.no_grad():
            set_null(encoder, "empty prompt", encoder(words.EMPTY))
        return trained["unet"], encoder

    @cached_property
    def _crops(self) -> dict[str, Tensor]:
        toys = dataset.load(self.shards, ("target", "box", "object_mask"))
        kinds = {"crop": False, "masked crop": True}
        return {name: self.base.see(crops(toys, masked)).half()[:, None] for name, masked in kinds.items()}

    def data(self, arm: Arm) -> EncodedTriplets:
        """What an arm is trained on."""
        data, count = self.views, round(arm.share * len(self.views))
        features = data.features if arm.pictures == "views" else self._crops[arm.pictures]
        target, scene, region = (cast(Tensor, column)[:count] for column in (data.target, data.scene, data.region))
        return EncodedTriplets(target, scene, cast(Tensor, features)[:count], region)

    def train(
        self,
        name: str,
        seed: int,
        text_base: Networks,
        steps: int,
        report: Callable[[str], None] = print,
    ) -> Networks:
        """The networks of an arm."""
        arm, unet = ARMS[name], copy.deepcopy(text_base[0]).requires_grad_(False)
        if arm.pictures == "words":
            return unet, text_base[1]
        torch.manual_seed(seed)
        optimizer = make_embedding_optimizer(arm.variant) if arm.variant else TokensForWords(**SWAP)
        if arm.nulls == "one":
            set_null(optimizer, "empty prompt", text_base[1].null[None])
        if not arm.variant:
            return unet, optimizer
        if arm.unet:
            cross_attention(unet)
        blank = self.base.see(torch.zeros(1, 3, OBJECT_SIZE, OBJECT_SIZE)) if arm.nulls == "three" else None
        task = self._task(unet, optimizer, self.data(arm), AsReleased(arm.random_queries, blank))
        trained = self._fit(task, steps, seed, f"{name}-{seed}", report)
        return trained["unet"], trained["embedding_optimizer"]

    def _features(self, arm: Arm, truth: dataset.Arrays) -> Tensor:
        if arm.pictures == "words":
            return words.tokens(truth)
        shown = to_signed(truth["objects"][:, 0])
        if arm.pictures == "masked crop":
            shown = shown * torch.from_numpy(truth["objects_mask"][:, 0])[:, None]
        return self.base.see(shown)

    @torch.no_grad()
    def noise_share(self, name: str, networks: Networks, truth: dataset.Arrays, draws: int = 16) -> float:
        """How much of what tells contexts apart is the noise in the queries and not the picture, share of variance."""
        arm, optimizer = ARMS[name], networks[1]
        if not arm.random_queries:
            return 0.0
        features, generator = self._features(arm, truth), torch.Generator().manual_seed(0)
        queries = (optimizer.draw_queries(len(features), generator) for _ in range(draws))
        contexts = torch.stack([optimizer(features, queries=drawn) for drawn in queries])
        of_noise, of_pictures = contexts.var(0).mean(), contexts.mean(0).var(0).mean()
        return float(of_noise / (of_noise + of_pictures))

    @torch.no_grad()
    def insert(
        self, name: str, networks: Networks, truth: dataset.Arrays, seed: int, object_scale: float | None = None
    ) -> np.ndarray:
        """uint8 pictures [N,H,W,3] of the objects in the scenes of `truth`, by DDIM at the playroom's scales."""
        arm, (unet, optimizer) = ARMS[name], networks
        features = self._features(arm, truth)
        scenes = encode_pictures(self.base.vae, truth["scene"])
        guidance = replace(GUIDANCE, object_scale=object_scale or GUIDANCE.object_scale)
        generator, pictures = torch.Generator().manual_seed(seed), []
        for start in range(0, len(scenes), SAMPLING_BATCH):
            part = slice(start, start + SAMPLING_BATCH)
            queries = optimizer.draw_queries(len(features[part]), generator) if arm.random_queries else None
            around = (optimizer(features[part], queries=queries), optimizer.null, scenes[part], noise_schedule())
            with torch.autocast("cpu", torch.bfloat16):
                latent = preview(unet, *around, guidance, seed=seed * 1000 + start)
                pictures.append(to_pictures(decode_latents(self.base.vae, latent)))
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
