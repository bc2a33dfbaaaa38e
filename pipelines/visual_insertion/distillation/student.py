"""A student as a file: a low-rank patch of its teacher's UNet, and what tells it the scales of guidance.

The patch has the names that LoRA loaders know. Distilled are both scales of InstructPix2Pix's guidance (after arXiv
2210.03142, section 3.1, which has one) and, in a second stage, the steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...sampling.guidance import Guidance, Scales
from ...sampling.speed import NOT_MEASURED, Preset
from ...weights import module_files
from ...weights.reading import StateDict, check_numbers, read_weights, shapes_of
from ...weights.unet_patch_reading import add_differences, differences
from ...weights.writing import save_tensors
from .scale_tokens import Range, ScaleTokens

FORMAT = "visual-insertion/student"
KINDS = ("guidance", "few_step")
LOSS = "loss"  # in the metadata: what is known to be lost
TOKENS = "scale_tokens."  # begins the names of tensors that are no patch
CLOSE = 2e-3  # relative: the host rounds noise levels otherwise than training does
FOREIGN = (
    "it carries no settings of a student. Needed is a file that `visual-insertion train` wrote from such a recipe."
)


@dataclass(frozen=True)
class StudentSettings:
    """What a student was trained for; elsewhere it must not be asked."""

    kind: str  # of KINDS: guidance in one evaluation, or that and large steps
    sampler: str  # the host's names
    scheduler: str
    steps: int
    levels: tuple[float, ...]  # the noise levels of these steps, falling, without the 0 at the end
    object_scale: Range
    scene_scale: Range
    tokens: int
    context_width: int
    rank: int

    def __post_init__(self):
        module_files.check_counts(self, steps=1, tokens=1, context_width=1, rank=1)
        for name in ("levels", "object_scale", "scene_scale"):
            object.__setattr__(self, name, tuple(map(float, getattr(self, name))))  # JSON has lists
        if self.kind not in KINDS:
            raise ValueError(f"'kind' must be one of {', '.join(KINDS)}, not {self.kind!r}")
        if len(self.levels) != self.steps:
            raise ValueError(f"'levels' must be as many as its {self.steps} steps, not {len(self.levels)}")
        for name in ("object_scale", "scene_scale"):
            if len(getattr(self, name)) != 2:
                raise ValueError(f"'{name}' must be the two ends of a range")

    @property
    def ranges(self) -> tuple[Range, Range]:
        return self.object_scale, self.scene_scale


@dataclass(frozen=True)
class Student:
    """A patch of a UNet, in kohya's layout, with the tokens that go with it."""

    settings: StudentSettings
    scale_tokens: ScaleTokens
    patch: StateDict
    name: str = "the student"
    loss: str = NOT_MEASURED  # against its teacher

    @property
    def preset(self) -> Preset:
        """The run that it was trained for."""
        settings = self.settings
        return Preset(settings.sampler, settings.scheduler, settings.steps, loss=self.loss)

    def sigmas(self, denoise: float = 1.0) -> Tensor:
        """[N+1] noise levels of that run, or of its end from a share of it on; the last is 0.

        Raises ValueError for a share that is none.
        """
        if not 0 < denoise <= 1:
            raise ValueError(f"denoise must be above 0 and at most 1; got {denoise}.")
        steps = max(1, round(denoise * self.settings.steps))
        return torch.tensor([*self.settings.levels[-steps:], 0.0])

    def check(self, guidance: Guidance) -> None:
        """Raise ValueError for guidance that it has not learned."""
        for term, (low, high) in (("object", self.settings.object_scale), ("scene", self.settings.scene_scale)):
            scale = getattr(guidance, f"{term}_scale")
            if not low <= scale <= high:
                raise ValueError(
                    f"{self.name} has learned {term} scales from {low:g} to {high:g}; asked is {scale:g}. Choose one "
                    "of these, or sample without the student."
                )
            if getattr(guidance, f"{term}_rescale"):
                raise ValueError(
                    f"{self.name} answers for all branches at once, so there is nothing to measure a rescale against. "
                    f"Set {term}_rescale to 0, or sample without the student."
                )

    def check_run(self, sigmas: Tensor) -> None:
        """Raise ValueError for noise levels [N+1], falling, that are not some of its own, one after the other."""
        settings = self.settings
        known = [*settings.levels, 0.0]
        places = [[abs(sigma - level) <= CLOSE * level for level in known] for sigma in sigmas.tolist()]
        found = [place.index(True) if any(place) else -1 for place in places]
        if -1 in found or any(after - before != 1 for before, after in pairwise(found)):
            raise ValueError(
                f"{self.name} has learned the noise levels of {settings.steps} steps ({settings.sampler}, "
                f"{settings.scheduler}), one after the other; asked are others. Set speed to fast, which takes these, "
                "or sample without the student."
            )

    @torch.no_grad()
    def context(self, context: Tensor, scales: Scales) -> Tensor:
        """A context [B,N,D] with the tokens [B,N+K,D] that ask for these scales."""
        asked = torch.tensor([[scales.object, scales.scene]], device=context.device)
        tokens = self.scale_tokens.to(context.device)(asked).to(context)
        return torch.cat([context, tokens.expand(len(context), -1, -1)], 1)


def save(student: Student, path: Path, **notes: str) -> None:
    """Write a student in half precision, whole or not at all; `notes` such as its licence travel with it."""
    own = {f"{TOKENS}{name}": tensor for name, tensor in student.scale_tokens.state_dict().items()}
    tensors = {name: tensor.to("cpu", torch.float16) for name, tensor in {**student.patch, **own}.items()}
    save_tensors(path, tensors, module_files.metadata(FORMAT, student.settings, **notes))


def load(path: Path) -> Student:
    """The student in a file. Raises FileNotFoundError, or ValueError for a damaged file or another kind of one."""
    path = Path(path)
    state, meta = read_weights(path)
    check_numbers(state, path)
    try:
        settings = module_files.settings_in(meta, FORMAT, StudentSettings, FOREIGN)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is no student of this pack: {error}") from error
    own = {name.removeprefix(TOKENS): state.pop(name).float() for name in list(state) if name.startswith(TOKENS)}

    def make(_: Any) -> ScaleTokens:
        return ScaleTokens(settings.tokens, settings.context_width, settings.ranges)

    tokens = module_files.filled(make, own, path, nn, "its own settings promise")
    return Student(settings, tokens.requires_grad_(False), state, path.name, meta.get(LOSS, NOT_MEASURED))


def apply(student: Student, unet: nn.Module) -> None:
    """Add a student's patch to its teacher, a diffusers UNet. Raises ValueError for another UNet."""
    add_differences(unet, differences(student.patch, shapes_of(dict(unet.named_parameters())), student.name))
