"""What can stand for all branches of guidance in one evaluation, as the samplers see it: a distilled student."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from .guidance import Guidance, Scales
from .speed import Preset


class OneEvaluation(Protocol):
    """A UNet that was trained to give what guidance makes of several evaluations."""

    @property
    def preset(self) -> Preset:
        """The run that it was trained for."""
        ...

    def sigmas(self, denoise: float) -> Tensor:
        """[N+1] noise levels of that run, or of its end from a share of it on; the last is 0."""
        ...

    def check(self, guidance: Guidance) -> None:
        """Raise ValueError for guidance that it has not learned."""
        ...

    def check_run(self, sigmas: Tensor) -> None:
        """Raise ValueError for noise levels [N+1], falling, that it has not learned."""
        ...

    def context(self, context: Tensor, scales: Scales) -> Tensor:
        """A context [B,N,D] with what asks for these scales behind it [B,N+K,D]."""
        ...
