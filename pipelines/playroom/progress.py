"""Progress bars of the stages."""

from __future__ import annotations

from collections.abc import Callable

from tqdm import tqdm


def follow(bar: tqdm) -> Callable[[int, int], None]:
    """A `progress(done, total)` that moves the bar."""

    def progress(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    return progress
