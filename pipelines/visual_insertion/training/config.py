"""What the configuration of a training run may say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from ...training.config import ModelPath, UserPath
from ...training.denoising import Weighting
from ...training.ranges import Count, Positive, Whole, one_of
from ...training.trainer import Settings
from ..embedding_optimizer import VARIANTS
from .augmentation import Augmentation
from .insertion_task import Dropout
from .preparation import PictureSettings


@dataclass(frozen=True)
class ModelFolders:
    base: ModelPath  # a diffusers InstructPix2Pix folder: unet, vae, scheduler; text_encoder and tokenizer for its null
    image_encoder: UserPath | None = None  # a transformers CLIP vision folder; default: the one in `base`
    detail_encoder: UserPath | None = None  # a transformers DINOv2 folder, read beside CLIP


@dataclass(frozen=True)
class TrainingData:
    train: UserPath  # a folder with metadata.jsonl, see triplets.folder
    validation: UserPath | None = None
    cache: UserPath | None = None  # where encodings go; default: one place for all runs, see training.encodings
    workers: Whole = 0  # threads that read pictures ahead of the networks; 0: as many as processors, at most 8
    pictures: PictureSettings = field(default_factory=PictureSettings)
    augment: bool = True  # the objects' pictures; without it vision tokens are cached
    augmentation: Augmentation = field(default_factory=Augmentation)


@dataclass(frozen=True)
class OptimizerPart:
    variant: Annotated[str, one_of(VARIANTS)] = "resampler"
    blocks: Count = 4
    heads: Count = 8
    start: UserPath | None = None  # an embedding optimizer file to go on from
    # the null: of the base model's text encoder; zeros; or "released", the authors' mix of several
    no_object: Literal["empty prompt", "zeros", "released"] = "empty prompt"
    random_queries: bool = False  # noise in every forward, as in the authors' code


@dataclass(frozen=True)
class UNetPart:
    train: Literal["none", "kv", "attn2"] = "none"  # of the cross-attention nothing, keys and values, or all
    start: UserPath | None = None  # a patch file that the run goes on from; what comes out holds it as well
    rate: Positive = 1.0  # times the learning rate
    tensors: Count | None = None  # what `train` must match, counted; None takes what it matches
    parameters: Count | None = None
    checkpointing: bool = False  # recompute activations in the backward pass: slower, much less memory


# What may be changed in going on with a run.
FREE = ("folder", "licence", "run", "data.cache", "data.workers", "data.validation")
FREE += ("unet.rate", "unet.tensors", "unet.parameters", "unet.checkpointing")


@dataclass(frozen=True)
class TrainingConfig:
    folder: UserPath  # of the run: checkpoint, logs, sheets, results
    models: ModelFolders
    data: TrainingData
    batch: Count  # over all processes and accumulation steps
    run: Settings
    optimizer: OptimizerPart = field(default_factory=OptimizerPart)
    unet: UNetPart = field(default_factory=UNetPart)
    dropout: Dropout = field(default_factory=Dropout)
    weighting: Weighting = field(default_factory=Weighting)
    licence: str = "not stated"  # of the weights that come out; goes into their metadata
