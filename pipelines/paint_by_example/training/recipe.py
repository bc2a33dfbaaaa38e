"""A training run from its configuration: a model and pictures with boxes in, Paint by Example's folder out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from diffusers import DDIMScheduler

from ...training.engine import fit
from ...training.trainer import processes
from .augmentation import Augmentation
from .box_folder import Progress, read_folder
from .config import TrainingConfig
from .export import save_folder
from .initial_model import load_start
from .picture_task import PictureTask
from .pictures import Pictures, PictureSettings

MODEL_FOLDER = "paint_by_example"
STILL = Augmentation(flip=0, rotate=0, blur=0, elastic=0)  # for exemplars of held-out pictures
Report = Callable[[str], None]


class Recipe:
    """The parts of a run."""

    def __init__(self, config: TrainingConfig):
        torch.manual_seed(config.run.seed)
        self.config, self.model = config, load_start(config.models, config.blocks)
        if config.checkpointing:
            self.model.unet.enable_gradient_checkpointing()
        options = {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}
        self.noise_schedule = cast(DDIMScheduler, DDIMScheduler.from_config(self.model.scheduler_config, **options))

    @property
    def shown(self) -> tuple[PictureSettings, Augmentation, int, int]:
        """How pictures are shown to these networks: what `Pictures` must know beside them."""
        size: Any = self.model.image_encoder.config.image_size
        data, channels = self.config.data, self.model.unet.config.out_channels
        return data.pictures, data.augmentation, size, channels

    def pictures(self, folder: Path, report: Report, progress: Progress | None = None) -> Pictures:
        """Those of a folder."""
        settings = self.config.data.pictures
        found = read_folder(folder, settings.smallest / settings.size, progress)
        report(str(found))
        return Pictures(found.pictures, *self.shown)

    def task(self, report: Report = print, progress: Progress | None = None) -> PictureTask:
        data, held = self.config.data, None
        if data.validation:
            held = self.pictures(data.validation, report, progress)
            held.augmentation = STILL
        return self.task_on(self.pictures(data.train, report, progress), held)

    def task_on(self, pictures: Pictures, held_out: Pictures | None = None) -> PictureTask:
        config = self.config
        chances = (config.null_share, config.weighting)
        return PictureTask(self.model, pictures, self.noise_schedule, config.batch, *chances, held_out=held_out)

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
