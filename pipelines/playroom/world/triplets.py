"""Triplets: a scene, pictures of an object, and the scene with the object; every one with its ground truth.

A triplet is a function of its seed alone, so a data set is a range of integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .rooms import SIZE, Room, random_room
from .toys import Toy, draw_toy, random_colour, random_toy

OBJECT_SIZE = 64  # px, the side of an object picture
EFFECT_THRESHOLD = 2.5 / 255  # a pixel belongs to the object's effect when a channel changes by more than this


@dataclass(frozen=True)
class Placement:
    """Where a toy stands in a room, and how high it is there."""

    foot: tuple[float, float]  # px, bottom centre
    height: float  # px
    place: str  # "floor" or "table"

    def box(self, toy: Toy) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1 in px."""
        reach = self.height / 2 * toy.half_width
        x, y = self.foot
        return x - reach, y - self.height, x + reach, y


@dataclass
class Triplet:
    """The pictures of one insertion, and the truth about them."""

    scene: np.ndarray  # [128,128,3] uint8
    target: np.ndarray  # [128,128,3] uint8: the scene with the object
    objects: np.ndarray  # [views,64,64,3] uint8: the object alone, other view, light and background
    objects_mask: np.ndarray  # [views,64,64] bool: pixels of these pictures that the object covers
    toy: Toy
    placement: Placement
    object_mask: np.ndarray  # [128,128] bool: pixels the object covers
    effect_mask: np.ndarray  # [128,128] bool: object, shadow, anything that changed
    support: np.ndarray  # [128,128] bool: where a bottom centre may stand

    @property
    def box(self) -> tuple[float, float, float, float]:
        return self.placement.box(self.toy)


def to_uint8(picture: np.ndarray) -> np.ndarray:
    return (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)


def _shadow(picture, room: Room, toy: Toy, at: Placement):
    """A soft contact shadow under the toy, drawn out away from the light: an ellipse of half axes a, b."""
    half = at.height / 2
    a = half * toy.half_width * 1.1 + 2
    b = max(3.0, at.height * 0.09)
    cx = at.foot[0] - room.light * half * 0.35
    cy = at.foot[1] - b * 0.3
    x0, x1 = max(0, int(cx - 2.2 * a)), min(SIZE, int(cx + 2.2 * a) + 1)
    y0, y1 = max(0, int(cy - 3 * b)), min(SIZE, int(cy + 3 * b) + 1)
    yy, xx = np.mgrid[y0:y1, x0:x1].astype(np.float32) + np.float32(0.5)
    q = ((xx - cx) / a) ** 2 + ((yy - cy) / b) ** 2
    picture[y0:y1, x0:x1] *= (1 - 0.5 * np.exp(-1.2 * q))[..., None]


def _overlap(a, b, margin):
    return a[0] < b[2] + margin and a[2] > b[0] - margin and a[1] < b[3] + margin and a[3] > b[1] - margin


def find_place(rng, room: Room, toy: Toy, taken) -> Placement | None:
    """Where in the room the toy can stand clear of the boxes `taken`; None where no place was met with."""
    table = room.table
    for _ in range(30):
        if table is not None and rng.random() < 0.6:
            y = rng.uniform(table.back + 5, table.front - 1)
            height = rng.uniform(38, 48)
            place = "table"
            left, right = max(table.left + table.inset, 2), min(table.right - table.inset, SIZE - 2)
        else:
            y = rng.uniform(room.horizon + 9, SIZE - 4)
            near = (y - room.horizon) / (SIZE - room.horizon)
            height = (36 + 30 * near) * rng.uniform(0.94, 1.06)
            place = "floor"
            left, right = 2, SIZE - 2
        reach = height / 2 * toy.half_width
        if right - reach - 1 <= left + reach + 1:
            continue
        x = rng.uniform(left + reach + 1, right - reach - 1)
        at = Placement((float(x), float(y)), float(height), place)
        box = at.box(toy)
        if box[1] < 2 or any(_overlap(box, other, 4) for other in taken):
            continue
        if place == "floor" and table is not None:
            zone = (table.left, table.back, table.right, table.bottom)
            if _overlap(box, zone, 3):
                continue
        return at
    return None


