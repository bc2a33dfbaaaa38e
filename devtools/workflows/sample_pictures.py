"""The pictures that the workflows start with: drawn in the playroom, always the same, or cut out of photographs.

The photographs are those that scikit-image ships and anybody may use: playroom_models/samples/README.md.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ...pipelines.playroom.world.triplets import make_triplet, object_picture, object_view

# Seeds of triplets that no model was trained on.
SCENE = 900_001_871
OBJECT = 900_001_625
SECOND_OBJECT = 900_001_605
BALL = 900_001_608
OTHER_VIEW = 0  # of the first object
ROOMS = (900_002_001, 900_002_002, 900_002_003)  # that the second object is pictured in, to be learned
DETAIL = (60, 90, 188, 218)  # of the first object's picture: left, upper, right, lower side in px

ROOMS_PER_SIDE = 3  # of the dollhouse, with the sample scene in its middle
ROOM = 256  # px, the side of one
OBJECT_SIDE = 256  # px, of an object's picture

# Where an object may go, px.
ON_THE_TABLE = {"x": 40, "y": 30, "width": 50, "height": 50}  # of the scene
TREE_ON_THE_TABLE = {"x": 40, "y": 32, "width": 40, "height": 48}
BALL_ON_THE_TABLE = {"x": 40, "y": 40, "width": 40, "height": 40}
IN_THE_MIDDLE_ROOM = {"x": 320, "y": 320, "width": 128, "height": 128}  # of the dollhouse
ON_THE_TABLE_IN_THE_MIDDLE = {"x": 352, "y": 344, "width": 72, "height": 92}
BESIDE_THE_CUP = {"x": 452, "y": 16, "width": 132, "height": 196}  # of the photographed scene
IN_THE_ROOM_BELOW = {"x": 316, "y": 580, "width": 104, "height": 100}


# Photographs of scikit-image, and what of each: left, upper, right, lower side in px.
PHOTOGRAPHS = {
    "photo_scene": ("coffee.png", (0, 0, 600, 400)),
    "photo_object": ("astronaut.png", (340, 0, 512, 260)),
}


def samples() -> dict[str, Image.Image]:
    """Every sample by its name."""
    return {
        "scene": draw_scene(SCENE),
        "object": draw_object(OBJECT, view=OBJECT),
        "object2": draw_object(SECOND_OBJECT, view=SECOND_OBJECT),
        "object_other_view": draw_object(OBJECT, view=OTHER_VIEW),
        "object_detail": draw_object(OBJECT, view=OBJECT).crop(DETAIL),
        "object_cutout": cut_out_object(OBJECT),
        "object2_cutout": cut_out_object(SECOND_OBJECT),
        "ball": draw_object(BALL, view=BALL),
        **{f"object2_in_room{number}": draw_in_room(SECOND_OBJECT, room) for number, room in enumerate(ROOMS, 1)},
        "dollhouse": draw_dollhouse(),
    }


def photographs() -> dict[str, Image.Image]:
    """Every photographed sample by its name."""
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    return {name: Image.open(folder / file).convert("RGB").crop(sides) for name, (file, sides) in PHOTOGRAPHS.items()}


def draw_scene(seed: int) -> Image.Image:
    return Image.fromarray(make_triplet(seed).scene)


def draw_object(seed: int, view: int) -> Image.Image:
    toy = make_triplet(seed).toy
    return Image.fromarray(object_picture(np.random.default_rng(view), toy, size=OBJECT_SIDE))


def draw_in_room(seed: int, room: int) -> Image.Image:
    """The object in another room, transparent where it is: so the host's mask editor saves what is painted."""
    pictured = make_triplet(room, only=make_triplet(seed).toy)
    return Image.fromarray(np.dstack([pictured.target, np.where(pictured.object_mask, 0, 255).astype(np.uint8)]))


def cut_out_object(seed: int) -> Image.Image:
    """The object's picture with its background transparent."""
    picture, covered = object_view(np.random.default_rng(seed), make_triplet(seed).toy, size=OBJECT_SIDE)
    return Image.fromarray(np.dstack([picture, np.where(covered, 255, 0).astype(np.uint8)]))


def draw_dollhouse() -> Image.Image:
    house = Image.new("RGB", (ROOMS_PER_SIDE * ROOM, ROOMS_PER_SIDE * ROOM))
    first_seed = SCENE - ROOMS_PER_SIDE**2 // 2
    for number in range(ROOMS_PER_SIDE**2):
        row, column = divmod(number, ROOMS_PER_SIDE)
        room = draw_scene(first_seed + number).resize((ROOM, ROOM), Image.Resampling.LANCZOS)
        house.paste(room, (column * ROOM, row * ROOM))
    return house
