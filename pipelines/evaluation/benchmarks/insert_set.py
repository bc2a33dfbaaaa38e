"""Folders as InsertSet's (Zhang et al., IEEE TVCG 10753453): few pictures of an object, scenes with a drawn place.

InsertSet lies on a share that could not be read here. Names are those of the authors' repository
(dorianzhang7/TVCG-insertion at 1d89c17), its example and the paths in its scripts:

    id_image/OBJECT/data/*.jpg and bbox/*.txt           the few-shot pictures, and a box in each, x0 y0 x1 y1 in px
    id_image/OBJECT/test.jpg                            the reference, nothing but the object (test1.jpg in a script)
    id_image/OBJECT/reg_data/*.jpg and reg_bbox/*.txt   pictures of the same category, with boxes
    test_bench/OBJECT/image/0001_img.png                scenes
    test_bench/OBJECT/mask/0001_mask.png                where the object should go, white, of the scene's size
    list/OBJECT.txt                                     which of the scenes count, one a line; all where there is none

This pack's choice: the reference, reg_data and list may be absent, pictures may be of any kind and need no _img and
_mask, and test_bench/image and test_bench/mask are the scenes of every object that has none of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ...pictures.box_files import read_box
from ...pictures.boxes import Box, clip_box, slices
from ..cases import SUFFIXES, Benchmark, Case, picture_file
from .files import read_picture, to_mask

OBJECTS = "id_image"
SCENES = "test_bench"
REFERENCES = ("test", "test1")
SOURCE = (
    f"Needed is a folder as InsertSet's: {OBJECTS}/OBJECT/data and bbox with the object's pictures and their boxes, "
    f"{SCENES}/OBJECT/image and mask with scenes and where the object goes; see docs/evaluation.md."
)
ABOUT = (
    "InsertSet's layout: a few pictures of each object, other pictures than the scene. There is no target; the mask is "
    "drawn by hand where the object should go."
)
BEYOND = 1  # px, that a box may reach out of its picture: a detector's rounding


@dataclass(frozen=True)
class BoxedPicture:
    """A picture's file, and the box of the object in it."""

    picture: Path
    box_file: Path
    box: Box

    def read(self) -> tuple[Image.Image, np.ndarray]:
        """The picture as RGB, and its box as a mask [h,w] bool. Raises ValueError for a box that is not inside."""
        picture = read_picture(self.picture, SOURCE).convert("RGB")
        x0, y0, x1, y1 = self.box
        if min(x0, y0) < -BEYOND or x1 > picture.width + BEYOND or y1 > picture.height + BEYOND:
            raise ValueError(
                f"{self.box_file} has the box {self.box}, but {self.picture.name} is {picture.width}x{picture.height} "
                "px: the box is another picture's, or the picture was made smaller. Write the box anew."
            )
        mask = np.zeros(picture.size[::-1], bool)
        mask[slices(clip_box(self.box, *picture.size[::-1]))] = True
        return picture, mask


@dataclass(frozen=True)
class SetObject:
    """An object of the set."""

    name: str
    pictures: list[BoxedPicture]
    others: list[BoxedPicture]  # of its category
    reference: Path | None


@dataclass(frozen=True)
class Place:
    """A scene's file, and that of the mask in it."""

    stem: str
    scene: Path
    mask: Path


def read_insert_set(folder: Path) -> Benchmark:
    """Every object in each of its scenes. Raises FileNotFoundError, ValueError."""
    if not (folder / OBJECTS).is_dir():
        raise FileNotFoundError(f"{folder / OBJECTS} is no folder. {SOURCE}")
    homes = sorted(path for path in (folder / OBJECTS).iterdir() if path.is_dir())
    if not homes:
        raise FileNotFoundError(f"{folder / OBJECTS} has no object: a folder for each is needed. {SOURCE}")
    insertions = [(one, place) for one in map(read_object, homes) for place in read_places(folder, one.name)]
    names = tuple(f"{one.name}_{place.stem}" for one, place in insertions)
    by_name = dict(zip(names, insertions, strict=True))

    def read(index: int) -> Case:
        one, place = insertions[index]
        scene = read_picture(place.scene, SOURCE).convert("RGB")
        mask = read_picture(place.mask, SOURCE)
        if mask.size != scene.size:
            raise ValueError(
                f"{place.mask} is {mask.width}x{mask.height} px, and its scene {place.scene.name} is {scene.width}x"
                f"{scene.height}. Draw the mask on the scene as it is."
            )
        pictures, masks = zip(*(picture.read() for picture in one.pictures), strict=True)
        return Case(
            names[index],
            scene,
            pictures,
            mask=to_mask(mask, scene.size, str(place.mask)),
            object_masks=masks,
            reference=read_picture(one.reference, SOURCE).convert("RGB") if one.reference else None,
            subject=one.name.replace("_", " "),
        )

    def others(case: Case) -> list[tuple[Image.Image, np.ndarray]]:
        one, _ = by_name[case.name]
        return [picture.read() for picture in one.others]

    return Benchmark("insert-set", ABOUT, names, read, others=others)


