"""How well a method told what an edit was meant to change from what it should not have touched."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from .restoration_cases import Case, alignment_error
from .restoration_rivals import Outcome, at_size_of

MARGIN = 1 / 100  # of the longer side, at least
LEAST_MARGIN = 4  # px, around what was touched: feathers may lie there
EXACT = 99.0  # dB, where nothing differs

Row = dict[str, float | None]


def background(case: Case) -> np.ndarray:
    """The pixels [H,W] bool that nothing should have touched, at some distance from what was."""
    margin = max(LEAST_MARGIN, round(MARGIN * max(case.scene.shape[:2])))
    return ~ndimage.binary_dilation(case.touched, iterations=margin) if case.touched.any() else ~case.touched


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two masks bool; 1 where both are empty."""
    union = (one | other).sum()
    return float((one & other).sum() / union) if union else 1.0


def decibels(one: np.ndarray, other: np.ndarray, where: np.ndarray) -> float | None:
    """PSNR over some pixels, 99 at most; None where there are none."""
    if not where.any():
        return None
    error = float(np.square(one - other, dtype=np.float64)[where].mean())
    return min(EXACT, -10 * math.log10(error)) if error else EXACT


def measured(case: Case, outcome: Outcome, seconds: float) -> Row:
    """A method's figures for a case."""
    height, width = case.scene.shape[:2]
    rest = background(case)
    reported = outcome.effect > 0
    row: Row = {
        "effect_iou": overlap(outcome.effect >= 0.5, case.effect),
        "object_iou": None if outcome.objects is None else overlap(outcome.objects >= 0.5, case.object >= 0.5),
        "background_flagged": float(reported[rest].mean()) if rest.any() else None,
        "alignment_px": None,
        "background_db_before": decibels(at_size_of(case.scene, case.edited), case.scene, rest),
        "background_db_after": decibels(outcome.picture, case.scene, rest),
        "bit_equal": float(np.array_equal(outcome.picture[~reported], case.scene[~reported])),
        "identical": float((outcome.picture == case.scene).all(-1).mean()),
        "ideal_db": decibels(outcome.picture, case.ideal, np.ones((height, width), bool)),
        "seconds": seconds,
    }
    if outcome.affine is not None and case.affine is not None:
        row["alignment_px"] = alignment_error(outcome.affine, case.affine, width, height)
    return row
