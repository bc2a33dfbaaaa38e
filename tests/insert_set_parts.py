"""A folder as InsertSet's, of the playroom's toys, each pictured in rooms and to be painted into others."""

import numpy as np
from PIL import Image

from visual_insertion_pack.pipelines.playroom.world.dataset import HELD_OUT_SEED
from visual_insertion_pack.pipelines.playroom.world.rooms import SIZE
from visual_insertion_pack.pipelines.playroom.world.toys import random_toy
from visual_insertion_pack.pipelines.playroom.world.triplets import make_triplet

FIRST = HELD_OUT_SEED + 30_000


def seed_of(number, picture=0):
    """Of a toy's picture."""
    return FIRST + 1000 * number + picture


def seed_of_scene(number, scene=0):
    return seed_of(number, 500 + scene)


def toy_of(number):
    return random_toy(np.random.default_rng(FIRST + number))


def triplet_of(number, seed):
    """The toy of a number in the room of a seed."""
    return make_triplet(seed, 1, toy_of(number))


def save(picture, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


def save_boxed(triplet, home, name, prefix=""):
    save(triplet.target, home / f"{prefix}data" / f"{name}.png")
    path = home / f"{prefix}bbox" / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(" ".join(f"{side:.3f}" for side in np.clip(triplet.box, 0, SIZE)) + "\n", encoding="utf-8")


def write_set(folder, names=("mug", "snow_man"), views=3, scenes=2, others=2, shared=False):
    """Toys under these names, each with its few-shot pictures, a reference, others of its category and scenes.

    With `shared` there are scenes for all objects together, in which the mask is the first one's.
    """
    for number, name in enumerate(names):
        home = folder / "id_image" / name
        for view in range(views):
            save_boxed(triplet_of(number, seed_of(number, view)), home, str(view + 1))
        reference = triplet_of(number, seed_of(number)).objects[0]
        save(reference, home / "test.png")
        save(reference, home / "data" / "test.png")
        for other in range(others):
            save_boxed(make_triplet(seed_of(number, 200 + other), 1), home, f"{other:04}", "reg_")
        bench = folder / "test_bench" / ("" if shared else name)
        for scene in range(0 if shared and number else scenes):
            triplet = triplet_of(number, seed_of_scene(number, scene))
            save(triplet.scene, bench / "image" / f"{scene + 1:04}_img.png")
            save(triplet.object_mask, bench / "mask" / f"{scene + 1:04}_mask.png")
    return folder