def furnish(room: Room, toys: Sequence[tuple[Toy, Placement]]) -> tuple[np.ndarray, list[np.ndarray]]:
    """The room with toys, the rearmost first: float32 [128,128,3] in 0..1.

    With it goes how each toy covers its pixels before others hide it, [128,128] in 0..1.
    """
    canvas = room.picture.copy()
    coverage = [np.empty(0)] * len(toys)
    for index, (toy, at) in sorted(enumerate(toys), key=lambda entry: entry[1][1].foot[1]):
        _shadow(canvas, room, toy, at)
        coverage[index] = draw_toy(
            canvas, toy, foot=at.foot, height=at.height, light=room.light, brightness=room.brightness
        )
    return np.clip(canvas, 0, 1), coverage


def object_picture(rng: np.random.Generator, toy: Toy, size: int = OBJECT_SIZE) -> np.ndarray:
    """The toy alone, uint8 [size,size,3], under a random view, light and plain background."""
    return object_view(rng, toy, size)[0]


def object_view(rng: np.random.Generator, toy: Toy, size: int = OBJECT_SIZE) -> tuple[np.ndarray, np.ndarray]:
    """An `object_picture`, and which of its pixels the toy covers, bool [size,size]."""
    yy, xx = np.mgrid[0:size, 0:size].astype(np.float32) / size
    picture = np.empty((size, size, 3), np.float32)
    picture[:] = random_colour(rng, (0, 0.3), (0.35, 1))
    kind = rng.integers(3)
    if kind == 1:
        picture *= (1 + rng.uniform(-0.25, 0.25) * (xx - 0.5) + rng.uniform(-0.25, 0.25) * (yy - 0.5))[..., None]
    elif kind == 2:
        picture[int(size * rng.uniform(0.5, 0.9)) :] *= rng.uniform(0.7, 1.15)
    height = size * rng.uniform(0.62, 0.86)
    foot = (size * (0.5 + rng.uniform(-0.05, 0.05)), size * (0.5 + rng.uniform(-0.05, 0.05)) + height / 2)
    light = float(rng.choice([-1, 1]) * rng.uniform(0.3, 0.8))
    brightness = rng.uniform(0.93, 1.05)
    rotation = rng.uniform(-0.3, 0.3)
    coverage = draw_toy(picture, toy, foot=foot, height=height, light=light, brightness=brightness, rotation=rotation)
    return to_uint8(picture), coverage > 0.5


def make_triplet(seed: int, views: int = 2, only: Toy | None = None) -> Triplet:
    """The triplet of this seed, always the same; the toy `only` takes the place of the one that it draws."""
    rng = np.random.default_rng(seed)
    while True:
        room = random_room(rng)
        drawn = random_toy(rng)
        toy = only or drawn
        at = find_place(rng, room, toy, [])
        if at is None:
            continue
        taken = [at.box(toy)]
        others = []
        for _ in range(rng.choice(3, p=[0.35, 0.4, 0.25])):
            other = random_toy(rng)
            place = find_place(rng, room, other, taken)
            if place is not None:
                taken.append(place.box(other))
                others.append((other, place))
        break

    scene, _ = furnish(room, others)
    target, coverage = furnish(room, [*others, (toy, at)])
    objects = []
    objects_mask = []
    for _ in range(views):
        view, mask = object_view(rng, toy)
        objects.append(view)
        objects_mask.append(mask)
    return Triplet(
        scene=to_uint8(scene),
        target=to_uint8(target),
        objects=np.stack(objects),
        objects_mask=np.stack(objects_mask),
        toy=toy,
        placement=at,
        object_mask=coverage[-1] > 0.5,
        effect_mask=np.abs(target - scene).max(-1) > EFFECT_THRESHOLD,
        support=room.support,
    )
