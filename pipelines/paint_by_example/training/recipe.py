"""A training run from its configuration: a model and pictures with boxes in, Paint by Example's folder out."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch

from ...training.columns import Progress
from ...training.denoising import noise_schedule
from ...training.engine import Report, fit
from ...training.estimate import Estimate, measure
from ...training.trainer import processes
from .augmentation import Augmentation
from .box_folder import read_folder
from .config import TrainingConfig
from .exemplar_task import ExemplarTask
from .export import save_folder
from .frozen_encoders import FrozenEncoders
from .initial_model import load_start
from .pictures import Example, Pictures
from .validation import HeldOut

MODEL_FOLDER = "paint_by_example"
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

    def export(self) -> dict[str, Path]:
        """Write the model, with what was trained, into the run's folder."""
        config = self.config
        facts = {
            "licence": config.licence,
            "base": config.models.base.name,
            "training_data": config.data.train.name,
            "prediction_type": self.noise_schedule.config["prediction_type"],
            "steps": config.run.steps,
            "batch": config.batch,
            "null_share": config.null_share,
            "pictures": asdict(config.data.pictures),
            "augmentation": asdict(config.data.augmentation),
        }
        folder = config.folder / MODEL_FOLDER
        save_folder(folder, self.model, config.data.pictures.size, facts)
        return {"Paint by Example, for models/diffusers": folder}


def train(config: TrainingConfig, report: Report = print, progress: Progress | None = None) -> dict[str, Path]:
    """Run a configuration, going on where it was stopped, and return what it made."""
    config.folder.mkdir(parents=True, exist_ok=True)
    first = processes(config.run.device).is_main_process
    recipe = Recipe(config)
    fit(recipe.task(report if first else lambda _: None, progress), config.run, config.folder, report)
    return recipe.export() if first else {}


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
