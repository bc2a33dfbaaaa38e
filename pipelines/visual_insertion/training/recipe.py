"""A training run from its configuration: models and triplets in, an embedding optimizer and a UNet patch out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, cast

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor

from ...encoders.text import empty_prompt
from ...encoders.vision import Encoder, load_encoder
from ...training.base_models import halve_frozen, load_part, train_part
from ...training.engine import Result, fit
from ...training.trainer import processes
from ...triplets.folder import read_folder
from ...weights.unet_patch import save_patch
from .. import optimizer_files as optimizers
from ..embedding_optimizer import OptimizerSettings, build
from ..released_optimizers import set_null
from .config import TrainingConfig
from .encoded_triplets import EncodedTriplets
from .insertion import AsReleased, InsertionTask
from .preparation import Objects, PictureSettings, Preparation, Progress
from .validation import HeldOut, metrics, sheet

OPTIMIZER_FILE, PATCH_FILE = "embedding_optimizer.safetensors", "unet_attn2.safetensors"
CONTEXT_TOKENS = 77  # of a text-conditioned base model


class Recipe:
    """The parts of a run, each made when it is first needed."""

    def __init__(self, config: TrainingConfig):
        self.config, self.base = config, config.models.base
        needed = ("unet/config.json", "vae/config.json", "scheduler/scheduler_config.json")
        for name in needed:
            if not (self.base / name).is_file():
                raise FileNotFoundError(
                    f"{self.base / name} is missing. models.base must be a diffusers InstructPix2Pix folder, such as "
                    "paint-by-inpaint/add-base: unet, vae, scheduler, and text_encoder and tokenizer for its null."
                )
        torch.manual_seed(config.run.seed)
        self.unet = self._unet()
        self.before = train_part(self.unet, config.unet.train, config.unet.tensors, config.unet.parameters)
        self.encoders = self._encoders()
        self.optimizer = self._optimizer()

    def _unet(self) -> UNet2DConditionModel:
        unet = load_part(UNet2DConditionModel, self.base / "unet")
        if unet.config.in_channels != 2 * unet.config.out_channels:
            raise ValueError(
                f"The UNet in {self.base} takes {unet.config.in_channels} channels; an InstructPix2Pix UNet takes "
                f"{2 * unet.config.out_channels} (noise and scene). Start from paint-by-inpaint/add-base."
            )
        if self.config.unet.checkpointing:
            unet.enable_gradient_checkpointing()
        return unet

    def _encoders(self) -> dict[str, Encoder]:
        models = self.config.models
        beside = None if models.image_encoder else self.base / "feature_extractor"
        encoders = {"features": load_encoder(models.image_encoder or self.base / "image_encoder", beside)}
        return encoders | ({"details": load_encoder(models.detail_encoder)} if models.detail_encoder else {})

    def _optimizer(self) -> optimizers.EmbeddingOptimizer:
        part, widths = self.config.optimizer, {name: self.width(name) for name in self.encoders}
        if part.start:
            optimizer = optimizers.load(part.start)
        else:
            null = self._empty_prompt() if part.no_object == "empty prompt" else None
            tokens = self.tokens("features")
            optimizer = build(
                OptimizerSettings(
                    part.variant,
                    widths["features"],
                    cast(Any, self.unet.config).cross_attention_dim,
                    CONTEXT_TOKENS if null is None else null.shape[1],
                    part.blocks,
                    part.heads,
                    encoder_tokens=tokens,
                    detail_width=widths.get("details", 0),
                )
            )
            set_null(optimizer, "zeros" if null is None else "empty prompt", null)
        settings, wanted = optimizer.settings, cast(Any, self.unet.config).cross_attention_dim
        found = (settings.encoder_width, settings.detail_width, settings.context_width)
        if found != (widths["features"], widths.get("details", 0), wanted):
            raise ValueError(
                f"{part.start} pairs with a vision encoder of width {found[0]}, a second one of width {found[1]} (0: "
                f"none) and a UNet of context width {found[2]}; here they are {widths} and {wanted}."
            )
        return optimizer

    def _empty_prompt(self) -> Tensor:
        """[1,77,D], the base model's own null."""
        if not (self.base / "text_encoder").is_dir():
            raise FileNotFoundError(
                f"{self.base / 'text_encoder'} is missing; the null 'empty prompt' is made with it. Fetch it and its "
                "tokenizer, or set optimizer.no_object to 'zeros'."
            )
        return empty_prompt(self.base)

    def width(self, name: str) -> int:
        """Of an encoder's tokens."""
        return cast(Any, self.encoders[name].network).config.hidden_size

    def tokens(self, name: str) -> int:
        """How many an encoder gives."""
        config = cast(Any, self.encoders[name].network).config
        return (self.encoders[name].size // config.patch_size) ** 2 + 1

    @cached_property
    def noise_schedule(self) -> DDIMScheduler:
        options = {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}
        config = json.loads((self.base / "scheduler" / "scheduler_config.json").read_text("utf-8"))
        return cast(DDIMScheduler, DDIMScheduler.from_config(config, **options))

    @cached_property
    def vae(self) -> AutoencoderKL:
        vae = load_part(AutoencoderKL, self.base / "vae")
        return vae.requires_grad_(False).eval().to(self.config.run.device)

    def encode(self, folder: Path, with_features: bool, pictures: PictureSettings, progress: Progress | None):
        """The triplets of a folder, encoded; in several processes the first one does it."""
        device = torch.device(self.config.run.device)
        for encoder in self.encoders.values():
            encoder.network.to(device)
        preparation = Preparation(folder, self.vae, self.encoders, pictures, with_features)
        with processes(self.config.run.device).main_process_first():
            return preparation.run(self.config.data.cache or self.config.folder / "cache", progress)

    def task(self, progress: Progress | None = None) -> InsertionTask:
        config, data = self.config, self.config.data
        triplets = self.encode(data.train, not data.augment, data.pictures, progress)
        look: dict[str, Any] = {}
        if data.validation:
            held = self.encode(data.validation, True, replace(data.pictures, variants=1), progress)
            objects = Objects(read_folder(data.validation), data.pictures, self.encoders, data.augmentation)
            schedule, device = self.noise_schedule, torch.device(config.run.device)
            view = HeldOut(held, objects, self.encoders["features"], self.vae, schedule, device)
            look = {"metrics": partial(metrics, view), "draw_sheet": partial(sheet, view)}
        if data.augment:
            objects = Objects(read_folder(data.train), data.pictures, self.encoders, data.augmentation)
            return self.task_on(triplets, objects, **look)
        for encoder in self.encoders.values():
            encoder.network.cpu()  # they have seen everything
        return self.task_on(triplets, **look)

    def task_on(self, triplets: EncodedTriplets, objects: Any = None, **look: Any) -> InsertionTask:
        config, blank = self.config, self._blank()
        if config.run.precision == "bf16":
            halve_frozen(self.unet)
            for encoder in self.encoders.values():
                halve_frozen(encoder.network)
        return InsertionTask(
            self.unet,
            self.optimizer,
            triplets,
            self.noise_schedule,
            config.batch,
            config.dropout,
            config.weighting,
            pictures=objects,
            encoders={name: encoder.network for name, encoder in self.encoders.items()} if objects else None,
            rates={"unet": config.unet.rate},
            as_released=AsReleased(config.optimizer.random_queries, blank),
            **look,
        )

    def _blank(self) -> Tensor | None:
        if self.config.optimizer.no_object != "released":
            return None
        encoder = self.encoders["features"]
        return encoder.tokens(torch.zeros(1, 3, encoder.size, encoder.size)).float().cpu()

    def export(self, result: Result) -> dict[str, Path]:
        """Write what was trained, averaged, into the run's folder."""
        config, folder = self.config, self.config.folder
        notes = {
            "licence": config.licence,
            "base": config.models.base.name,
            "training_data": config.data.train.name,
            "steps": str(config.run.steps),
            "batch": str(config.batch),
        }
        optimizers.save(result.modules["embedding_optimizer"], folder / OPTIMIZER_FILE, torch.float32, **notes)
        made = {"embedding optimizer": folder / OPTIMIZER_FILE}
        if self.before:
            now = dict(result.modules["unet"].named_parameters())
            differences = {name: now[name].detach().cpu() - before for name, before in self.before.items()}
            save_patch(folder / PATCH_FILE, differences, metadata=notes)
            made["patch of the UNet, for Load LoRA"] = folder / PATCH_FILE
        return made


def train(
    config: TrainingConfig, report: Callable[[str], None] = print, progress: Progress | None = None
) -> dict[str, Path]:
    """Run a configuration, going on where it was stopped, and return the files it made."""
    config.folder.mkdir(parents=True, exist_ok=True)
    recipe = Recipe(config)
    result = fit(recipe.task(progress), config.run, config.folder, report)
    return recipe.export(result) if processes(config.run.device).is_main_process else {}
