"""What the configuration of a training run may say."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...training.config import ModelPath, UserPath
from ...training.denoising import Weighting
from ...training.ranges import Count, Share
from ...training.trainer import Settings
from .augmentation import Augmentation
from .pictures import PictureSettings


@dataclass(frozen=True)
class ModelFolders:
    base: ModelPath  # a diffusers folder: Paint by Example itself, or Stable Diffusion 1.4 or its like, made wider
    image_encoder: UserPath | None = None  # a transformers CLIP vision folder; default: the one in `base`


@dataclass(frozen=True)
class TrainingData:
    train: UserPath  # a folder with metadata.jsonl, see box_folder
    validation: UserPath | None = None
    pictures: PictureSettings = field(default_factory=PictureSettings)
    augmentation: Augmentation = field(default_factory=Augmentation)


FREE = ("folder", "licence", "run", "data.validation", "checkpointing")  # may be changed in going on with a run


@dataclass(frozen=True)
class TrainingConfig:
    folder: UserPath  # of the run: checkpoint, logs, sheets, results
    models: ModelFolders
    data: TrainingData
    batch: Count  # over all processes and accumulation steps
    run: Settings
    blocks: Count = 5  # of a new exemplar encoder
    null_share: Share = 0.2  # of the samples lose their exemplar
    weighting: Weighting = field(default_factory=Weighting)
    checkpointing: bool = False  # recompute activations in the backward pass: slower, much less memory
    licence: str = "not stated"  # of the weights that come out; goes into their facts
