"""The progress bar of a long run."""

from __future__ import annotations

import sys
from typing import Any


class ProgressBar:
    """A bar on stderr, moved by calling it as a run's `progress(done, total)` or `callback(done, total, latents)`.

    It closes when all is done or its `with` is left, and opens anew for the next run.
    """

    def __init__(self, what: str, unit: str):
        """`what` is done to how many of a `unit`."""
        self.what = what
        self.unit = unit
        self.bar: Any = None

    def __call__(self, done: int, total: int, *_: object) -> None:
        bar = self.open() if self.bar is None else self.bar
        bar.total = total
        bar.update(done - bar.n)
        if done == total:
            self.close()

    def open(self) -> Any:
        """The bar, shown empty."""
        from tqdm import tqdm

        self.bar = tqdm(desc=self.what, unit=self.unit)
        return self.bar

    def write(self, line: str) -> None:
        """A line above the bar."""
        from tqdm import tqdm

        tqdm.write(line, file=sys.stderr)

    def close(self) -> None:
        """Leave the bar as it is, and a new line after it."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def __enter__(self) -> ProgressBar:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
