"""Held-out scenes to which one more toy is to be added, and what the detector says of the results.

A case is a scene of `scenes.make_scene` without its last toy: that one is to come, told with its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from ..world.rooms import Room
from ..world.toys import PATTERNS, SHAPES, Toy
from ..world.triplets import furnish, object_picture, to_uint8
from ..world.words import colour_word
from . import captions
from .captions import Caption, Placed
from .detector import Detector, Find
from .scenes import HUE_NAMES, make_scene

SAME = 0.3  # of intersection over union: the toy that was there
MARGIN = 12  # px around a new toy that are none of the background
REACH = 3  # px that a toy's foot may stand beside its support


Label = tuple[int, int, int]  # shape, pattern and hue as indices


@dataclass(frozen=True)
class AdditionCase:
    """A scene, the toy to come, and the truth."""

    seed: int
    scene: np.ndarray  # [128,128,3] uint8
    truth: np.ndarray  # [128,128,3] uint8: with the toy
    view: np.ndarray  # [64,64,3] uint8: the toy alone, from another side
    source: Caption
    target: Caption
    labels: tuple[Label, ...]  # of all toys of the target, that one last
    place: str  # floor or table
    floor: np.ndarray  # [128,128] bool: where a bottom centre may stand
    table: np.ndarray  # [128,128] bool

    @property
    def label(self) -> Label:
        """Shape, pattern and hue of the toy to come."""
        return self.labels[-1]

    @property
    def toys(self) -> int:
        """How many are in the scene already."""
        return len(self.labels) - 1

    @property
    def subject(self) -> str:
        """The new toy in its caption's words."""
        return " ".join(captions.names_of(self.label))

    @property
    def support(self) -> np.ndarray:
        return self.floor | self.table


def label_of(toy: Toy) -> Label:
    """A toy's label."""
    return SHAPES.index(toy.shape), PATTERNS.index(toy.pattern), HUE_NAMES.index(colour_word(toy.colour))


def make_case(seed: int) -> AdditionCase:
    """The case of this seed, always the same."""
    rng, room, toys = make_scene(seed, least=1)
    return _case(seed, rng, room, toys)


def make_stages(seed: int, count: int = 3) -> list[AdditionCase]:
    """So many cases of one room, which is empty in the first: each adds a toy to what the one before made."""
    rng, room, toys = make_scene(seed, least=count)
    return [_case(seed, rng, room, toys[:number]) for number in range(1, count + 1)]


def _case(seed: int, rng: np.random.Generator, room: Room, toys: Sequence[Placed]) -> AdditionCase:
    toy, at = toys[-1]
    table = room.table is not None
    top = np.zeros(room.support.shape, bool)
    if room.table is not None:
        rows = slice(int(room.table.back), int(np.ceil(room.table.front)) + 1)
        columns = slice(max(0, int(room.table.left)), int(np.ceil(room.table.right)))
        top[rows, columns] = room.support[rows, columns]
    return AdditionCase(
        seed=seed,
        scene=to_uint8(furnish(room, toys[:-1])[0]),
        truth=to_uint8(furnish(room, toys)[0]),
        view=object_picture(rng, toy),
        source=captions.full_caption(toys[:-1], table=table),
        target=captions.full_caption(toys, table=table),
        labels=tuple(label_of(one) for one, _ in toys),
        place=at.place,
        floor=room.support & ~top,
        table=top,
    )


@dataclass(frozen=True)
class Finding:
    """What is seen of one result; nan where there is nothing to ask."""

    new: float  # a toy that was not in the scene
    hue: float  # with the asked hue
    shape: float
    supported: float  # on floor or table; nan without a new toy
    placed: float  # on the one that was named
    ok: float  # new, of the asked hue, supported
    kept: float  # share of the scene's toys still there in their hue; nan for an empty scene
    extra: float  # further new toys
    background: float  # dB to the scene outside of the new toy
    box: tuple[float, float, float, float] | None


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union of two boxes."""
    width = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    height = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / max(sum(areas) - width * height, 1e-6)


def psnr(picture: np.ndarray, other: np.ndarray, where: np.ndarray) -> float:
    """dB between uint8 pictures [H,W,3] on the pixels `where` [H,W]; nan for none."""
    if not where.any():
        return float("nan")
    error = np.mean((picture[where].astype(np.float64) - other[where]) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-3)))


def judge(
    case: AdditionCase, picture: np.ndarray, scene: np.ndarray, finds: Sequence[Find], scene_finds: Sequence[Find]
) -> Finding:
    """One result; `scene` [128,128,3] uint8 is what the background is compared with, its toys are `scene_finds`."""
    rest = list(finds)
    kept = 0
    for old in scene_finds:
        nearest = max(rest, key=lambda find: overlap(old.box, find.box), default=None)
        if nearest is not None and overlap(old.box, nearest.box) > SAME:
            rest.remove(nearest)
            kept += nearest.hue == old.hue
    shape, _, hue = case.label
    best = max(rest, key=lambda find: 2 * (find.hue == hue) + (find.shape == shape) + 0.1 * find.score, default=None)
    outside = np.ones(picture.shape[:2], bool)
    supported = placed = float("nan")
    if best is not None:
        x0, y0, x1, y1 = (round(side) for side in best.box)
        outside[max(0, y0 - MARGIN) : max(0, y1 + MARGIN), max(0, x0 - MARGIN) : max(0, x1 + MARGIN)] = False
        supported = float(_stands(best.box, case.support))
        placed = float(_stands(best.box, case.table if case.place == "table" else case.floor))
    return Finding(
        new=float(best is not None),
        hue=float(best is not None and best.hue == hue),
        shape=float(best is not None and best.shape == shape),
        supported=supported,
        placed=placed,
        ok=float(best is not None and best.hue == hue and supported > 0),
        kept=kept / len(scene_finds) if scene_finds else float("nan"),
        extra=float(max(0, len(rest) - 1)),
        background=psnr(picture, scene, outside),
        box=None if best is None else best.box,
    )


def _stands(box: Sequence[float], surface: np.ndarray) -> bool:
    reached = np.asarray(ndimage.binary_dilation(surface, iterations=REACH))
    height, width = reached.shape
    row = min(height - 1, max(0, round(box[3]) - 1))
    column = min(width - 1, max(0, round((box[0] + box[2]) / 2)))
    return bool(reached[row, column])


def pictures_as_detected(pictures: np.ndarray) -> Tensor:
    """uint8 [N,128,128,3] as the detector takes them, [N,3,128,128] in -1..1."""
    return torch.from_numpy(pictures).movedim(-1, 1).float() / 127.5 - 1


def judge_all(
    cases: Sequence[AdditionCase], pictures: np.ndarray, scenes: np.ndarray, detector: Detector
) -> list[Finding]:
    """The findings of results [N,128,128,3] uint8 against scenes of that shape, which the detector sees too."""
    finds = detector.find(pictures_as_detected(pictures))
    scene_finds = detector.find(pictures_as_detected(scenes))
    rows = zip(cases, pictures, scenes, finds, scene_finds, strict=True)
    return [judge(*row) for row in rows]
