"""How fast a picture is made: presets of sampler, noise levels, steps and branches, and what is known to be lost.

Fewer steps save most: on the playroom no trick on branches was as good for as many evaluations of the UNet. Presets
belong to a model, which brings those that were measured on it; `UNMEASURED` are for a model that brings none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..weights.configs import read_json
from ..weights.pretrained import reading
from .guidance import Guidance, check_scale

EXACT = "exact"
SPEEDS = (EXACT, "balanced", "fast")
SCHEDULERS = ("normal", "karras", "simple")  # the host's names of what `schedulers.spread_sigmas` knows
NOT_MEASURED = "what it loses on this model is not measured"


@dataclass(frozen=True)
class Run:
    """The settings that a preset decides, by the host's names of samplers and schedulers."""

    sampler: str
    scheduler: str
    steps: int


@dataclass(frozen=True)
class Preset(Run):
    """A faster run of one model. A scene scale of 1 saves the branch without a scene; None leaves it as it is."""

    scene_scale: float | None = None
    loss: str = NOT_MEASURED  # against exact

    def __post_init__(self):
        if self.scheduler not in SCHEDULERS:
            raise ValueError(f"A preset's scheduler must be one of {', '.join(SCHEDULERS)}, not '{self.scheduler}'.")
        if self.steps < 1:
            raise ValueError(f"A preset needs at least 1 step, not {self.steps}.")
        if self.scene_scale is not None:
            check_scale("A preset's scene_scale", self.scene_scale)

    def guided(self, guidance: Guidance) -> Guidance:
        """The guidance of a run with these settings: all but the scene's scale is the given one's."""
        return guidance if self.scene_scale is None else replace(guidance, scene_scale=self.scene_scale)


Presets = Mapping[str, Preset]  # by speed, all but "exact"

# A guess for weights of Stable Diffusion's size, until it is measured on them: they need more steps than a toy.
UNMEASURED: Presets = {
    "balanced": Preset("euler_ancestral", "karras", 12),
    "fast": Preset("euler_ancestral", "karras", 8, scene_scale=1.0),
}


def chosen(speed: str, presets: Presets) -> Preset | None:
    """The preset of a speed, None for "exact". Raises ValueError for one that is not known."""
    if speed not in SPEEDS:
        raise ValueError(f"Unknown speed '{speed}'; use {', '.join(SPEEDS)}.")
    return None if speed == EXACT else presets[speed]


def remark(speed: str, preset: Preset | None, guidance: Guidance) -> str:
    """What to tell of a preset's run that `guidance` was given to; "" for an exact run."""
    if preset is None:
        return ""
    ran = f"{speed}: {preset.sampler}, {preset.scheduler}, {preset.steps} steps, in place of the widgets'"
    scale = preset.guided(guidance).scene_scale
    if scale != guidance.scene_scale:
        ran += f"; scene scale {scale:g} in place of {guidance.scene_scale:g}"
    return f"{ran}. Against exact: {preset.loss}."


def settings_of(speed: str, preset: Preset | None) -> dict[str, Any]:
    """What a speed made of a run's settings, for its record; nothing for an exact run."""
    if preset is None:
        return {}
    return {"speed": speed, "sampler": preset.sampler, "scheduler": preset.scheduler, "steps": preset.steps}


def presets_in(facts_file: Path) -> Presets:
    """The presets under "speed" in a model's file of facts, `UNMEASURED` where there are none.

    Raises ValueError naming the file where they cannot be used.
    """
    if not facts_file.is_file():
        return UNMEASURED
    with reading(str(facts_file)):
        return _presets(read_json(facts_file).get("speed"))


def _presets(table: Mapping[str, Mapping[str, Any]] | None) -> Presets:
    own = {speed: Preset(**settings) for speed, settings in (table or {}).items()}
    if unknown := set(own).difference(SPEEDS[1:]):
        raise ValueError(f"There is no speed '{unknown.pop()}' that could have a preset.")
    return {**UNMEASURED, **own}


def as_facts(presets: Presets) -> dict[str, Any]:
    """What `presets_in` reads, for a file of facts."""
    return {speed: asdict(preset) for speed, preset in presets.items()}
