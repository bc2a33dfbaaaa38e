"""What a benchmark offers: cases, each with its scene, object and whatever is known to be true."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from PIL.Image import Image

from .metrics import Metric

FILE_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Case:
    """One insertion to make. Pictures are RGB; scene, target and mask have one size.

    Raises ValueError when they have not, or when a mask is empty.
    """

    name: str  # fit for a file's name
    scene: Image
    objects: tuple[Image, ...]  # one or several views
    target: Image | None = None  # the scene with the object
    mask: np.ndarray | None = None  # [H,W] bool: where the object is in the target, or where it should go
    object_masks: tuple[np.ndarray, ...] = ()  # [h,w] bool for each object picture, or none at all
    instruction: str = ""
    caption: str = ""  # of the target

    def __post_init__(self):
        size = self.scene.size
        if not self.objects:
            raise ValueError(f"Case {self.name} has no picture of its object.")
        if self.target is not None and self.target.size != size:
            raise ValueError(f"Case {self.name}: the scene is {size}, its target {self.target.size} px.")
        if len(self.object_masks) not in (0, len(self.objects)):
            raise ValueError(
                f"Case {self.name}: {len(self.objects)} objects, but {len(self.object_masks)} masks of them."
            )
        masks = zip((self.scene, *self.objects), (self.mask, *self.object_masks), strict=False)
        for picture, mask in masks:
            if mask is not None and (mask.shape[::-1] != picture.size or not mask.any()):
                raise ValueError(f"Case {self.name}: a mask is empty or not of its picture's size, {picture.size} px.")


@dataclass(frozen=True)
class Benchmark:
    """Cases that are read one at a time, and what is to be known about them.

    `judge(case, result, restored scene)` gives the values of `judged`, metrics that only this benchmark can have.
    """

    name: str
    about: str  # for the report: what is compared, and what its numbers can and cannot say
    names: tuple[str, ...]
    read: Callable[[int], Case]
    judged: tuple[Metric, ...] = ()
    judge: Callable[[Case, Image, Image | None], dict[str, float]] | None = None

    def __post_init__(self):
        wrong = [name for name in self.names if not FILE_SAFE.fullmatch(name)]
        if wrong or len(set(self.names)) != len(self.names):
            raise ValueError(f"{self.name}: names of cases must differ and be fit for files; {wrong[:3]}.")

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Case:
        if not 0 <= index < len(self.names):
            raise IndexError(index)
        return self.read(index)

    def first(self, count: int | None) -> Benchmark:
        """The first cases of it, all by default."""
        return replace(self, names=self.names[:count])


def mask_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 px around a mask [H,W] bool that is not empty, the far sides exclusive."""
    rows, columns = np.nonzero(mask)
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1
