"""When Add-it does what: shares of the schedule, looked up by noise level, so that they hold for any scheduler.

The paper's t (933, 867, 670, 500, 340 of 1000) are shares of a run of 30 steps and no noise levels (arXiv 2411.07232,
appendix A.1): blocks with two streams are extended in steps 0..10, those with one in steps 0..20, the structure is
taken over before step 2 of a generated scene and 4 of a real one, the latents are blended after step 15 and 18.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

PercentToSigma = Callable[[float], float]  # a share of the schedule 0..1 to its noise level, falling

DOUBLE_UNTIL = 11 / 30
SINGLE_UNTIL = 21 / 30
START, REAL_START = 2 / 30, 4 / 30
BLEND, REAL_BLEND = 15 / 30, 18 / 30
GAMMA, REAL_GAMMA = 1.05, 1.1
SLACK = 1e-4  # of a noise level, or of 1 below it: levels of one step that were computed in two ways
FAR = 1 / 30  # of the schedule: a published step


@dataclass(frozen=True)
class AddItSettings:
    """The knobs of a run; all but `gamma` are shares of the schedule, 0 pure noise and 1 its end."""

    gamma: float | None = REAL_GAMMA  # None: balanced picture by picture
    double_until: float = DOUBLE_UNTIL
    single_until: float = SINGLE_UNTIL
    start: float = REAL_START  # the target is the noised scene up to here; 0 begins with pure noise
    blend: float | None = REAL_BLEND  # None: never

    def __post_init__(self):
        """Raises ValueError for what is out of range."""
        if self.gamma is not None and not 0 < self.gamma <= 10:
            raise ValueError(f"gamma must be above 0 and at most 10; got {self.gamma}. 1.0 to 1.2 make sense.")
        shares = {"double_until": self.double_until, "single_until": self.single_until, "start": self.start}
        if self.blend is not None:
            shares["blend"] = self.blend
        for name, share in shares.items():
            if not 0 <= share <= 1:
                raise ValueError(f"{name} must be a share of the schedule from 0 to 1; got {share}.")
        if self.blend is not None and self.blend <= self.start:
            raise ValueError(f"blend ({self.blend:.3g}) must come after start ({self.start:.3g}).")

    @property
    def extended_until(self) -> float:
        """Up to where any block is extended; from there on the source row has nothing to do but to wait for a blend."""
        return max(self.double_until, self.single_until)

    def until(self, single: bool) -> float:
        """The end of the window of the blocks with one stream, or of those with two."""
        return self.single_until if single else self.double_until


GENERATED = AddItSettings(gamma=GAMMA, start=START, blend=BLEND)  # for a scene that the same model made
REAL = AddItSettings()  # for a photograph


def is_before(sigma: float, share: float, percent_to_sigma: PercentToSigma) -> bool:
    """Whether an evaluation at noise level `sigma` comes before this share of the schedule, the level itself excluded.

    Share 0 comes before nothing, share 1 after everything.
    """
    if share <= 0:
        return False
    if share >= 1:
        return True
    level = percent_to_sigma(share)
    return sigma > level + SLACK * max(1.0, abs(level))


@dataclass(frozen=True)
class NearestLevel:
    """The level of a schedule that lies nearest to a share, and how far off it is."""

    index: int
    sigma: float
    distance: float  # in shares of the schedule
    far: bool  # farther than a published step, and than the schedule's own steps would explain


def share_of(sigma: float, percent_to_sigma: PercentToSigma) -> float:
    """The share of the schedule 0..1 at which a noise level is reached, by halving."""
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        if percent_to_sigma(middle) > sigma:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def nearest_level(sigmas: Sequence[float], share: float, percent_to_sigma: PercentToSigma) -> NearestLevel:
    """The level of a falling schedule that lies nearest to a share of it.

    Raises ValueError for a schedule of fewer than two levels.
    """
    if len(sigmas) < 2:
        raise ValueError("The schedule has no steps: give it at least two noise levels.")
    distances = [abs(share_of(float(sigma), percent_to_sigma) - share) for sigma in sigmas]
    index = min(range(len(sigmas)), key=distances.__getitem__)
    allowed = max(FAR, 0.5 / (len(sigmas) - 1)) + SLACK
    return NearestLevel(index, float(sigmas[index]), distances[index], distances[index] > allowed)


def nearest_pair(sigmas: Sequence[float], sigma: float) -> tuple[int, int, float]:
    """(the index of the level above or at `sigma`, of the one below, the share of the way down between them).

    `sigmas` fall; beyond their ends the end's own level is taken.
    """
    below = next((index for index, level in enumerate(sigmas) if level < sigma), len(sigmas) - 1)
    above = max(0, below - 1)
    span = sigmas[above] - sigmas[below]
    share = (sigmas[above] - sigma) / span if span else 0.0
    return above, below, min(1.0, max(0.0, share))


def flux_percent_to_sigma(mu: float) -> PercentToSigma:
    """FLUX's shifted noise level at a share of the schedule: e^mu / (e^mu + 1 / t - 1), t = 1 - share; mu 0 is t."""
    factor = math.exp(mu)

    def level(share: float) -> float:
        time = 1 - share
        return factor * time / (factor * time + 1 - time)

    return level
