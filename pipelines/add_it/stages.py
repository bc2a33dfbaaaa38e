"""Where along a schedule, or a part of one, a run is started from its scene and where it is blended.

A run may be split in two at any level and must come out the same, so a place is a matter of the schedule's levels and
not of where a part begins.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from .windows import SLACK, PercentToSigma, nearest_level, share_of

DOUBLE_BLOCKS = (13 / 19, 14 / 19, 18 / 19)  # of FLUX.1's depth: where the official subject map is read off
SINGLE_BLOCKS = (23 / 38, 33 / 38)
MAP_STEPS = 3  # the blend's and two before (section 3.4)


def start_index(sigmas: Sequence[float], share: float, percent_to_sigma: PercentToSigma) -> int | None:
    """The level of a falling schedule from which the noised scene goes on; None where the schedule begins below it.

    The nearest level. The last one, where all of the schedule comes before it.
    """
    if share <= 0 or len(sigmas) < 2 or share_of(float(sigmas[0]), percent_to_sigma) > share + SLACK:
        return None
    return nearest_level(sigmas, share, percent_to_sigma).index


def blend_index(sigmas: Sequence[float], share: float, percent_to_sigma: PercentToSigma) -> int | None:
    """The level at which latents are blended: the one that the evaluation nearest to this share steps to.

    None where that evaluation is not among these levels: it belongs to another part of the run.
    """
    if len(sigmas) < 2:
        return None
    shares = [share_of(float(sigma), percent_to_sigma) for sigma in sigmas]
    nearest = min(range(len(shares) - 1), key=lambda index: abs(shares[index] - share))
    step = shares[nearest + 1] - shares[nearest]
    is_of_earlier_part = nearest == 0 and shares[0] - share >= step / 2 - SLACK
    ends_nearer = abs(shares[nearest + 1] - share) < abs(shares[nearest] - share) - SLACK and float(sigmas[-1]) > 0
    return None if is_of_earlier_part or ends_nearer else nearest + 1


def map_levels(sigmas: Sequence[float], share: float, percent_to_sigma: PercentToSigma) -> tuple[float, float]:
    """The lowest and the highest noise level at which the subject map is read off: the evaluation nearest to this share
    and the two before it; (0, 0) where none is among these levels."""
    shares = [share_of(float(sigma), percent_to_sigma) for sigma in sigmas]
    blend = blend_index(sigmas, share, percent_to_sigma)
    if blend is not None:
        chosen = [float(sigma) for sigma in sigmas[max(0, blend - MAP_STEPS) : blend]]
    else:  # the blend is in a later part: its place is told by steps like the last one here
        chosen = [
            float(sigmas[index])
            for index in range(len(shares) - 1)
            if 0 <= share - shares[index] <= (MAP_STEPS - 0.5) * (shares[index + 1] - shares[index]) + SLACK
        ]
    return (min(chosen), max(chosen)) if chosen else (0.0, 0.0)


def map_blocks(double: int, single: int) -> set[tuple[str, int]]:
    """The blocks whose attention makes the subject map, ("double" or "single", index), of a model of this depth."""
    blocks = {("double", int(share * double)) for share in DOUBLE_BLOCKS if double}
    return blocks | {("single", int(share * single)) for share in SINGLE_BLOCKS if single}


def mask_cells(mask: Tensor, height: int, width: int) -> Tensor:
    """A picture's masks [B,H,W] in 0..1 for latents, [B,1,height,width] of 0 and 1: cells with a pixel above .5."""
    return (F.adaptive_max_pool2d(mask[:, None].float(), (height, width)) >= 0.5).float()
