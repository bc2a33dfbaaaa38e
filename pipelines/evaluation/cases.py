"""What a benchmark offers: cases, each with its scene, object and whatever is known to be true."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL.Image import Image, Resampling

from ..pictures.masks import Box, array_box
from .metrics import Metric

FILE_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")

Place = tuple[float, float, float, float]  # x0, y0, x1, y1


@dataclass(frozen=True)
class Case:
    """One insertion to make, of an object that is shown or told. Pictures are RGB.

    Scene, target and mask have one size. Raises ValueError when they have not, when a mask is empty, and for an object
    that is neither shown nor told.
    """

    name: str  # fit for a file's name
    scene: Image
    objects: tuple[Image, ...] = ()  # one or several views; none where the object is told in words alone
    target: Image | None = None  # the scene with the object
    mask: np.ndarray | None = None  # [H,W] bool: where the object is in the target, or where it should go
    object_masks: tuple[np.ndarray, ...] = ()  # [h,w] bool for each object picture, or none at all
    instruction: str = ""
    caption: str = ""  # of the target
    scene_caption: str = ""
    subject: str = ""  # what is added, in the words that a detector looks for
    subject_count: int | None = None  # how many of it are looked for at most; None: all that are there
    places: tuple[Place, ...] = ()  # marked by people: boxes in px of the scene, in one of which the object belongs
    reference: Image | None = None  # one more picture, nothing but the object: shown first, and compared with

    @property
    def truths(self) -> set[str]:
        """What is known to be true of the case, by the names of `Metric.truth`."""
        known = {
            "target": self.target is not None,
            "mask": self.mask is not None,
            "caption": bool(self.caption),
            "scene caption": bool(self.scene_caption),
            "subject": bool(self.subject),
            "marked place": bool(self.places),
            "picture of the object": bool(self.objects),
        }
        return {name for name, there in known.items() if there}

    def views(self) -> list[tuple[Image, np.ndarray | None]]:
        """The object pictures, each with its mask if it has one. Raises ValueError for a case that has none."""
        if not self.objects:
            raise ValueError(
                f"Case {self.name} shows no picture of its object, it is told in words: “{self.told}”. Methods that "
                "are told: add-it and text."
            )
        return list(zip(self.objects, self.object_masks or (None,) * len(self.objects), strict=True))

    def references(self) -> list[tuple[Image, np.ndarray | None]]:
        """What a method is shown that takes one picture, or several in this order: `reference` before the views.

        Raises ValueError for a case that has none.
        """
        return self.views() if self.reference is None else [(self.reference, None), *self.views()]

    @property
    def told(self) -> str:
        """What is to be done in words: the instruction, or the subject alone."""
        return self.instruction or self.subject

    def __post_init__(self):
        size = self.scene.size
        if self.reference is not None and not self.objects:
            raise ValueError(f"Case {self.name} has a reference picture, but no other picture of its object.")
        if not self.objects and not self.told:
            raise ValueError(f"Case {self.name} has no picture of its object, and no words for it.")
        if self.target is not None and self.target.size != size:
            raise ValueError(f"Case {self.name}: the scene is {size}, its target {self.target.size} px.")
        if len(self.object_masks) not in (0, len(self.objects)):
            raise ValueError(
                f"Case {self.name}: {len(self.objects)} objects, but {len(self.object_masks)} masks of them."
            )
        views = self.views() if self.objects else []
        for picture, mask in [(self.scene, self.mask), *views]:
            if mask is not None and (mask.shape[::-1] != picture.size or not mask.any()):
                raise ValueError(f"Case {self.name}: a mask is empty or not of its picture's size, {picture.size} px.")


@dataclass(frozen=True)
class Benchmark:
    """Cases that are read one at a time, and what is to be known about them.

    `judge(case, result, vae_scene)` gives the values of `judged`, metrics that only this benchmark can have; the last
    picture is what a VAE alone makes of the scene, None where no VAE is given. `others(case)` are pictures of the same
    kind of thing as a case's object, each with the mask of that thing, for methods that learn; cases with the same
    object pictures have the same ones.
    """

    name: str
    about: str  # for the report: what is compared, and what its numbers can and cannot say
    names: tuple[str, ...]
    read: Callable[[int], Case]
    judged: tuple[Metric, ...] = ()
    judge: Callable[[Case, Image, Image | None], dict[str, float]] = lambda case, result, vae_scene: {}
    others: Callable[[Case], Sequence[tuple[Image, np.ndarray]]] = lambda case: ()

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


def fingerprint_of(benchmark: Benchmark) -> str:
    """Twelve hex digits that change with the cases of a benchmark, wherever its data lie.

    All names count, and of the first, the middle and the last case every picture, mask and word.
    """
    digest = sha256(repr((benchmark.name, benchmark.names)).encode())
    for index in sorted({0, len(benchmark) // 2, len(benchmark) - 1}):
        case = benchmark[index]
        digest.update(repr((case.instruction, case.caption)).encode())
        digest.update(f"{case.scene_caption}{case.subject}".encode())  # nothing where there are none
        for picture in filter(None, (case.scene, *case.objects, case.target, case.reference)):
            digest.update(repr(picture.size).encode() + picture.tobytes())
        for mask in (case.mask, *case.object_masks):
            digest.update(b"" if mask is None else mask.tobytes())
    return digest.hexdigest()[:12]


def picture_file(folder: Path, case: str) -> Path | None:
    """The picture of a case in a folder, by any of SUFFIXES."""
    paths = (folder / f"{case}{suffix}" for suffix in SUFFIXES)
    return next((path for path in paths if path.is_file()), None)


def to_size(picture: Image, size: tuple[int, int]) -> Image:
    """The picture at (width, height), bicubic: scenes and results are brought to the target's (MagicBrush script)."""
    return picture if picture.size == size else picture.resize(size, Resampling.BICUBIC)


def object_box(picture: Image, mask: np.ndarray | None) -> Box:
    """Where the object is in its picture: the box of its mask [h,w], the whole picture where there is none."""
    return (0, 0, *picture.size) if mask is None else array_box(mask)
