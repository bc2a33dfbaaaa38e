"""A training run from its configuration: a model and pictures with boxes in, Paint by Example's folder out."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch

from ...provenance import data_name
from ...training.checkpoint import check
from ...training.columns import Progress
from ...training.config import entries
from ...training.denoising import noise_schedule
from ...training.engine import Report, fit
from ...training.estimate import Estimate, measure
from ...training.run_folder import run_folder
from ...training.run_record import Record, copy_record, resolved, write_record
from ...training.task import Modules
from ...training.trainer import processes
from ...weights.reading import fingerprint
from ..checkpoints import MODEL_FOLDER
from .augmentation import Augmentation
from .box_folder import read_folder, read_index
from .config import FREE, TrainingConfig
from .exemplar_task import ExemplarTask
from .export import save_folder
from .frozen_encoders import FrozenEncoders
from .initial_model import load_start
from .pictures import Example, Pictures
from .validation import HeldOut

STILL = Augmentation(flip=0, rotate=0, blur=0, elastic=0)  # for exemplars of held-out pictures


class Recipe:
    """The parts of a run."""

    def __init__(self, config: TrainingConfig):
        torch.manual_seed(config.run.seed)
        self.config = config
        self.model = load_start(config.models, config.blocks)
        if config.checkpointing:
            self.model.unet.enable_gradient_checkpointing()
        self.noise_schedule = noise_schedule(self.model.scheduler_config)

    def facts(self) -> dict[str, str]:
        """What a run that goes on must have been begun with: its settings, and what networks and pictures it reads."""
        model = self.model
        networks = {"unet": model.unet, "vae": model.vae, "image encoder": model.image_encoder}
        facts = entries(self.config, FREE)
        facts |= {f"the weights of models, {name}": fingerprint([network]) for name, network in networks.items()}
        facts["run.seed"] = str(self.config.run.seed)
        facts["the pictures of data.train"] = fingerprint([], read_index(self.config.data.train))
        return facts

    @property
    def picture_options(self) -> dict[str, Any]:
        """What `Pictures` must know of these networks and the configuration."""
        return {
            "settings": self.config.data.pictures,
            "augmentation": self.config.data.augmentation,
            "exemplar_size": cast(Any, self.model.image_encoder).config.image_size,
            "channels": cast(Any, self.model.unet).config.out_channels,
        }

    def pictures(self, folder: Path, report: Report, progress: Progress | None = None) -> Pictures:
        """The pictures of a folder, and a report of what was left out."""
        settings = self.config.data.pictures
        boxes = read_folder(folder, settings.smallest / settings.size, progress)
        report(str(boxes))
        return Pictures(boxes.pictures, **self.picture_options)

    def task(self, report: Report = print, progress: Progress | None = None) -> ExemplarTask:
        data = self.config.data
        held_out = None
        if data.validation:
            held_out = self.pictures(data.validation, report, progress)
            held_out.augmentation = STILL
        task = self.task_on(self.pictures(data.train, report, progress))
        if held_out:
            looks = HeldOut(task, held_out, self.model.vae)
            task.metrics = looks.metrics
            task.draw_sheet = looks.sheet
        return task

    def task_on(self, pictures: Pictures) -> ExemplarTask:
        model = self.model
        config = self.config
        return ExemplarTask(
            model.unet,
            model.exemplar_encoder,
            pictures,
            self.noise_schedule,
            config.batch,
            null_share=config.null_share,
            weighting=config.weighting,
            encoders=FrozenEncoders(model, config.data.pictures.mask_resize),
        )

    def export(self, record: Record, folder: Path, step: int) -> dict[str, Path]:
        """Write the model, with what was trained in so many steps and what made it, into a folder."""
        config = self.config
        facts = {
            "licence": config.licence,
            "base": config.models.base.name,
            "training_data": data_name(config.data.train),
            "prediction_type": self.noise_schedule.config["prediction_type"],
            "steps": step,
            "batch": config.batch,
            "null_share": config.null_share,
            "pictures": asdict(config.data.pictures),
            "augmentation": asdict(config.data.augmentation),
            **record,
            "configuration": resolved(config, data_name),
        }
        folder = folder / MODEL_FOLDER
        save_folder(folder, self.model, config.data.pictures.size, facts)
        return {"Paint by Example, for models/diffusers": folder}


def train(config: TrainingConfig, report: Report = print, progress: Progress | None = None) -> dict[str, Path]:
    """Run a configuration, going on where it was stopped, and return what it made."""
    first = processes(config.run).is_main_process
    with run_folder(config.folder, MODEL_FOLDER, first=first):
        recipe = Recipe(config)
        facts = recipe.facts()
        check(config.folder, facts)  # before all pictures are looked at
        record = write_record(config, "paint_by_example", facts) if first else {}
        task = recipe.task(report if first else lambda _: None, progress)

        def export(_: Modules, folder: Path, step: int) -> None:
            recipe.export(record, folder, step)
            copy_record(folder, record)

        plain = resolved(config, data_name)
        fit(task, config.run, config.folder, report, facts, export=export, configuration=plain)
        return recipe.export(record, config.folder, config.run.steps) if first else {}


def estimate(config: TrainingConfig) -> Estimate:
    """Build the run and measure a few of its steps on pictures of noise; nothing is read of the data or written."""
    recipe = Recipe(config)
    pictures = _RandomPictures([], **recipe.picture_options)
    return measure(recipe.task_on(pictures), config.batch, config.run)


class _RandomPictures(Pictures):
    """Noise in place of pictures: what a run reads from its disk is not measured."""

    def __len__(self) -> int:
        return 1

    def example(self, index: int, seed: int) -> Example:
        size = self.settings.size
        hole = torch.zeros(size, size, dtype=torch.bool)
        hole[: size // 2] = True
        return Example(torch.rand(3, size, size), hole, torch.rand(3, self.exemplar_size, self.exemplar_size))
