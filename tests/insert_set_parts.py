"""A folder as InsertSet's, of the playroom's toys."""

import numpy as np
from PIL import Image

from visual_insertion_pack.pipelines.pictures.masks import array_box
from visual_insertion_pack.pipelines.playroom.world.triplets import make_triplet

FIRST = 900_001_000  # of the seeds that no shipped model was trained on


def save(picture, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


def save_box(box, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(" ".join(f"{side:.3f}" for side in box) + "\n", encoding="utf-8")


def write_set(folder, names=("mug", "snow_man"), views=3, scenes=2, others=2, shared=False):
    """Toys under these names, each with its few-shot pictures, a reference, others of its category and scenes.

    With `shared` there are scenes for all objects together.
    """
    for number, name in enumerate(names):
        home = folder / "id_image" / name
        toy = make_triplet(FIRST + number, views + 1)
        for view in range(views):
            save(toy.objects[view], home / "data" / f"{view + 1}.png")
            save_box(array_box(toy.objects_mask[view]), home / "bbox" / f"{view + 1}.txt")
        save(toy.objects[views], home / "test.png")
        save(toy.objects[views], home / "data" / "test.png")
        for other in range(others):
            triplet = make_triplet(FIRST + 100 * (number + 1) + other, 1)
            save(triplet.target, home / "reg_data" / f"{other:04}.png")
            save_box(np.clip(triplet.box, 0, 128), home / "reg_bbox" / f"{other:04}.txt")
        bench = folder / "test_bench" / ("" if shared else name)
        for scene in range(scenes):
            triplet = make_triplet(FIRST + 10 * (number + 1) + scene, 1)
            save(triplet.scene, bench / "image" / f"{scene + 1:04}_img.png")
            save(triplet.object_mask, bench / "mask" / f"{scene + 1:04}_mask.png")
    return folder
