"""What makes visually guided insertion work: one change at a time on the playroom, at equal steps.

As for the authors, the story begins with a UNet that follows words, here the playroom's (`words`):
`Ablation.text_base` trains it once. Every arm starts from there, shows it pictures in place of words, and trains what
the arm says.
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
from ...training.precision import autocast
from ...training.run_folder import run_folder
from ...training.trainer import Settings
from ...visual_insertion.context_encoder import ContextEncoder
from ...visual_insertion.released_optimizers import set_null
from ...visual_insertion.training.insertion_task import AsReleased, EncodedTriplets, InsertionTask, preview
from ..models import (
    CONTEXT_TOKENS,
    CONTEXT_WIDTH,
    ENCODER_WIDTH,
    ShippedNetworks,
    make_embedding_optimizer,
    noise_schedule,
)
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
    """One way to insert that is compared with others.

    `pictures` of an object are those of training and, but for "crop", of sampling: "views" are other pictures of the
    toy, a "crop" is out of the target, a "masked crop" has no background, "words" are no pictures.
    """

    variant: str | None  # of the embedding optimizer; None: vision tokens in the place of words, nothing trained
    unet: bool = False  # its cross-attention is trained as well
    share: float = 1.0  # of the triplets
    random_queries: bool = False  # drawn anew in every forward, in training and sampling
    nulls: str = "one"  # the base's empty caption; "three": that before, a blank picture in training, then zeros
    pictures: str = "views"


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
    cut = []
    for picture, box in zip(pictures, toys["box"].tolist(), strict=True):
        cut.append(crop_box(picture, tuple(box), OBJECT_SIZE, margin=2))
    return torch.stack(cut).clamp(-1, 1)


class Ablation:
    """The data, the base and the arms of one comparison, in a folder where what is finished is read back."""

    def __init__(self, models: Path, folder: Path, shards: list[Path], progress: Callable[[int, int], None]):
        self.shipped = ShippedNetworks.load(models)
        self.folder = folder
        self.shards = shards
        self.views = encode(shards, folder / "encoded", self.shipped.vae, self.shipped.encoder, progress=progress)
        self.views.labels.clear()

    def _train(
        self,
        unet: UNet2DConditionModel,
        embedding_optimizer: ContextEncoder,
        data: EncodedTriplets,
        as_released: AsReleased,
        *,
        name: str,
        steps: int,
        seed: int,
        report: Callable[[str], None],
    ) -> Networks:
        task = InsertionTask(
            unet,
            embedding_optimizer,
            data,
            noise_schedule(),
            batch=BATCH,
            weighting=Weighting(region=3.0),
            rates={"unet": 0.5},
            as_released=as_released,
        )
        settings = Settings(steps, learning_rate=1e-3, seed=seed, warmup=min(100, steps // 10))
        with run_folder(self.folder / name):
            modules: Any = fit(task, settings, self.folder / name, report, {"run.seed": str(seed)}).modules
        return modules["unet"], modules["embedding_optimizer"]

    def text_base(self, steps: int, report: Callable[[str], None] = print) -> Networks:
        """The UNet that follows words, and their encoder, whose null is the context of the empty caption."""
        toys = dataset.load(self.shards, ("shape", "pattern", "colour"))
        data = replace(self.views, features=words.tokens(toys)[:, None])
        torch.manual_seed(0)
        unet = cross_attention(self.shipped.unet(), anew=True)
        encoder = WordEncoder()
        blank = AsReleased(blank=words.EMPTY)
        unet, encoder = self._train(unet, encoder, data, blank, name="text", steps=steps, seed=0, report=report)
        with torch.no_grad():
            set_null(encoder, "empty prompt", encoder(words.EMPTY))
        return unet, encoder

    @cached_property
    def _crops(self) -> dict[str, Tensor]:
        toys = dataset.load(self.shards, ("target", "box", "object_mask"))
        kinds = {"crop": False, "masked crop": True}
        return {name: self.shipped.vision_tokens(crops(toys, masked)).half()[:, None] for name, masked in kinds.items()}

    def data(self, arm: Arm) -> EncodedTriplets:
        """What an arm is trained on."""
        features = self.views.features if arm.pictures == "views" else self._crops[arm.pictures]
        part = slice(round(arm.share * len(self.views)))
        return EncodedTriplets(
            target=cast(Tensor, self.views.target)[part],
            scene=cast(Tensor, self.views.scene)[part],
            features=cast(Tensor, features)[part],
            region=cast(Tensor, self.views.region)[part],
        )

    def train(
        self, name: str, seed: int, text_base: Networks, steps: int, *, report: Callable[[str], None] = print
    ) -> Networks:
        """The networks of an arm."""
        arm = ARMS[name]
        text_unet, word_encoder = text_base
        unet = copy.deepcopy(text_unet).requires_grad_(False)
        if arm.pictures == "words":
            return unet, word_encoder
        torch.manual_seed(seed)
        embedding_optimizer = make_embedding_optimizer(arm.variant) if arm.variant else TokensForWords(**SWAP)
        if arm.nulls == "one":
            set_null(embedding_optimizer, "empty prompt", word_encoder.null[None])
        if not arm.variant:
            return unet, embedding_optimizer
        if arm.unet:
            cross_attention(unet)
        blank = None
        if arm.nulls == "three":
            blank = self.shipped.vision_tokens(torch.zeros(1, 3, OBJECT_SIZE, OBJECT_SIZE))
        return self._train(
            unet,
            embedding_optimizer,
            self.data(arm),
            AsReleased(arm.random_queries, blank),
            name=f"{name}-{seed}",
            steps=steps,
            seed=seed,
            report=report,
        )

    def _features(self, arm: Arm, truth: dataset.Arrays) -> Tensor:
        if arm.pictures == "words":
            return words.tokens(truth)
        pictures = to_signed(truth["objects"][:, 0])
        if arm.pictures == "masked crop":
            pictures = pictures * torch.from_numpy(truth["objects_mask"][:, 0])[:, None]
        return self.shipped.vision_tokens(pictures)

    @torch.no_grad()
    def noise_share(self, name: str, networks: Networks, truth: dataset.Arrays, draws: int = 16) -> float:
        """How much of what tells contexts apart is the noise in the queries and not the picture, share of variance."""
        if not ARMS[name].random_queries:
            return 0.0
        _, embedding_optimizer = networks
        features = self._features(ARMS[name], truth)
        generator = torch.Generator().manual_seed(0)
        contexts = []
        for _ in range(draws):
            queries = embedding_optimizer.draw_queries(len(features), generator)
            contexts.append(embedding_optimizer(features, queries=queries))
        of_draws = torch.stack(contexts)
        of_noise = of_draws.var(0).mean()
        of_pictures = of_draws.mean(0).var(0).mean()
        return float(of_noise / (of_noise + of_pictures))

    @torch.no_grad()
    def insert(
        self, name: str, networks: Networks, truth: dataset.Arrays, *, seed: int, object_scale: float | None = None
    ) -> np.ndarray:
        """uint8 pictures [N,H,W,3] of the objects in the scenes of `truth`, by DDIM at the playroom's scales."""
        arm = ARMS[name]
        unet, embedding_optimizer = networks
        features = self._features(arm, truth)
        scene_latents = encode_pictures(self.shipped.vae, truth["scene"])
        guidance = replace(GUIDANCE, object_scale=object_scale or GUIDANCE.object_scale)
        generator = torch.Generator().manual_seed(seed)
        pictures = []
        for start in range(0, len(scene_latents), SAMPLING_BATCH):
            part = slice(start, start + SAMPLING_BATCH)
            queries = None
            if arm.random_queries:
                queries = embedding_optimizer.draw_queries(len(features[part]), generator)
            context = embedding_optimizer(features[part], queries=queries)
            with autocast(torch.device("cpu")):
                latents = preview(
                    unet,
                    context,
                    embedding_optimizer.null,
                    scene_latents[part],
                    noise_schedule(),
                    guidance,
                    seed=seed * 1000 + start,
                )
                pictures.append(to_pictures(decode_latents(self.shipped.vae, latents)))
        return np.concatenate(pictures)
