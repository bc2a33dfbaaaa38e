"""A student's training from its configuration: models and scenes in, a student's file out."""

from __future__ import annotations

from dataclasses import asdict
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from ....provenance import data_name
from ....training.base_models import halve_frozen
from ....training.checkpoint import check
from ....training.columns import Progress
from ....training.config import entries
from ....training.encodings import shared_cache
from ....training.engine import Report, fit
from ....training.estimate import Estimate, measure
from ....training.precision import half_type
from ....training.run_folder import run_folder
from ....training.run_record import Record, copy_record, notes, resolved, write_record
from ....training.task import Modules
from ....training.trainer import processes
from ....triplets.folder import read_index
from ....weights.manifest import sha256_of
from ....weights.reading import fingerprint
from ...pipeline import VisualInsertionPipeline
from ...trained_files import ModelFiles
from ...training.preparation import Preparation
from .. import student as files
from ..scale_tokens import ScaleTokens
from ..student import Student, StudentSettings
from .config import FREE, DistillationConfig
from .low_rank_layers import add_layers, patch_tensors, set_patch
from .run_maker import RunMaker, split
from .runs import Runs, simple_times
from .student_task import LeapTask, StudentTask

STUDENT_FILE = "student.safetensors"


class Recipe:
    """The parts of a run."""

    def __init__(self, config: DistillationConfig):
        self.config = config
        part = config.student
        self.leaps = part.kind == "few_step"
        if self.leaps and part.start is None:
            raise ValueError(
                "A few_step student learns from one that has learned guidance: set student.start to its file."
            )
        torch.manual_seed(config.run.seed)
        self.pipeline = VisualInsertionPipeline.from_files(ModelFiles(*asdict(config.models).values()))
        parts = self.pipeline.pipeline
        self.unet: Any = parts.unet
        self.levels = self.pipeline.levels.float()
        self.velocity = parts.scheduler.config.prediction_type == "v_prediction"
        self.before = fingerprint([self.unet])
        self.context_encoder = self.pipeline.context_encoder.requires_grad_(False)
        add_layers(self.unet, part.rank)
        width = cast(Any, self.unet.config).cross_attention_dim
        self.scale_tokens = ScaleTokens(part.tokens, width, (config.scales.object_scale, config.scales.scene_scale))
        if part.start:
            self._go_on_from(part.start)

    def _go_on_from(self, path: Path) -> None:
        start = files.load(path)
        now = self.settings
        differs = [
            name
            for name in ("tokens", "object_scale", "scene_scale")
            if getattr(start.settings, name) != getattr(now, name)
        ]
        if differs:
            raise ValueError(f"{path} is a student with other {', '.join(differs)} than this configuration's.")
        set_patch(self.unet, start.patch, str(path))
        self.scale_tokens.load_state_dict(start.scale_tokens.state_dict())

    @property
    def settings(self) -> StudentSettings:
        """What the student will be asked for."""
        part, scales = self.config.student, self.config.scales
        return StudentSettings(
            kind=part.kind,
            sampler=part.sampler,
            scheduler="simple",
            steps=part.steps,
            levels=tuple(self.levels[simple_times(part.steps, len(self.levels))].tolist()),
            object_scale=scales.object_scale,
            scene_scale=scales.scene_scale,
            tokens=part.tokens,
            context_width=self.scale_tokens.hidden.out_features,
            rank=part.rank,
        )

    def facts(self) -> dict[str, str]:
        """What a run that goes on must have been begun with."""
        config = self.config
        facts = entries(config, FREE)
        facts["the weights of models"] = self._name
        facts["run.seed"] = str(config.run.seed)
        if config.student.start:
            facts["the weights of student.start"] = sha256_of(config.student.start)[:12]
        return facts

    @cached_property
    def _name(self) -> str:
        """Of the networks and the list of pictures."""
        networks = [self.pipeline.encoder.network, self.context_encoder, self.pipeline.pipeline.vae]
        return fingerprint(networks, self.before, read_index(self.config.data.train, times=False))

    @property
    def cache(self) -> Path:
        return self.config.data.cache or shared_cache()

    def preparation(self) -> Preparation:
        """What encodes scenes and objects."""
        data = self.config.data
        pipeline = self.pipeline
        encoders = {"features": pipeline.encoder}
        if pipeline.detail_encoder:
            encoders["details"] = pipeline.detail_encoder
        self._to_device()
        return Preparation(data.train, pipeline.pipeline.vae, encoders, data.pictures, workers=data.workers)

    def _to_device(self) -> None:
        device = torch.device(self.config.run.device)
        for network in (*self.pipeline.networks, self.scale_tokens):
            network.to(device)

    @cached_property
    def times(self) -> Tensor:
        """Timesteps of a smooth run: so many levels in each of the student's steps."""
        part = self.config.student
        ends = torch.cat([simple_times(part.steps, len(self.levels)).float(), torch.zeros(1)])
        inner = [torch.linspace(a, b, part.teacher_steps + 1)[:-1] for a, b in pairwise(ends.tolist())]
        return torch.cat(inner).round().long()

    def runs(self, report: Report, progress: Progress | None) -> tuple[Runs, Runs]:
        """The runs to learn from and those held out, made where they are not in the cache."""
        config, part = self.config, self.config.student
        preparation = self.preparation()
        preparation.run(self.cache)
        triplets = preparation.read(self.cache)
        maker = self._maker(triplets)
        key = {"few_step": self.leaps, "steps": part.teacher_steps, **asdict(config.scales)}
        own = [part.steps, sha256_of(part.start)] if self.leaps and part.start else []
        name = fingerprint([], "runs", preparation.name, self._name, key, own, config.run.seed)
        if not self.leaps:
            self.unet.disable_adapters()
        runs = maker.read(self.cache / f"runs-{name}", config.data.runs, data_name(config.data.train), progress)
        self.unet.enable_adapters()
        report(f"{len(runs):,} runs in {self.cache / f'runs-{name}'}")
        held = torch.tensor([maker.triplet_of(n) for n in range(len(runs))])
        return split(runs, held >= len(triplets) - round(config.data.held_out * len(triplets)))

    def _maker(self, triplets: Any) -> RunMaker:
        pipeline, config = self.pipeline, self.config

        def asking(context: Tensor, scales: Tensor) -> Tensor:
            return torch.cat([context, self.scale_tokens(scales)], 1)

        return RunMaker(
            self.unet,
            self.context_encoder.null.detach(),
            self.context_encoder,
            triplets,
            self.levels,
            self.velocity,
            config.scales,
            pipeline.guidance,
            config.student.teacher_steps,
            config.run.seed,
            times=self.times if self.leaps else None,
            student=asking if self.leaps else None,
        )

    def task(self, runs: Runs, held_out: Runs) -> StudentTask:
        config = self.config
        self._to_device()
        half = half_type(torch.device(config.run.device), config.run.precision)
        if half:
            halve_frozen(self.unet, half)
        settings = (self.unet, self.scale_tokens, runs, held_out, self.levels, config.batch, self.velocity)
        return LeapTask(*settings, inside=config.student.teacher_steps) if self.leaps else StudentTask(*settings)

    def export(self, modules: Modules, record: Record, folder: Path, step: int) -> dict[str, Path]:
        """Write the student of so many steps, averaged, into a folder."""
        config = self.config
        facts = {
            "licence": config.licence,
            "base": config.models.base.name,
            "base_weights": self.before,
            "steps": str(step),
            "batch": str(config.batch),
            **notes(record, config),
        }
        student = Student(self.settings, modules["scale_tokens"], patch_tensors(modules["unet"]))
        files.save(student, folder / STUDENT_FILE, **facts)
        return {"student": folder / STUDENT_FILE}


