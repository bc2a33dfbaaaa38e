"""What the configuration of a student's training may say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ....training.config import ModelPath, UserPath
from ....training.ranges import Count, NotNegative, Share, Whole
from ....training.trainer import Settings
from ...training.preparation import PictureSettings
from ..scale_tokens import Range


@dataclass(frozen=True)
class TeacherFiles:
    base: ModelPath  # a diffusers InstructPix2Pix folder
    embedding_optimizer: UserPath | None = None  # default: the one in `base`
    image_encoder: UserPath | None = None
    detail_encoder: UserPath | None = None
    unet_patch: UserPath | None = None  # what the UNet learned beside the optimizer


@dataclass(frozen=True)
class RunsData:
    train: UserPath  # a folder with metadata.jsonl, see triplets.folder; the true pictures are not looked at
    cache: UserPath | None = None  # where encodings and runs go; default: one place for all runs
    workers: Whole = 0  # threads that read pictures; 0: as many as processors, at most 8
    pictures: PictureSettings = field(default_factory=PictureSettings)
    runs: Count = 1000  # of the teacher
    held_out: Share = 0.05  # of the triplets: their runs are not learned from


@dataclass(frozen=True)
class Scales:
    """Which scales of guidance a student learns: `near` those of the models, the others anywhere in the ranges."""

    object_scale: Range = (1.0, 9.0)
    scene_scale: Range = (1.0, 2.0)
    near: Share = 0.5
    nearness: NotNegative = 0.1  # relative distance that still counts as near

    def __post_init__(self):
        for name in ("object_scale", "scene_scale"):
            low, high = getattr(self, name)
            if not 0 <= low < high:
                raise ValueError(f"{name} must be a range, the smaller number first")


@dataclass(frozen=True)
class StudentPart:
    kind: Literal["guidance", "few_step"] = "guidance"
    start: UserPath | None = None  # a student's file to go on from; a few_step one starts from a guidance one
    rank: Count = 32
    tokens: Count = 4  # that say the scales
    sampler: Literal["euler_ancestral", "euler"] = "euler_ancestral"  # that it will be used with
    steps: Count = 8  # of a picture, on the host's "simple" schedule
    teacher_steps: Count = 12  # noise levels of the teacher's run; of a few_step student, in each of its steps


# What may be changed in going on with a run.
FREE = ("folder", "licence", "run", "data.cache", "data.workers")


@dataclass(frozen=True)
class DistillationConfig:
    folder: UserPath
    models: TeacherFiles
    data: RunsData
    batch: Count
    run: Settings
    student: StudentPart = field(default_factory=StudentPart)
    scales: Scales = field(default_factory=Scales)
    licence: str = "not stated"  # of the weights that come out
