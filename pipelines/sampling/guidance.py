"""Three-branch guidance of InstructPix2Pix: how much the scene and how much the object steer.

With e(scene, object) a prediction of the network and 0 for "without" (InstructPix2Pix, arXiv 2211.09800, eq. 3):

    e = e(0,0) + s_I [e(I,0) - e(0,0)] + s_T [e(I,O) - e(I,0)]

Collected, e = (1 - s_I) e(0,0) + (s_I - s_T) e(I,0) + s_T e(I,O): a branch whose coefficient is zero is not needed.
Predictions may be the noise, v or the denoised latent: all three are affine in each other at one noise level. Only
rescale depends on which; both doors of the pack combine denoised latents.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

from torch import Tensor

Branch = Literal["empty", "scene", "full"]  # e(0,0), e(I,0), e(I,O)
LARGEST_SCALE = 1000
BRANCHES: tuple[Branch, ...] = ("empty", "scene", "full")


def check_scale(name: str, scale: float, least: float = 0) -> None:
    """Raise ValueError for a scale of guidance below `least`, or so large that nothing but overflow comes of it."""
    if not least <= scale <= LARGEST_SCALE:
        raise ValueError(f"{name} must be a number from {least} to {LARGEST_SCALE}; got {scale}.")


@dataclass(frozen=True)
class Guidance:
    """Settings of one run. Intervals are shares of the noise schedule: 0 is pure noise, 1 the clean picture.

    Outside its interval a term's scale is 1: the condition still holds, it is only no longer exaggerated
    (limited interval guidance, arXiv 2404.07724). A rescale of 0 is off, 1 is full (arXiv 2305.08891, section 3.4).
    """

    object_scale: float = 7.5
    scene_scale: float = 1.5
    object_start: float = 0.0
    object_end: float = 1.0
    scene_start: float = 0.0
    scene_end: float = 1.0
    object_rescale: float = 0.0
    scene_rescale: float = 0.0

    def __post_init__(self):
        for term in ("object", "scene"):
            check_scale(f"{term}_scale", getattr(self, f"{term}_scale"))
            start = getattr(self, f"{term}_start")
            end = getattr(self, f"{term}_end")
            if not 0 <= start <= end <= 1:
                raise ValueError(f"The {term} interval must satisfy 0 <= start <= end <= 1; got {start} to {end}.")
            rescale = getattr(self, f"{term}_rescale")
            if not 0 <= rescale <= 1:
                raise ValueError(f"{term}_rescale must be between 0 and 1; got {rescale}.")


class Scales(NamedTuple):
    """The two scales in force at one noise level."""

    object: float  # s_T
    scene: float  # s_I


def scales_at(guidance: Guidance, sigma: float, percent_to_sigma: Callable[[float], float]) -> Scales:
    """Scales in force at noise level `sigma`; `percent_to_sigma` maps a share of the schedule to its noise level."""

    def scale(value: float, start: float, end: float) -> float:
        begun = start <= 0 or sigma <= percent_to_sigma(start)
        ended = end < 1 and sigma <= percent_to_sigma(end)
        return value if begun and not ended else 1.0

    return Scales(
        scale(guidance.object_scale, guidance.object_start, guidance.object_end),
        scale(guidance.scene_scale, guidance.scene_start, guidance.scene_end),
    )


def coefficients(scales: Scales) -> dict[Branch, float]:
    """Weight of each branch in the collected form; they add up to 1."""
    return {"empty": 1 - scales.scene, "scene": scales.scene - scales.object, "full": scales.object}


def needed_branches(guidance: Guidance, scales: Scales) -> tuple[Branch, ...]:
    """The branches to evaluate: those with a weight, and those whose spread a rescale is measured against."""
    weights = coefficients(scales)
    spread_of: set[Branch] = set()
    if guidance.scene_rescale > 0 and scales.scene != 1:
        spread_of.add("scene")
    if guidance.object_rescale > 0 and scales.object not in (0, 1):
        spread_of.add("full")
    return tuple(branch for branch in BRANCHES if weights[branch] != 0 or branch in spread_of)


def rescaled(guided: Tensor, reference: Tensor, share: float) -> Tensor:
    """Bring the spread of `guided` [B,...] per item towards that of `reference` by `share` 0..1."""
    dims = tuple(range(1, guided.ndim))
    factor = reference.std(dims, keepdim=True) / guided.std(dims, keepdim=True).clamp_min(1e-8)
    return guided * (1 + share * (factor - 1))


def mix(weights: Mapping[Branch, float], predictions: Mapping[Branch, Tensor]) -> Tensor:
    """Weighted sum [B,...] of predictions [B,...] by branch, for weights that add up to 1.

    It is a walk along differences: large weights of opposite sign would multiply the rounding.
    """
    used: list[Branch] = [branch for branch in BRANCHES if weights.get(branch)]
    mixed = predictions[used[0]]
    rest = 1.0
    for before, branch in pairwise(used):
        rest -= weights[before]
        mixed = mixed + (predictions[branch] - predictions[before]) * rest
    return mixed


def combine(guidance: Guidance, scales: Scales, predictions: Mapping[Branch, Tensor]) -> Tensor:
    """The guided prediction [B,...] from the predictions [B,...] of the branches that `needed_branches` names."""
    guided = mix(coefficients(scales), predictions)
    if guidance.scene_rescale > 0 and scales.scene != 1:
        weights: dict[Branch, float] = {"empty": 1 - scales.scene, "scene": scales.scene}
        steered = mix(weights, predictions)
        guided = guided + rescaled(steered, predictions["scene"], guidance.scene_rescale) - steered
    if guidance.object_rescale > 0 and scales.object not in (0, 1):
        guided = rescaled(guided, predictions["full"], guidance.object_rescale)
    return guided
