"""Scenes with captions for text to picture: no to three toys in a room, rendered in many processes, kept in memory.

A scene is a function of its seed alone. Nothing here imports torch: a process that renders has it from its parent or
not at all.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache, partial

import numpy as np

from ..world.dataset import HELD_OUT_SEED, Arrays
from ..world.rooms import random_room
from ..world.toys import PATTERNS, SHAPES, random_toy
from ..world.triplets import OBJECT_SIZE, find_place, furnish, object_picture, to_uint8
from ..world.words import HUES, colour_word
from . import captions
from .captions import MOST_TOYS, PHRASE
from .tokenizer import read_words

TOYS = (0.10, 0.35, 0.35, 0.20)  # shares of scenes with no, one, two and three toys
PLAIN = 0.6  # share of toys whose pattern is made plain; the trial's value
CAPTIONS = 8  # of each scene: the full one first, then random ones
SHARD = 250  # scenes that a process hands over at once, 16 MB
VALIDATION_SEEDS = range(HELD_OUT_SEED + 5000, HELD_OUT_SEED + 5256)
TEST_SEEDS = range(HELD_OUT_SEED + 6000, HELD_OUT_SEED + 6256)
HUE_NAMES = tuple(HUES)


def make_scene(seed: int, least: int = 0):
    """The generator after it, the room, and the toys with their places, of this seed; at least so many toys."""
    rng = np.random.default_rng(seed)
    while True:
        room = random_room(rng)
        count = max(least, int(rng.choice(len(TOYS), p=TOYS)))
        toys: list[tuple] = []
        for _ in range(count):
            toy = random_toy(rng)
            if rng.random() < PLAIN:
                toy = replace(toy, pattern="plain")
            place = find_place(rng, room, toy, [at.box(item) for item, at in toys])
            if place is not None:
                toys.append((toy, place))
        if len(toys) >= least:
            return rng, room, toys


@lru_cache(maxsize=1)
def _words():
    return read_words()


def render_arrays(seeds: range, least: int = 0) -> Arrays:
    """Scenes of these seeds as stacked arrays.

    picture [N,128,128,3] uint8; count [N] toys; box [N,3,4] x0, y0, x1, y1 in px; label [N,3,3] shape, pattern and hue
    as indices; name [N,3,3] the tokens of pattern, hue and shape; tokens, slots [N,8,32] of the captions; and, of all
    toys one after the other, view [T,64,64,3] uint8, the toy alone.
    """
    words = _words()
    columns: dict[str, list] = {}
    views = [np.zeros((0, OBJECT_SIZE, OBJECT_SIZE, 3), np.uint8)]
    for seed in seeds:
        rng, room, toys = make_scene(seed, least)
        table = room.table is not None
        box = np.zeros((MOST_TOYS, 4), np.float32)
        label = np.zeros((MOST_TOYS, 3), np.int64)
        name = np.zeros((MOST_TOYS, PHRASE), np.int64)
        for index, (toy, at) in enumerate(toys):
            box[index] = at.box(toy)
            hue = HUE_NAMES.index(colour_word(toy.colour))
            label[index] = SHAPES.index(toy.shape), PATTERNS.index(toy.pattern), hue
            name[index] = [words.number(word) for word in captions.names(toy)]
            views.append(object_picture(rng, toy)[None])
        said = [captions.full_caption(toys, table=table)]
        said += [captions.random_caption(rng, toys, table=table) for _ in range(CAPTIONS - 1)]
        tokens, slots = captions.encode(said, words.number, words.start, words.end)
        picture = to_uint8(furnish(room, toys)[0])
        row = dict(picture=picture, count=len(toys), box=box, label=label, name=name, tokens=tokens, slots=slots)
        for column, value in row.items():
            columns.setdefault(column, []).append(value)
    return {**{column: np.stack(values) for column, values in columns.items()}, "view": np.concatenate(views)}


def join(shards: list[Arrays]) -> Arrays:
    """Several shards as one."""
    return {column: np.concatenate([shard[column] for shard in shards]) for column in shards[0]}


def text_of(seed: int) -> str:
    """The full caption of a scene, for people."""
    _, room, toys = make_scene(seed)
    return str(captions.full_caption(toys, table=room.table is not None))


class Renderer:
    """Renders shards of scenes in other processes while this one does something else; see `rendering`."""

    def __init__(self, pool: ProcessPoolExecutor, shards: list[range], held_out: Sequence[range]):
        self._held_out: list[Future] = [pool.submit(render_arrays, seeds, 1) for seeds in held_out]
        self._futures: list[Future] = [pool.submit(render_arrays, seeds) for seeds in shards]
        self._pool = pool

    def held_out(self) -> list[Arrays]:
        """The held-out scenes, each with a toy at least, waited for."""
        return [future.result() for future in self._held_out]

    def first(self, count: int) -> list[Arrays]:
        """The first so many shards, waited for."""
        return [future.result() for future in self._futures[:count]]

    def ready(self) -> list[Arrays]:
        """The shards that are ready, in order of seed; those that failed are left out."""
        return [future.result() for future in self._futures if _is_whole(future)]

    def stop(self) -> None:
        """Give the processors back; shards under way are lost."""
        processes = list((getattr(self._pool, "_processes", None) or {}).values())
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()


def _is_whole(future: Future) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def _settle_down(niceness: int) -> None:
    """What a rendering process does first: it lets the one that trains go before it."""
    if hasattr(os, "nice"):
        os.nice(niceness)


@contextmanager
def rendering(seeds: range, workers: int, held_out: Sequence[range] = ()) -> Iterator[Renderer]:
    """Renders scenes of `seeds`, after some `held_out` ones, in the background while the block runs.

    Enter it before anything touches a GPU: its processes are forked where the system can, and a forked copy of a GPU's
    state is of no use.
    """
    forks = "fork" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("fork" if forks else None)
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=partial(_settle_down, 5))
    shards = [seeds[start : start + SHARD] for start in range(0, len(seeds), SHARD)]
    renderer = Renderer(pool, shards, held_out)
    try:
        yield renderer
    finally:
        renderer.stop()
