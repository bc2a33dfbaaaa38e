"""The progress of a node that is no sampler."""

from __future__ import annotations

from collections.abc import Callable

import comfy.utils


def run_progress(total: int) -> Callable[[int, int], object]:
    """What shows how many of `total` are done, called with that and the total; raises once the run is cancelled."""
    return comfy.utils.ProgressBar(total).update_absolute