def read_object(home: Path) -> SetObject:
    """An object's files. Raises FileNotFoundError for no picture or one without a box, ValueError for a bad box."""
    pictures = boxed_pictures(home / "data", home / "bbox")
    if not pictures:
        raise FileNotFoundError(
            f"{home / 'data'} has no picture of the object. Three to five are good, one is enough. {SOURCE}"
        )
    references = (picture_file(home, name) for name in REFERENCES)
    return SetObject(
        home.name,
        pictures,
        boxed_pictures(home / "reg_data", home / "reg_bbox"),
        reference=next((path for path in references if path), None),
    )


def boxed_pictures(folder: Path, boxes: Path) -> list[BoxedPicture]:
    """The pictures of a folder by their names, each with its box; none where there is no folder.

    The authors' example has a copy of the reference among the pictures, without a box: it is left out. Raises
    FileNotFoundError for another picture without a box, ValueError for a bad box.
    """
    boxed = []
    for path in pictures_in(folder):
        box_file = boxes / f"{path.stem}.txt"
        if box_file.is_file():
            boxed.append(BoxedPicture(path, box_file, read_box(box_file)))
        elif path.stem not in REFERENCES:
            raise FileNotFoundError(
                f"{box_file} does not exist, so that nothing says where the object is in {path}. Write x0 y0 x1 y1 "
                f"into it, in px. {SOURCE}"
            )
    return boxed


def read_places(folder: Path, name: str) -> list[Place]:
    """The scenes of an object. Raises FileNotFoundError for none, for one without a mask, and for one that is listed
    and not there; ValueError for two of one name.
    """
    own = folder / SCENES / name
    bench = own if own.is_dir() else folder / SCENES
    masks = {path.stem.removesuffix("_mask"): path for path in pictures_in(bench / "mask")}
    places: dict[str, Place] = {}
    for scene in pictures_in(bench / "image"):
        stem = scene.stem.removesuffix("_img")
        if stem in places:
            raise ValueError(f"{scene} and {places[stem].scene.name} are both the scene {stem}. Take one away.")
        if stem not in masks:
            raise FileNotFoundError(
                f"{bench / 'mask' / stem}_mask.png does not exist, so that nothing says where the object goes in "
                f"{scene}. {SOURCE}"
            )
        places[stem] = Place(stem, scene, masks[stem])
    if not places:
        raise FileNotFoundError(f"{bench / 'image'} has no scene for {name}. {SOURCE}")
    listed = folder / "list" / f"{name}.txt"
    if not listed.is_file():
        return list(places.values())
    chosen = listed_scenes(listed)
    absent = [stem for stem in chosen if stem not in places]
    if absent or not chosen:
        raise FileNotFoundError(
            f"{listed} names {absent[0] if absent else 'no scene'}, and {bench / 'image'} has "
            f"{', '.join(list(places)[:3])}. {SOURCE}"
        )
    return [places[stem] for stem in dict.fromkeys(chosen)]


def listed_scenes(path: Path) -> list[str]:
    """The first word of each line, a number with leading zeros as the scenes' files have it. Raises ValueError."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8: {error}. {SOURCE}") from error
    words = [line.split()[0] for line in lines if line.strip()]
    return [word.zfill(4) if word.isdecimal() else word for word in words]


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder by their names; none where there is no folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
