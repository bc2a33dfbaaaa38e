"""Photographs pasted into photographs, and what only looks alike: the cases that the copy-paste guard is calibrated on.

The pictures ship inside scikit-image; those of `HELD_OUT` are in no case that a threshold was chosen on. Everything
follows from the split, a number and a kind.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps
from scipy import ndimage

from ..pipelines.pictures.boxes import Box
from .restoration_cases import photograph, seeded

CHOSEN_ON = ("astronaut.png", "brick.png", "camera.png", "chelsea.png", "coins.png", "grass.png", "ihc.png", "page.png")
HELD_OUT = (
    *("coffee.png", "gravel.png", "hubble_deep_field.jpg", "moon.png"),
    *("motorcycle_left.png", "retina.jpg", "rocket.jpg"),
)
SPLITS = {"chosen on": CHOSEN_ON, "held out": HELD_OUT}
PASTES = ("exact", "scaled", "mirrored", "light", "JPEG", "VAE", "all at once")
ALTERNATIVES = ("another part", "another picture", "redrawn", "bent")
SIDES = (256, 384, 512)  # px of a scene
LEAST_SPREAD = 0.03  # standard deviation of light, below which a crop shows nothing
OVERLAP_TRIES = 40


@dataclass(frozen=True)
class Paste:
    """A result with something put in, and the object picture that it may be a copy of.

    `box` and `mask` [H,W] bool say where it was put; `object_mask` [h,w] is None where the object has no cut-out.
    """

    kind: str
    picture: str
    scene: Image.Image
    result: Image.Image
    object_picture: Image.Image
    object_mask: np.ndarray | None
    box: Box
    mask: np.ndarray


def paste_case(split: str, number: int, kind: str) -> Paste:
    """Case `number` of a kind of PASTES or ALTERNATIVES; the same number has the same scene and object in all kinds."""
    pictures = SPLITS[split]
    rng = seeded(split, number)
    names = list(rng.permutation(pictures))
    side = int(rng.choice(SIDES))
    scene = _crop(names[0], (side, side), rng)
    size = tuple(int(side * rng.uniform(0.2, 0.45)) for _ in range(2))
    object_box = _box_with_detail(names[1], size, rng)
    source = _whole(names[1])
    object_picture = source.crop(object_box)
    shape = _shape(size, rng)
    where = seeded(split, number, kind)
    inserted = _inserted(kind, names, object_box, where)
    width, height = size
    if kind in ("scaled", "VAE", "all at once", *ALTERNATIVES):
        factor = where.uniform(0.6, 1.4)
        width, height = (max(24, round(length * factor)) for length in size)
    inserted = inserted.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3)
    alpha = Image.fromarray(shape.astype(np.uint8) * 255).resize((width, height))
    if kind in ("mirrored", "all at once") or (kind in ALTERNATIVES and where.random() < 0.3):
        inserted = ImageOps.mirror(inserted)
        alpha = ImageOps.mirror(alpha)
    if kind in ("light", "all at once") or kind in ALTERNATIVES:
        inserted = _in_other_light(inserted, where)
    x = int(where.integers(0, side - width + 1))
    y = int(where.integers(0, side - height + 1))
    result = scene.copy()
    result.paste(inserted, (x, y), alpha)
    if kind == "VAE":
        result = _through_a_vae(result, where)
    if kind in ("JPEG", "all at once") or (kind in ALTERNATIVES and where.random() < 0.5):
        result = _through_jpeg(result, int(where.integers(60, 95)))
    mask = np.zeros((side, side), bool)
    mask[y : y + height, x : x + width] = np.asarray(alpha) > 127
    has_mask = rng.random() < 0.6
    box = (x, y, x + width, y + height)
    return Paste(
        kind, names[1], scene, result, object_picture, shape if has_mask or not shape.all() else None, box, mask
    )


def _whole(name: str) -> Image.Image:
    return Image.fromarray((photograph(name) * 255).round().astype(np.uint8))


def _crop(name: str, size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """A random part of this size; a smaller photograph is made larger first."""
    picture = _whole(name)
    scale = max(1.0, *(wanted / length for wanted, length in zip(size, picture.size, strict=True)))
    picture = picture.resize(tuple(int(np.ceil(length * scale)) for length in picture.size))
    x, y = (int(rng.integers(0, length - wanted + 1)) for length, wanted in zip(picture.size, size, strict=True))
    return picture.crop((x, y, x + size[0], y + size[1]))


def _box_with_detail(name: str, size: tuple[int, int], rng: np.random.Generator, avoid: Box | None = None) -> Box:
    """A random box in a photograph where it is not plain, beside `avoid` where there is room."""
    picture = _whole(name)
    width, height = (min(wanted, length) for wanted, length in zip(size, picture.size, strict=True))
    light = np.asarray(picture.convert("L"), np.float32) / 255
    boxes = []
    for _ in range(OVERLAP_TRIES):
        x = int(rng.integers(0, picture.width - width + 1))
        y = int(rng.integers(0, picture.height - height + 1))
        overlap = 0.0
        if avoid is not None:
            across = max(0, min(x + width, avoid[2]) - max(x, avoid[0]))
            overlap = across * max(0, min(y + height, avoid[3]) - max(y, avoid[1])) / (width * height)
        spread = float(light[y : y + height, x : x + width].std())
        boxes.append((overlap + (spread < LEAST_SPREAD), (x, y, x + width, y + height)))
        if not boxes[-1][0]:
            break
    return min(boxes)[1]


def _shape(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """The cut-out [h,w] bool of an object: an ellipse with a wavy edge, or for every third one the whole picture."""
    width, height = size
    if rng.random() < 1 / 3:
        return np.ones((height, width), bool)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    angle = np.arctan2(y, x)
    waves = rng.uniform(0, 0.08, 3)
    phases = rng.uniform(0, 2 * np.pi, 3)
    edge = 0.88 + sum(wave * np.cos((2 + n) * angle + phases[n]) for n, wave in enumerate(waves))
    return np.hypot(x, y) < np.minimum(edge, 1)


def _inserted(kind: str, names: list[str], box: Box, rng: np.random.Generator) -> Image.Image:
    """What is put in: the object's own pixels, or what only looks alike."""
    own = _whole(names[1]).crop(box)
    if kind == "another part":
        return _whole(names[1]).crop(_box_with_detail(names[1], own.size, rng, avoid=box))
    if kind == "another picture":
        other = _whole(names[2]).crop(_box_with_detail(names[2], own.size, rng)).resize(own.size)
        return _of_the_colours_of(other, own)
    if kind == "redrawn":
        return _redrawn(own, _whole(names[1]).crop(_box_with_detail(names[1], own.size, rng, avoid=box)), rng)
    if kind == "bent":
        return _bent(own, rng)
    return own