def train(config: DistillationConfig, report: Report = print, progress: Progress | None = None) -> dict[str, Path]:
    """Run a configuration, going on where it was stopped, and return the file it made."""
    first = processes(config.run).is_main_process
    with run_folder(config.folder, STUDENT_FILE, first=first):
        recipe = Recipe(config)
        facts = recipe.facts()
        check(config.folder, facts)
        record = write_record(config, "distilled", facts) if first else {}

        def export(modules: Modules, folder: Path, step: int) -> None:
            recipe.export(modules, record, folder, step)
            copy_record(folder, record)

        task = recipe.task(*recipe.runs(report if first else lambda _: None, progress))
        described = resolved(config, data_name)
        result = fit(task, config.run, config.folder, report, facts, export=export, configuration=described)
        return recipe.export(result.modules, record, config.folder, config.run.steps) if first else {}


def estimate(config: DistillationConfig) -> Estimate:
    """Build the run and measure a few of its steps, on random numbers of the true shapes. Nothing is written.

    The time to make the runs is that of a few of them, as if the data's folder held only such pictures.
    """
    recipe = Recipe(config)
    side = config.data.pictures.size // 8
    channels = cast(Any, recipe.unet.config).out_channels
    count, levels = config.batch, config.student.teacher_steps * (config.student.steps if recipe.leaps else 1)
    null = recipe.context_encoder.null
    latent = torch.randn(count, levels + recipe.leaps, channels, side, side)
    time = (recipe.times if recipe.leaps else torch.arange(levels, 0, -1)).expand(count, -1)
    scene, context = latent[:, 0], null.detach().cpu().expand(count, -1, -1)
    runs = Runs(scene, context, torch.ones(count, 2), latent, time, None if recipe.leaps else latent)
    return measure(recipe.task(runs, runs), count, config.run)
