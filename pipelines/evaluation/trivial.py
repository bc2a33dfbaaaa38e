"""Methods that need no network: what every table should be read against.

These are trivial on purpose: doing nothing scores well on every similarity, pasting scores well on every identity, and
another case's object must score badly on it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from PIL import Image

from ..pictures.files import picture_tensor, pil_pictures
from ..pictures.masks import array_box
from ..placement.place import place
from .cases import Benchmark, Case, object_box
from .inserters import Inserter
from .measured import picture_digest


def unchanged(case: Case) -> Image.Image:
    """The scene itself."""
    return case.scene


def perfect_copy(case: Case) -> Image.Image:
    """The target itself. Raises ValueError for a case without one."""
    if case.target is None:
        raise ValueError(f"Case {case.name} has no target to copy.")
    return case.target


def paste(case: Case, picture: Image.Image, mask: np.ndarray | None) -> Image.Image:
    """The object picture squashed into the box of the case's mask, inside the picture's own mask if it has one.

    Raises ValueError for a case without a mask.
    """
    if case.mask is None:
        raise ValueError(f"Case {case.name} has no mask that says where to paste.")
    x0, y0, x1, y1 = array_box(case.mask)
    size = (x1 - x0, y1 - y0)
    box = object_box(picture, mask)
    opacity = None if mask is None else Image.fromarray(mask.astype(np.uint8) * 255).crop(box).resize(size)
    result = case.scene.copy()
    result.paste(picture.crop(box).resize(size, Image.Resampling.BICUBIC), (x0, y0), opacity)
    return result


def copy_paste(case: Case) -> Image.Image:
    """The case's first object picture at the true box. Raises ValueError for a case without a mask."""
    return paste(case, *case.views()[0])


def placed_object(case: Case) -> Image.Image:
    """The same standing in that box in its own shape, with a shadow and in the scene's light (`placement`).

    An object picture without a mask is pasted as a rectangle. Raises ValueError for a case without a mask.
    """
    if case.mask is None:
        raise ValueError(f"Case {case.name} has no mask that says where to place.")
    picture, mask = case.views()[0]
    opacity = torch.ones(picture.size[::-1]) if mask is None else torch.from_numpy(mask.astype(np.float32))
    scene = picture_tensor(case.scene)
    placed = place(scene, picture_tensor(picture)[..., :3], opacity[None], [[array_box(case.mask)]])
    return pil_pictures(placed.images)[0]


def shuffled_object(benchmark: Benchmark) -> Inserter:
    """The object of the next case that shows another one, at this case's true box.

    Several cases may be of one object: it is told by its first picture. Raises ValueError where all cases are.
    """
    places = {name: index for index, name in enumerate(benchmark.names)}

    @cache
    def first_picture(index: int) -> str:
        return picture_digest(benchmark[index].views()[0][0])

    def insert(case: Case) -> Image.Image:
        own = picture_digest(case.views()[0][0])
        for step in range(1, len(benchmark)):
            index = (places[case.name] + step) % len(benchmark)
            if first_picture(index) != own:
                return paste(case, *benchmark[index].views()[0])
        raise ValueError(f"All cases of {benchmark.name} show the same object: shuffled_object needs another one.")

    return insert


TRIVIAL_METHODS: dict[str, Callable[[Benchmark], Inserter]] = {
    "unchanged": lambda benchmark: unchanged,
    "perfect_copy": lambda benchmark: perfect_copy,
    "copy_paste": lambda benchmark: copy_paste,
    "placed_object": lambda benchmark: placed_object,
    "shuffled_object": shuffled_object,
}
