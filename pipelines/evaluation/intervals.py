"""Means over cases and their 95 % bootstrap intervals."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from scipy.stats import bootstrap


@dataclass(frozen=True)
class Interval:
    """A mean over cases; the ends are None where one case says nothing about the others."""

    value: float
    low: float | None
    high: float | None
    count: int  # cases that have a value

    @property
    def leaves_out_zero(self) -> bool:
        """Whether both ends are known and on one side of zero."""
        return self.low is not None and self.high is not None and self.low * self.high > 0


def mean_interval(values: np.ndarray) -> Interval | None:
    """Mean of values [N] and its BCa interval over the cases; NaN is left out; None where nothing is left.

    The same for the same values: the resampling starts from one seed.
    """
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    mean = float(known.mean())
    if len(known) == 1:
        return Interval(mean, None, None, 1)
    if np.ptp(known) == 0:
        return Interval(mean, mean, mean, len(known))
    for method in ("BCa", "percentile"):  # BCa has no answer for some very lopsided samples
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rng = np.random.default_rng(0)
            interval = bootstrap((known,), np.mean, confidence_level=0.95, method=method, batch=1000, rng=rng)
        low, high = interval.confidence_interval
        if np.isfinite(low) and np.isfinite(high):
            return Interval(mean, float(low), float(high), len(known))
    return Interval(mean, None, None, len(known))


def ratio_interval(ratios: np.ndarray) -> Interval | None:
    """The same of ratios [N] above 0 by their logs: half and double are 1 on average."""
    interval = mean_interval(np.log(ratios))
    if interval is None:
        return None
    low, high = (None if end is None else float(np.exp(end)) for end in (interval.low, interval.high))
    return Interval(float(np.exp(interval.value)), low, high, interval.count)


def paired_interval(values: np.ndarray, others: np.ndarray) -> Interval | None:
    """The mean of values - others, case by case [N]; cases where either is NaN are left out."""
    return mean_interval(values - others)