def _of_the_colours_of(picture: Image.Image, other: Image.Image) -> Image.Image:
    """A picture with another's mean and spread in each channel."""
    pixels, wanted = (np.asarray(one, np.float32) for one in (picture, other))
    spread = wanted.std((0, 1)) / np.maximum(pixels.std((0, 1)), 1)
    moved = (pixels - pixels.mean((0, 1))) * spread + wanted.mean((0, 1))
    return Image.fromarray(moved.clip(0, 255).astype(np.uint8))


def _redrawn(own: Image.Image, alike: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The object's forms and colours with fine structure that is not its own, a little bent: what a model draws."""
    forms, other = (np.asarray(one.resize(own.size), np.float32) for one in (own, alike))
    blur = rng.uniform(0.03, 0.06) * max(own.size)
    sigma = (blur, blur, 0)
    fine = other - ndimage.gaussian_filter(other, sigma)
    mixed = ndimage.gaussian_filter(forms, sigma) + fine
    return _bent(Image.fromarray(mixed.clip(0, 255).astype(np.uint8)), rng, 0.02)


def _bent(picture: Image.Image, rng: np.random.Generator, strength: float = 0.05) -> Image.Image:
    """The picture under a smooth displacement of `strength` of its size (rms), turned by up to 12 degrees."""
    pixels = np.asarray(picture, np.float32)
    height, width = pixels.shape[:2]
    turn = np.radians(rng.uniform(4, 12) * rng.choice((-1, 1))) if strength > 0.03 else 0.0
    y, x = np.mgrid[:height, :width].astype(np.float32)
    moves = []
    for _ in range(2):
        noise = ndimage.gaussian_filter(rng.standard_normal((height, width)), 0.14 * max(height, width), mode="wrap")
        moves.append(strength * max(height, width) * noise / noise.std())
    middle_x, middle_y = width / 2, height / 2
    across = middle_x + np.cos(turn) * (x - middle_x) - np.sin(turn) * (y - middle_y) + moves[0]
    down = middle_y + np.sin(turn) * (x - middle_x) + np.cos(turn) * (y - middle_y) + moves[1]
    channels = [ndimage.map_coordinates(pixels[..., one], (down, across), order=1, mode="reflect") for one in range(3)]
    return Image.fromarray(np.stack(channels, -1).clip(0, 255).astype(np.uint8))


def _in_other_light(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Another exposure, gamma and tint."""
    pixels = np.asarray(picture, np.float32) / 255
    lit = pixels ** rng.uniform(0.8, 1.25) * rng.uniform(0.65, 1.1) * rng.uniform(0.92, 1.08, 3)
    return Image.fromarray((lit.clip(0, 1) * 255).astype(np.uint8))


def _through_jpeg(picture: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return Image.open(io.BytesIO(file.getvalue())).convert("RGB")


def _through_a_vae(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Blurred by less than a pixel, with a little noise, as a latent model gives its pictures back."""
    pixels = ndimage.gaussian_filter(np.asarray(picture, np.float32), (0.8, 0.8, 0))
    return Image.fromarray((pixels + rng.normal(0, 1.5, pixels.shape)).clip(0, 255).astype(np.uint8))
