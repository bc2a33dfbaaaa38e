"""How long a stage may learn: seconds on the wall's clock, and on a slow machine a number of steps."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """A stage ends after so many seconds, or after so many steps if that comes first."""

    seconds: float
    steps: int | None = None

    def run(self) -> Iterator[tuple[int, float]]:
        """Step numbers from 0, each with the share of the stage that is over, 0..1; at least one step."""
        started = time.monotonic()
        step = 0
        share = 0.0
        while share < 1:
            yield step, share
            step += 1
            share = (time.monotonic() - started) / max(self.seconds, 1e-6)
            if self.steps is not None:
                share = max(share, step / self.steps)


def warm(step: int, steps: int) -> float:
    """A learning rate's factor while it rises over so many steps."""
    return min(1.0, (step + 1) / steps)


def cosine(share: float, lowest: float = 0.02) -> float:
    """A learning rate's factor on its way down over a whole stage."""
    return lowest + (1 - lowest) * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


def average_weight(step: int, longest: float) -> float:
    """How much of the running average stays at this step: little at first, `longest` in the end."""
    return min(longest, (1 + step) / (12 + step))
