"""A training run from its configuration: models and triplets in, an embedding optimizer and a UNet patch out."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, cast

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn

from ...encoders.text import empty_prompt
from ...encoders.vision import Encoder, load_encoder
from ...provenance import data_name
from ...training.base_models import halve_frozen, load_part, train_part
from ...training.checkpoint import check
from ...training.columns import Progress
from ...training.config import entries
from ...training.denoising import noise_schedule
from ...training.encodings import shared_cache, size_of
from ...training.engine import Report, fit
from ...training.estimate import Estimate, Preparing, measure
from ...training.precision import half_type
from ...training.run_folder import run_folder
from ...training.run_record import Record, copy_record, notes, resolved, write_record
from ...training.task import Modules
from ...training.trainer import processes
from ...triplets.folder import read_folder, read_index
from ...weights.manifest import sha256_of
from ...weights.reading import fingerprint
from ...weights.unet_patch import save_patch
from ...weights.unet_patch_reading import apply_patch
from .. import optimizer_files as optimizers
from ..embedding_optimizer import OptimizerSettings, build
from ..released_optimizers import set_null
from ..trained_files import NO_PATCH, OPTIMIZER_FILE, PATCH_FILE, PATCH_HASH, PATCH_NAME, chosen_patch
from .config import FREE, TrainingConfig
from .insertion_task import AsReleased, EncodedTriplets, InsertionTask, ObjectPictures
from .preparation import Objects, Preparation
from .validation import HeldOut

CONTEXT_TOKENS = 77  # of a text-conditioned base model
PREPARED = 4  # triplets, to measure how long all of them take


class Recipe:
    """The parts of a run, each made when it is first needed."""

    def __init__(self, config: TrainingConfig):
        self.config = config
        self.base = config.models.base
        for name in ("unet/config.json", "vae/config.json", "scheduler/scheduler_config.json"):
            if not (self.base / name).is_file():
                raise FileNotFoundError(
                    f"{self.base / name} is missing. models.base must be a diffusers InstructPix2Pix folder, such as "
                    "paint-by-inpaint/add-base: unet, vae, scheduler, and text_encoder and tokenizer for its null."
                )
        torch.manual_seed(config.run.seed)
        self.unet = self._unet()
        untouched = self._start_patch()
        chosen = train_part(self.unet, config.unet.train, config.unet.tensors, config.unet.parameters)
        self.before = chosen | untouched  # of the base model, without what an earlier stage learned
        self.encoders = self._encoders()
        self.embedding_optimizer = self._embedding_optimizer()

    def facts(self) -> dict[str, str]:
        """What a run that goes on must have been begun with: its settings, and what networks and pictures it reads."""
        config = self.config
        facts = entries(config, FREE)
        facts |= {f"the weights of {name}": fingerprint([network]) for name, network in self._networks().items()}
        facts["run.seed"] = str(self.config.run.seed)
        facts["the pictures of data.train"] = fingerprint([], read_index(config.data.train, times=False))
        return facts

    def _networks(self) -> dict[str, nn.Module]:
        """The networks as they were before the run."""
        encoders = {f"the encoder of {name}": encoder.network for name, encoder in self.encoders.items()}
        begun = {"optimizer.start": self.embedding_optimizer} if self.config.optimizer.start else {}
        return {"models.base, unet": self.unet, "models.base, vae": self.vae, **encoders, **begun}

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

    def _start_patch(self) -> dict[str, Tensor]:
        """Put the patch of an earlier stage into the UNet; the base model's own tensors in those places, by name."""
        start = self.config.unet.start
        if self.config.optimizer.start:
            start = chosen_patch(self.config.optimizer.start, start)
        if start is None or str(start) == NO_PATCH:
            return {}
        before = {name: parameter.detach().clone() for name, parameter in self.unet.named_parameters()}
        return {name: before[name] for name in apply_patch(self.unet, start)}

    def _encoders(self) -> dict[str, Encoder]:
        models = self.config.models
        beside = None if models.image_encoder else self.base / "feature_extractor"
        encoders = {"features": load_encoder(models.image_encoder or self.base / "image_encoder", beside)}
        if models.detail_encoder:
            encoders["details"] = load_encoder(models.detail_encoder)
        return encoders

    def _embedding_optimizer(self) -> optimizers.EmbeddingOptimizer:
        part = self.config.optimizer
        widths = {name: self.width(name) for name in self.encoders}
        context_width = cast(Any, self.unet.config).cross_attention_dim
        if part.start is None:
            null = self._empty_prompt() if part.no_object == "empty prompt" else None
            settings = OptimizerSettings(
                variant=part.variant,
                encoder_width=widths["features"],
                context_width=context_width,
                context_tokens=CONTEXT_TOKENS if null is None else null.shape[1],
                blocks=part.blocks,
                heads=part.heads,
                encoder_tokens=self.tokens("features"),
                detail_width=widths.get("details", 0),
            )
            embedding_optimizer = build(settings)
            set_null(embedding_optimizer, "zeros" if null is None else "empty prompt", null)
            return embedding_optimizer
        embedding_optimizer = optimizers.load(part.start)
        settings = embedding_optimizer.settings
        own = (settings.encoder_width, settings.detail_width, settings.context_width)
        if own != (widths["features"], widths.get("details", 0), context_width):
            raise ValueError(
                f"{part.start} pairs with a vision encoder of width {own[0]}, a second one of width {own[1]} (0: "
                f"none) and a UNet of context width {own[2]}; here they are {widths} and {context_width}."
            )
        return embedding_optimizer

    def _empty_prompt(self) -> Tensor:
        """The base model's own null [1,77,D]."""
        if not (self.base / "text_encoder").is_dir():
            raise FileNotFoundError(
                f"{self.base / 'text_encoder'} is missing; the null 'empty prompt' is made with it. Fetch it and its "
                "tokenizer, or set optimizer.no_object to 'zeros'."
            )
        return empty_prompt(self.base)

    def width(self, name: str) -> int:
        """The width of an encoder's tokens."""
        return cast(Any, self.encoders[name].network).config.hidden_size

    def tokens(self, name: str) -> int:
        """How many tokens an encoder gives."""
        config = cast(Any, self.encoders[name].network).config
        return (self.encoders[name].size // config.patch_size) ** 2 + 1

    @cached_property
    def noise_schedule(self) -> DDIMScheduler:
        return noise_schedule(json.loads((self.base / "scheduler" / "scheduler_config.json").read_text("utf-8")))

    @cached_property
    def vae(self) -> AutoencoderKL:
        vae = load_part(AutoencoderKL, self.base / "vae")
        return vae.requires_grad_(False).eval().to(self.config.run.device)

    @property
    def cache(self) -> Path:
        """Where encodings are: as the configuration says, where the run has them from before, or one place for all."""
        own = self.config.folder / "cache"
        return self.config.data.cache or (own if own.is_dir() else shared_cache())

    def preparations(self) -> list[Preparation]:
        """What encodes the training data and, where there are some, the held-out triplets."""
        data = self.config.data
        for encoder in self.encoders.values():
            encoder.network.to(self.config.run.device)
        prepare = partial(Preparation, vae=self.vae, encoders=self.encoders, workers=data.workers)
        train = prepare(data.train, settings=data.pictures, with_features=not data.augment)
        if not data.validation:
            return [train]
        return [train, prepare(data.validation, settings=replace(data.pictures, variants=1), with_features=True)]

    def encode(self, report: Report, progress: Progress | None) -> list[EncodedTriplets]:
        """The triplets of the folders, encoded; several processes share the work."""
        state = processes(self.config.run)
        encoded = []
        for preparation in self.preparations():
            preparation.run(self.cache, progress, state.process_index, state.num_processes)
            state.wait_for_everyone()
            encoded.append(preparation.read(self.cache))
            folder = self.cache / preparation.name
            report(f"{len(preparation.triplets):,} triplets encoded, {size_of(folder) / 1e6:,.1f} MB in {folder}")
        return encoded

    def task(self, report: Report = print, progress: Progress | None = None) -> InsertionTask:
        data = self.config.data
        triplets, *held_out = self.encode(report, progress)
        if not data.augment:
            for encoder in self.encoders.values():
                encoder.network.cpu()  # they have seen everything
        task = self.task_on(triplets, self._objects(data.train) if data.augment else None)
        if data.validation:
            device = torch.device(self.config.run.device)
            objects = self._objects(data.validation)
            looks = HeldOut(task, held_out[0], objects, self.encoders["features"], self.vae, device)
            task.metrics = looks.metrics
            task.draw_sheet = looks.sheet
        return task

    def _objects(self, folder: Path) -> Objects:
        data = self.config.data
        return Objects(read_folder(folder), data.pictures, self.encoders, data.augmentation, data.workers)

    def task_on(self, triplets: EncodedTriplets, objects: ObjectPictures | None = None) -> InsertionTask:
        config = self.config
        blank = self._blank()
        half = half_type(torch.device(config.run.device), config.run.precision)
        if half:
            halve_frozen(self.unet, half)
            for encoder in self.encoders.values():
                halve_frozen(encoder.network, half)
        return InsertionTask(
            self.unet,
            self.embedding_optimizer,
            triplets,
            self.noise_schedule,
            config.batch,
            dropout=config.dropout,
            weighting=config.weighting,
            pictures=objects,
            encoders={name: encoder.network for name, encoder in self.encoders.items()} if objects else None,
            rates={"unet": config.unet.rate},
            as_released=AsReleased(config.optimizer.random_queries, blank),
        )

    def _blank(self) -> Tensor | None:
        if self.config.optimizer.no_object != "released":
            return None
        encoder = self.encoders["features"]
        return encoder.tokens(torch.zeros(1, 3, encoder.size, encoder.size)).float().cpu()

    def export(self, modules: Modules, record: Record, folder: Path, step: int) -> dict[str, Path]:
        """Write what was trained in so many steps, averaged, into a folder, and what made it with it."""
        config = self.config
        facts = {
            "licence": config.licence,
            "base": config.models.base.name,
            "steps": str(step),
            "batch": str(config.batch),
            **notes(record, config),
        }
        made = {"embedding optimizer": folder / OPTIMIZER_FILE}
        patch: dict[str, str] = {}
        if self.before:
            now = dict(modules["unet"].named_parameters())
            differences = {name: now[name].detach().cpu() - before for name, before in self.before.items()}
            save_patch(folder / PATCH_FILE, differences, metadata=facts)
            patch = {PATCH_NAME: PATCH_FILE, PATCH_HASH: sha256_of(folder / PATCH_FILE)}
            made["patch of the UNet, for Load LoRA"] = folder / PATCH_FILE
        embedding_optimizer = modules["embedding_optimizer"]
        optimizers.save(embedding_optimizer, folder / OPTIMIZER_FILE, torch.float32, **facts, **patch)
        return made


def train(config: TrainingConfig, report: Report = print, progress: Progress | None = None) -> dict[str, Path]:
    """Run a configuration, going on where it was stopped, and return the files it made."""
    first = processes(config.run).is_main_process
    with run_folder(config.folder, OPTIMIZER_FILE, PATCH_FILE, first=first):
        recipe = Recipe(config)
        facts = recipe.facts()
        check(config.folder, facts)  # before anything is encoded
        record = write_record(config, "visual_insertion", facts) if first else {}

        def export(modules: Modules, folder: Path, step: int) -> None:
            recipe.export(modules, record, folder, step)
            copy_record(folder, record)

        result = fit(
            recipe.task(report if first else lambda _: None, progress),
            config.run,
            config.folder,
            report,
            facts,
            export=export,
            configuration=resolved(config, data_name),
        )
        return recipe.export(result.modules, record, config.folder, config.run.steps) if first else {}


def estimate(config: TrainingConfig) -> Estimate:
    """Build the run and measure a few of its steps, on random numbers of the true shapes.

    Where the data's folders are there, a few triplets are read and encoded to measure that as well. Nothing is written.
    """
    recipe = Recipe(config)
    waits = [_preparing(preparation, recipe.cache) for preparation in recipe.preparations()] if _there(config) else None
    objects = _RandomPictures(recipe) if config.data.augment else None
    task = recipe.task_on(_random_triplets(recipe, objects is None), objects)
    return measure(task, config.batch, config.run, preparing=waits)


def _there(config: TrainingConfig) -> bool:
    """Whether the data's folders are there, so that their preparation can be measured."""
    data = config.data
    return all(folder.is_dir() for folder in (data.train, data.validation) if folder)


def _preparing(preparation: Preparation, cache: Path) -> Preparing:
    """How long the triplets of a folder will take that are not in the cache yet, by a few of them."""
    missing = sum(len(rows) for path, rows in preparation.shards(cache).items() if not path.is_file())
    count = len(preparation.triplets)
    if not missing:
        return Preparing(count, 0, 0.0)
    preparation.encode(range(1))  # the first one is slower
    started = time.perf_counter()
    measured = min(count, PREPARED)
    preparation.encode(range(measured))
    return Preparing(count, missing, (time.perf_counter() - started) / measured)


def _random_triplets(recipe: Recipe, with_features: bool) -> EncodedTriplets:
    channels = cast(Any, recipe.unet.config).out_channels
    count = recipe.config.batch
    side = recipe.config.data.pictures.size // 8

    def tokens(name: str) -> Tensor | None:
        if not with_features or name not in recipe.encoders:
            return None
        return torch.randn(count, 1, recipe.tokens(name), recipe.width(name))

    latents = torch.randn(count, 1, channels, side, side)
    region = torch.zeros(count, 1, 1, side, side, dtype=torch.bool)
    return EncodedTriplets(latents, latents, tokens("features"), region, tokens("details"))


class _RandomPictures:
    """Pictures of noise in place of the objects', for a measurement."""

    views = 1

    def __init__(self, recipe: Recipe):
        self.sizes = {name: encoder.size for name, encoder in recipe.encoders.items()}

    def pixels(self, index: Tensor, view: Tensor, seed: Tensor) -> dict[str, Tensor]:
        return {name: torch.randn(len(index), 3, size, size) for name, size in self.sizes.items()}
