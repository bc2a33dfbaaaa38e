"""Held-out toys as a benchmark of few pictures each, as InsertSet has objects, with the oracle's findings."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from ...evaluation.cases import Benchmark, Case
from ...pictures.box_files import whole_box
from ...pictures.boxes import clip_box
from ...pictures.masks import box_mask
from ..world.dataset import HELD_OUT_SEED, Arrays, render_arrays
from ..world.rooms import SIZE
from ..world.toys import Toy, random_toy
from .benchmark import JUDGED, findings, name_toy, open_judge

TOYS = HELD_OUT_SEED + 5000  # seeds of the toys, of the rooms they are pictured in, and of those to paint into
PICTURED = HELD_OUT_SEED + 10_000
PAINTED = HELD_OUT_SEED + 20_000
OBJECTS = 8
VIEWS = 4
ROOMS = 8  # for each toy
OTHERS = 8  # toys of the same shape
ABOUT = (
    f"{OBJECTS} toys that no shipped model was trained on, each pictured in {VIEWS} rooms with its box, to be painted "
    f"into {ROOMS} others. The oracle's columns compare with the truth of the rendering, as in the playroom."
)


def playroom_objects(judge_file: Path) -> Benchmark:
    """The toys, each in all of its rooms. Raises FileNotFoundError where the trained judge is missing."""
    judge = open_judge(judge_file)
    insertions = [(number, room) for number in range(OBJECTS) for room in range(ROOMS)]
    names = tuple(f"toy{number}_{room:02}" for number, room in insertions)
    by_name = dict(zip(names, insertions, strict=True))

    def read(index: int) -> Case:
        number, room = insertions[index]
        truth = painted(number, room)
        seeds = range(PICTURED + 10 * number, PICTURED + 10 * number + VIEWS)
        pictures, masks = zip(*(pictured(toy_of(number), seed) for seed in seeds), strict=True)
        toy = name_toy(truth["shape"][0], truth["pattern"][0], truth["colour"][0])
        return Case(
            names[index],
            Image.fromarray(truth["scene"][0]),
            pictures,
            target=Image.fromarray(truth["target"][0]),
            mask=truth["object_mask"][0],
            object_masks=masks,
            instruction=f"add {toy}",
            caption=f"{toy} in a room",
        )

    def others(case: Case) -> list[tuple[Image.Image, np.ndarray]]:
        number, _ = by_name[case.name]
        seeds = range(PICTURED + 1000 + 10 * number, PICTURED + 1000 + 10 * number + OTHERS)
        shape = toy_of(number).shape
        return [pictured(replace(random_toy(np.random.default_rng(seed)), shape=shape), seed) for seed in seeds]

    judged = partial(findings, judge, lambda name: painted(*by_name[name]))
    return Benchmark("playroom-objects", ABOUT, names, read, judged=JUDGED, judge=judged, others=others)


def toy_of(number: int) -> Toy:
    """The toy of a number."""
    return random_toy(np.random.default_rng(TOYS + number))


def painted(number: int, room: int) -> Arrays:
    """The truth of one toy in one of its rooms."""
    seed = PAINTED + 100 * number + room
    return render_arrays(range(seed, seed + 1), views=1, toy=toy_of(number))


def pictured(toy: Toy, seed: int) -> tuple[Image.Image, np.ndarray]:
    """A toy in the room of a seed, and its box there as a mask [SIZE,SIZE] bool."""
    truth = render_arrays(range(seed, seed + 1), views=1, toy=toy)
    x0, y0, x1, y1 = truth["box"][0].tolist()
    box = clip_box(whole_box((x0, y0, x1, y1)), SIZE, SIZE)
    return Image.fromarray(truth["target"][0]), box_mask(box, SIZE, SIZE).numpy()
