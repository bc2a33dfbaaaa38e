"""What the configuration of a training run may say."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...training.config import UserPath
from ...training.denoising import Weighting
from ...training.trainer import Settings
from .augmentation import Augmentation
from .insertion_task import Dropout
from .preparation import PictureSettings


@dataclass(frozen=True)
class ModelFolders:
    base: UserPath  # a diffusers InstructPix2Pix folder: unet, vae, scheduler; text_encoder and tokenizer for its null
    image_encoder: UserPath | None = None  # a transformers CLIP vision folder; default: the one in `base`
    detail_encoder: UserPath | None = None  # a transformers DINOv2 folder, read beside CLIP


@dataclass(frozen=True)
class TrainingData:
    train: UserPath  # a folder with metadata.jsonl, see triplets.folder
    validation: UserPath | None = None
    cache: UserPath | None = None  # where encodings go; default: `cache` in the run's folder
    pictures: PictureSettings = field(default_factory=PictureSettings)
    augment: bool = True  # the objects' pictures; without it vision tokens are cached
    augmentation: Augmentation = field(default_factory=Augmentation)


@dataclass(frozen=True)
class OptimizerPart:
    variant: str = "resampler"
    blocks: int = 4
    heads: int = 8
    start: UserPath | None = None  # an embedding optimizer file to go on from
    no_object: str = "empty prompt"  # the null: of the base model's text encoder; "zeros"; "released", the authors' mix
    random_queries: bool = False  # noise in every forward, as in the authors' code


@dataclass(frozen=True)
class UNetPart:
    train: str = "none"  # "none", "kv" (keys and values of the cross-attention) or "attn2" (all of it)
    rate: float = 1.0  # times the learning rate
    tensors: int | None = None  # what `train` must match, counted; None takes what it matches
    parameters: int | None = None
    checkpointing: bool = False  # recompute activations in the backward pass: slower, much less memory


@dataclass(frozen=True)
class TrainingConfig:
    folder: UserPath  # of the run: checkpoint, logs, sheets, results
    models: ModelFolders
    data: TrainingData
    batch: int  # over all processes and accumulation steps
    run: Settings
    optimizer: OptimizerPart = field(default_factory=OptimizerPart)
    unet: UNetPart = field(default_factory=UNetPart)
    dropout: Dropout = field(default_factory=Dropout)
    weighting: Weighting = field(default_factory=Weighting)
    licence: str = "not stated"  # of the weights that come out; goes into their metadata
