"""Cases with known truth for restoring a scene: real photographs, an object and its shadow composited in, then drift.

The photographs are those that ship inside scikit-image. The drift is simulated, in the strengths stated here: no output
of a real editor is among the cases. Everything follows from the names of the picture and of the drift.

A point of a picture is (x, y) in px, with the middle of the first pixel at (0, 0).
"""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

PICTURES = {  # what makes each of them hard
    "astronaut.png": "a portrait",
    "brick.png": "one pattern, over and over",
    "camera.png": "grey, a blank sky",
    "chelsea.png": "fur, soft focus",
    "coffee.png": "smooth and saturated",
    "coins.png": "grey, things that look alike",
    "gravel.png": "texture everywhere",
    "hubble_deep_field.jpg": "points on black",
    "ihc.png": "texture of two colours",
    "moon.png": "little contrast",
    "motorcycle_left.png": "cluttered",
    "page.png": "lettering, small",
    "retina.jpg": "one colour, thin lines, black corners",
    "rocket.jpg": "a blank sky, thin lattices",
}
LONGER_SIDE = 768  # px at most

BLUR = 0.8  # px, of a VAE
PIXEL_NOISE = 0.006  # of 1
PATCH_NOISE = 0.0068  # of 1, correlated over
PATCH = 3.0  # px

VISIBLE = 0.08  # of the brightness around: a shadow that is fainter belongs to no truth
VISIBLE_LEAST = 6 / 255
TOUCHED = 0.5 / 255

Affine = np.ndarray  # [2,3], takes points (x, y, 1) of the scene to the edited picture


@dataclass(frozen=True)
class Drift:
    """What an editor does to the whole picture.

    `zoom` is about the picture's middle, `shift` a share of the longer side, both seen in the edited picture. `matrix`
    is applied before them about the same point. `megapixels` returns it in that many, in sides that are multiples of 16
    of the nearest of an editor's own aspect ratios, cut at the sides to fit (as the host's FluxKontextImageScale does).
    """

    zoom: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    colour: bool = False
    matrix: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 1.0)
    megapixels: float | None = None
    jpeg: int | None = None


def _turned(degrees: float, wide: float, high: float, shear: float) -> tuple[float, float, float, float]:
    c = math.cos(math.radians(degrees))
    s = math.sin(math.radians(degrees))
    return (c * wide, -s * high + shear, s * wide, c * high)


DRIFTS = {
    "VAE alone": Drift(),
    "colour": Drift(colour=True),
    "shift .9 %": Drift(shift=(0.009, -0.006)),
    "zoom 1.02": Drift(zoom=1.02),
    "zoom .975, shift, colour": Drift(zoom=0.975, shift=(0.007, 0.004), colour=True),
    "zoom 1.05, shift 2 %, colour": Drift(zoom=1.05, shift=(-0.02, 0.013), colour=True),
    "zoom .9, shift 5 %, colour": Drift(zoom=0.9, shift=(0.05, -0.03), colour=True),
    "zoom 1.1, shift 5 %": Drift(zoom=1.1, shift=(-0.05, 0.03)),
    "1 megapixel, own aspect, colour": Drift(megapixels=1.0, colour=True),
    "JPEG 80, colour": Drift(jpeg=80, colour=True),
    "turned .6 degrees, stretched": Drift(matrix=_turned(0.6, 1.015, 0.992, 0.003), shift=(0.004, 0.003)),
}
SKY_DRIFTS = ("VAE alone", "colour", "shift .9 %", "zoom 1.05, shift 2 %, colour", "zoom .9, shift 5 %, colour")
ASPECTS = (1.0, 9 / 8, 5 / 4, 4 / 3, 3 / 2, 7 / 4, 2.0, 7 / 3)  # and their inverses
OBJECTS = ("blob", "mug", "horse", "cup", "cat", "helmet", "camouflage", "coin")
CUT_OUTS = {  # picture, and the ellipse in it: middle x, y, half width, half height, as shares of its sides
    "cup": ("coffee.png", (0.475, 0.53, 0.36, 0.43)),
    "cat": ("chelsea.png", (0.5, 0.47, 0.29, 0.45)),
    "helmet": ("astronaut.png", (0.765, 0.84, 0.205, 0.155)),
    "coin": ("coins.png", (0.865, 0.105, 0.085, 0.105)),
}


@dataclass(frozen=True)
class Case:
    """A scene [H,W,3], what an editor made of it [h,w,3], and the truth; pictures are float32 in 0..1.

    `ideal` [H,W,3] is the scene with the object, before any drift. `object` [H,W] is the object's alpha. `effect` [H,W]
    bool is the object (alpha of half and more) and what is visibly darker or lighter because of it: by more than 8 % of
    the brightness around and by more than 6/255. `touched` [H,W] bool is all that differs by half a grey level.
    `affine` is the drift's geometry, None where the edited picture shows another scene.
    """

    name: str
    picture: str
    drift: str
    scene: np.ndarray
    edited: np.ndarray
    ideal: np.ndarray
    object: np.ndarray
    effect: np.ndarray
    touched: np.ndarray
    affine: Affine | None


def seeded(*names: object) -> np.random.Generator:
    """Random numbers that follow from names alone."""
    return np.random.default_rng(zlib.crc32("/".join(map(str, names)).encode()))


@cache
def photograph(name: str, longer_side: int = LONGER_SIDE) -> np.ndarray:
    """A photograph of scikit-image's data folder [H,W,3], 0..1, made smaller where its longer side is above that."""
    import skimage

    path = Path(skimage.__file__).parent / "data" / name
    with Image.open(path) as file:
        picture = file.convert("RGB")
    picture.thumbnail((longer_side, longer_side), Image.Resampling.LANCZOS)
    pixels = np.asarray(picture, np.float32) / 255
    pixels.setflags(write=False)
    return pixels


def resized(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """A picture [H,W,3] in 0..1 at another size, antialiased."""
    channels = [
        Image.fromarray(channel).resize((width, height), Image.Resampling.LANCZOS) for channel in _planes(picture)
    ]
    return np.clip(np.stack([np.asarray(channel) for channel in channels], -1), 0, 1)


def eight_bit(picture: np.ndarray) -> np.ndarray:
    return np.round(np.clip(picture, 0, 1) * 255).astype(np.float32) / 255


def _planes(picture: np.ndarray) -> list[np.ndarray]:
    return [np.ascontiguousarray(picture[..., channel], np.float32) for channel in range(3)]


# What is put in.


@dataclass(frozen=True)
class Place:
    """Where an object goes: its middle and radius, px."""

    x: float
    y: float
    radius: float


def inserted(scene: np.ndarray, picture: str, drift: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(ideal [H,W,3], the object's alpha [H,W], the scene with its shadow and reflection alone [H,W,3])."""
    number = list(PICTURES).index(picture) if picture in PICTURES else 0
    kind = OBJECTS[(number + _drift_number(drift)) % len(OBJECTS)]
    if CUT_OUTS.get(kind, ("",))[0] == picture:
        kind = "mug"
    return composited(scene, kind, seeded(picture, drift, "object"))


def _drift_number(drift: str) -> int:
    return list(DRIFTS).index(drift) if drift in DRIFTS else len(DRIFTS)


def composited(
    scene: np.ndarray, kind: str, rng: np.random.Generator, size: float = 1.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An object of a kind with its contact shadow (clear or faint), at times a soft reflection, in a scene [H,W,3].

    It is .22 to .36 times `size` of the shorter side large. Given are ideal, alpha and surroundings as by `inserted`.
    """
    height, width = scene.shape[:2]
    short = min(height, width)
    place = Place(
        x=width * rng.uniform(0.32, 0.68),
        y=height * rng.uniform(0.34, 0.62),
        radius=size * short * rng.uniform(0.11, 0.18),
    )
    alpha, colours = drawn(kind, scene, place, rng)
    if _is_grey(scene) and rng.random() < 0.5:
        colours = colours.mean(-1, keepdims=True).repeat(3, -1)
    strength = rng.uniform(0.35, 0.55) if rng.random() < 0.6 else rng.uniform(0.14, 0.22)
    around = scene * (1 - _shadow(alpha, place, strength, rng.choice((-1, 1)))[..., None])
    if rng.random() < 0.25:
        around = _with_reflection(around, alpha, colours)
    around = np.clip(around, 0, 1).astype(np.float32)
    ideal = around * (1 - alpha[..., None]) + colours * alpha[..., None]
    return np.clip(ideal, 0, 1).astype(np.float32), alpha.astype(np.float32), around


def drawn(kind: str, scene: np.ndarray, place: Place, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """An object's alpha [H,W] and its colours [H,W,3]."""
    if kind in CUT_OUTS:
        return _cut_out(kind, scene.shape[:2], place)
    if kind == "horse":
        return _horse(scene.shape[:2], place, rng)
    if kind == "mug":
        alpha = _mug(scene.shape[:2], place)
    else:
        alpha = _blob(scene.shape[:2], place, rng)
    colours = _painted(scene.shape[:2], place, rng)
    if kind == "camouflage":  # one side has the colour of what is behind it
        x, _ = _grid(scene.shape[:2])
        behind = ndimage.gaussian_filter(scene, (place.radius / 3, place.radius / 3, 0))
        behind += np.where(behind.mean(-1, keepdims=True) < 0.3, 0.06, -0.15 * behind)  # darker, on dark lighter
        side = np.clip((x - place.x) / (0.2 * place.radius) + 1.5, 0, 1)[..., None]
        colours = colours * side + behind * (1 - side)
    return alpha, np.clip(colours, 0, 1)


def _grid(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    return x, y


def _soft(distance: np.ndarray) -> np.ndarray:
    """Alpha of a signed distance in px, positive inside; the edge is 1.5 px wide."""
    return np.clip(distance / 1.5 + 0.5, 0, 1)


def _blob(size: tuple[int, int], place: Place, rng: np.random.Generator) -> np.ndarray:
    x, y = _grid(size)
    angle = np.arctan2(y - place.y, x - place.x)
    radius = place.radius * (1 + 0.18 * np.sin(3 * angle + rng.uniform(0, 6)) + 0.1 * np.sin(5 * angle))
    return _soft(radius - np.hypot(x - place.x, y - place.y))


def _mug(size: tuple[int, int], place: Place) -> np.ndarray:
    """A body with round corners and a thin handle."""
    x, y = _grid(size)
    half_width = 0.62 * place.radius
    half_height = 0.85 * place.radius
    corner = 0.2 * place.radius
    across = np.abs(x - place.x + 0.2 * place.radius) - half_width + corner
    along = np.abs(y - place.y) - half_height + corner
    outside = np.hypot(np.maximum(across, 0), np.maximum(along, 0))
    body = corner - outside - np.minimum(np.maximum(across, along), 0)
    ring = np.hypot(x - place.x - 0.45 * place.radius, (y - place.y) * 0.8)
    handle = max(0.06 * place.radius, 1.5) - np.abs(ring - 0.4 * place.radius)
    return _soft(np.maximum(body, handle))


def _painted(size: tuple[int, int], place: Place, rng: np.random.Generator) -> np.ndarray:
    """Stripes and speckles of a random colour, rounded by shading, with a highlight."""
    x, y = _grid(size)
    u = (x - place.x) / place.radius
    v = (y - place.y) / place.radius
    base = rng.uniform(0.15, 0.9, 3)
    other = rng.uniform(0.1, 0.95, 3)
    stripes = (0.5 + 0.5 * np.sin(rng.uniform(5, 9) * (u * rng.normal() + v)))[..., None] ** 2
    speckles = ndimage.gaussian_filter(rng.normal(0, 1, size), 1.5)[..., None] * 0.12
    shading = (0.78 + 0.3 * (u * 0.6 - v * 0.5) + 0.12 * np.cos(3 * u))[..., None]
    highlight = np.exp(-((u - 0.35) ** 2 + (v + 0.4) ** 2) / 0.03)[..., None]
    return (base * (1 - 0.6 * stripes) + other * 0.6 * stripes + speckles) * shading + 0.5 * highlight


def _cut_out(kind: str, size: tuple[int, int], place: Place) -> tuple[np.ndarray, np.ndarray]:
    """An ellipse cut from another photograph, made smaller to the place."""
    name, (middle_x, middle_y, half_width, half_height) = CUT_OUTS[kind]
    source = photograph(name)
    height, width = source.shape[:2]
    left = round((middle_x - half_width) * width)
    top = round((middle_y - half_height) * height)
    right = left + round(2 * half_width * width)
    bottom = top + round(2 * half_height * height)
    crop = source[max(top, 0) : bottom, max(left, 0) : right]
    scale = 2 * place.radius / max(crop.shape[:2])
    small = resized(crop, max(round(crop.shape[1] * scale), 8), max(round(crop.shape[0] * scale), 8))
    x, y = _grid(small.shape[:2])
    middle = (np.array(small.shape[:2]) - 1) / 2
    rho = np.hypot((x - middle[1]) / middle[1], (y - middle[0]) / middle[0])
    return _laid(small, _soft((0.96 - rho) * middle.min()), size, place)


def _horse(size: tuple[int, int], place: Place, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The silhouette of a horse in scikit-image, thin legs and all, with a coat of gravel."""
    height = max(round(2 * place.radius), 16)
    width = round(height * 400 / 328)
    silhouette = 1 - resized(_on_white("horse.png"), width, height)[..., 0]
    coat = resized(photograph("gravel.png")[:200, :240], width, height)
    x, y = _grid((height, width))
    shading = (1.1 - 0.5 * y / height + 0.15 * x / width)[..., None]
    return _laid(np.clip(coat * shading * rng.uniform(0.4, 1.3, 3), 0, 1), silhouette, size, place)


@cache
def _on_white(name: str) -> np.ndarray:
    import skimage

    with Image.open(Path(skimage.__file__).parent / "data" / name) as file:
        picture = file.convert("RGBA")
    flat = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    return np.asarray(flat, np.float32) / 255


def _laid(picture: np.ndarray, alpha: np.ndarray, size: tuple[int, int], place: Place) -> tuple[np.ndarray, np.ndarray]:
    """A small picture and its alpha on an empty canvas of a size, their middle at a place, cut at the edges."""
    canvas = np.zeros((*size, 4), np.float32)
    left = round(place.x - picture.shape[1] / 2)
    top = round(place.y - picture.shape[0] / 2)
    x0 = max(left, 0)
    y0 = max(top, 0)
    x1 = min(left + picture.shape[1], size[1])
    y1 = min(top + picture.shape[0], size[0])
    part = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    canvas[y0:y1, x0:x1, :3] = picture[part]
    canvas[y0:y1, x0:x1, 3] = alpha[part]
    return canvas[..., 3], canvas[..., :3]


def _shadow(alpha: np.ndarray, place: Place, strength: float, side: int) -> np.ndarray:
    """How much of the light is missing [H,W]: close below the object's lowest row, and fainter, wider, to one side."""
    x, y = _grid(alpha.shape)
    ground = np.flatnonzero((alpha > 0.5).any(1)).max()
    columns = np.flatnonzero((alpha[max(ground - 4, 0) : ground + 1] > 0.5).any(0))
    foot = (columns.min() + columns.max()) / 2
    contact = np.exp(-(((y - ground) / (0.16 * place.radius)) ** 2) - ((x - foot) / (0.8 * place.radius)) ** 2)
    aside = foot + side * 0.7 * place.radius
    cast = np.exp(-(((y - ground) / (0.3 * place.radius)) ** 2) - ((x - aside) / (1.2 * place.radius)) ** 2)
    return 1 - (1 - strength * contact) * (1 - 0.6 * strength * cast)


def _with_reflection(scene: np.ndarray, alpha: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """A soft mirror picture below the object, a fifth at its foot and fading."""
    ground = int(np.flatnonzero((alpha > 0.5).any(1)).max())
    height = min(scene.shape[0] - ground - 1, ground)
    mirrored = np.zeros((*alpha.shape, 4), np.float32)
    above = np.dstack([colours * alpha[..., None], alpha])[ground - height : ground][::-1]
    mirrored[ground + 1 : ground + 1 + height] = above
    mirrored = ndimage.gaussian_filter(mirrored, (1.5, 1.5, 0))
    _, y = _grid(alpha.shape)
    tall = np.count_nonzero((alpha > 0.5).any(1))
    fading = 0.2 * np.clip(1 - (y - ground) / (0.7 * tall), 0, 1)[..., None]
    return scene * (1 - fading * mirrored[..., 3:]) + fading * mirrored[..., :3]


def _is_grey(picture: np.ndarray) -> bool:
    return bool(np.ptp(picture, -1).max() < 1e-6)


def visible_effect(scene: np.ndarray, alpha: np.ndarray, around: np.ndarray) -> np.ndarray:
    """The truth [H,W] bool of what the object and its shadow visibly changed; see `Case`."""
    sigma = (2.0, 2.0)
    change = ndimage.gaussian_filter(np.abs(around - scene).max(-1), sigma)
    brightness = ndimage.gaussian_filter(scene.max(-1), sigma)
    return (alpha >= 0.5) | (change > np.maximum(VISIBLE * brightness, VISIBLE_LEAST))


# What the editor does to all of it.


def geometry(drift: Drift, width: int, height: int) -> tuple[Affine, int, int]:
    """The drift's affine for a scene of that size, and the edited picture's width and height."""
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    linear = drift.zoom * np.array(drift.matrix).reshape(2, 2)
    offset = middle - linear @ middle + np.array(drift.shift) * max(width, height)
    if drift.megapixels is None:
        return np.column_stack([linear, offset]), width, height
    wide, high = own_size(width / height, drift.megapixels)
    scale = max(wide / width, high / height)
    new_middle = np.array([(wide - 1) / 2, (high - 1) / 2])
    return np.column_stack([linear * scale, new_middle + scale * (offset - middle)]), wide, high


def own_size(aspect: float, megapixels: float) -> tuple[int, int]:
    """Width and height, multiples of 16, of about as many pixels, in the nearest aspect ratio an editor knows."""
    known = [ratio for value in ASPECTS for ratio in (value, 1 / value)]
    nearest = min(known, key=lambda ratio: abs(math.log(ratio / aspect)))
    high = math.sqrt(megapixels * 1024 * 1024 / nearest)
    return 16 * round(high * nearest / 16), 16 * round(high / 16)


def moved(picture: np.ndarray, affine: Affine, width: int, height: int) -> np.ndarray:
    """A picture [H,W,3] resampled by cubic splines to another [height,width,3]; what was never seen is mirrored in."""
    inverse = np.linalg.inv(affine[:, :2])
    by_rows = inverse[::-1, ::-1]
    offset = (-inverse @ affine[:, 2])[::-1]
    shape = (height, width)
    if shape == picture.shape[:2] and np.allclose(affine, np.eye(2, 3), atol=1e-9):
        return picture
    planes = [
        ndimage.affine_transform(plane, by_rows, offset, output_shape=shape, order=3, mode="mirror")
        for plane in _planes(picture)
    ]
    return np.clip(np.stack(planes, -1), 0, 1)


def recoloured(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another gamma (.88 to 1.12), saturation (.9 to 1.2), gain (.93 to 1.07) and offset (-.02 to .03) per channel."""
    bent = np.clip(picture, 0, 1) ** rng.uniform(0.88, 1.12)
    grey = (bent @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
    saturated = grey + (bent - grey) * rng.uniform(0.9, 1.2)
    return saturated * rng.uniform(0.93, 1.07, 3) + rng.uniform(-0.02, 0.03, 3)


def through_vae(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blurred, with noise of single pixels and of patches: what a VAE is taken to do; see the constants above."""
    blurred = ndimage.gaussian_filter(picture, (BLUR, BLUR, 0))
    patches = ndimage.gaussian_filter(rng.normal(0, 1, picture.shape).astype(np.float32), (PATCH, PATCH, 0))
    patches *= PATCH_NOISE * 2 * math.sqrt(math.pi) * PATCH  # the filter's own loss undone
    return blurred + rng.normal(0, PIXEL_NOISE, picture.shape).astype(np.float32) + patches


def drifted(picture: np.ndarray, drift: Drift, rng: np.random.Generator) -> tuple[np.ndarray, Affine]:
    """What an editor with that drift gives back of a picture [H,W,3]: 8 bit as float32 [h,w,3], and the geometry."""
    height, width = picture.shape[:2]
    affine, wide, high = geometry(drift, width, height)
    edited = moved(picture, affine, wide, high)
    if drift.colour:
        edited = recoloured(edited, rng)
    edited = eight_bit(through_vae(edited, rng))
    return (_through_jpeg(edited, drift.jpeg) if drift.jpeg else edited), affine


def _through_jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(np.round(picture * 255).astype(np.uint8)).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file), np.float32) / 255


def alignment_error(estimate: Affine, truth: Affine, width: int, height: int) -> float:
    """How far apart, in px of the scene, two affines take its corners and its middle to, the largest of the five."""
    right, bottom = width - 1, height - 1
    points = np.array([[0, 0, 1], [right, 0, 1], [0, bottom, 1], [right, bottom, 1], [right / 2, bottom / 2, 1]])
    apart = points @ (np.asarray(estimate) - truth).T
    return float(np.linalg.norm(apart @ np.linalg.inv(truth[:, :2]).T, axis=1).max())


# The cases.


def _case(
    picture: str,
    title: str,
    *,
    drift: str,
    scene: np.ndarray,
    ideal: np.ndarray,
    edit: tuple[np.ndarray, Affine | None],
    alpha: np.ndarray,
    around: np.ndarray | None = None,
) -> Case:
    """A case whose truth follows from the object's alpha and from the scene around it, which has its shadow if any."""
    edited, affine = edit
    return Case(
        name=f"{Path(picture).stem}, {title}",
        picture=picture,
        drift=drift,
        scene=scene,
        edited=edited,
        ideal=ideal,
        object=alpha.astype(np.float32),
        effect=visible_effect(scene, alpha, scene if around is None else around),
        touched=np.abs(ideal - scene).max(-1) > TOUCHED,
        affine=affine,
    )


def make_case(
    picture: str, drift: str, scene: np.ndarray | None = None, rng: np.random.Generator | None = None
) -> Case:
    """A case of the main table, or the same with another scene or other random numbers for the drift."""
    scene = photograph(picture) if scene is None else scene
    ideal, alpha, around = inserted(scene, picture, drift)
    edit = drifted(ideal, DRIFTS[drift], rng or seeded(picture, drift, "drift"))
    return _case(picture, drift, drift=drift, scene=scene, ideal=ideal, edit=edit, alpha=alpha, around=around)


Maker = Callable[[], Case]


def main_makers(pictures: list[str] | None = None, drifts: list[str] | None = None) -> list[Maker]:
    """What makes the cases of every picture with every drift, or of those named."""
    return [partial(make_case, picture, drift) for picture in pictures or PICTURES for drift in drifts or DRIFTS]


def without_object(picture: str, drift: str, scene: np.ndarray | None = None) -> Case:
    """The same scene back, drifted, with nothing put in."""
    scene = photograph(picture) if scene is None else scene
    edit = drifted(scene, DRIFTS[drift], seeded(picture, drift, "nothing"))
    alpha = np.zeros(scene.shape[:2], np.float32)
    title = f"{drift}, nothing inserted"
    return _case(picture, title, drift=drift, scene=scene, ideal=scene, edit=edit, alpha=alpha)


def unrelated(picture: str, other: str) -> Case:
    """Another photograph in place of the edit, at the scene's size."""
    scene = photograph(picture)
    height, width = scene.shape[:2]
    replaced = resized(photograph(other), width, height)
    edited = eight_bit(through_vae(replaced, seeded(picture, other)))
    title = f"in its place {Path(other).stem}"
    alpha = np.ones((height, width), np.float32)
    case = _case(picture, title, drift="unrelated", scene=scene, ideal=replaced, edit=(edited, None), alpha=alpha)
    return replace(case, touched=case.effect)


def two_thirds_replaced(picture: str, other: str, drift: Drift | None = None) -> Case:
    """A scene of which another photograph covers two thirds, then zoom 1.03, a shift of 1 % and colour."""
    scene = photograph(picture)
    height, width = scene.shape[:2]
    alpha = np.zeros((height, width), np.float32)
    alpha[round(0.12 * height) : round(0.95 * height), round(0.1 * width) : round(0.9 * width)] = 1  # .83 x .8
    ideal = np.where(alpha[..., None] > 0, resized(photograph(other), width, height), scene)
    drift = drift or Drift(zoom=1.03, shift=(0.01, 0.007), colour=True)
    edit = drifted(ideal, drift, seeded(picture, other, "two thirds"))
    title = f"two thirds {Path(other).stem}"
    return _case(picture, title, drift="two thirds replaced", scene=scene, ideal=ideal, edit=edit, alpha=alpha)


def blank_sky(kind: str, drift: str, with_object: bool) -> Case:
    """A scene without anything to hold on to: "gradient", a drawn sky, or "rocket", the dark one behind the rocket."""
    rng = seeded("blank", kind)
    if kind == "rocket":
        scene = np.ascontiguousarray(photograph("rocket.jpg")[:170, 130:300])
        scene = eight_bit(resized(scene, 510, 510) + rng.normal(0, 0.004, (510, 510, 3)).astype(np.float32))
    else:
        down = np.linspace(0, 1, 400, dtype=np.float32)[:, None, None]
        sky = (1 - down) * np.array([0.35, 0.55, 0.85]) + down * np.array([0.75, 0.85, 0.95])
        scene = eight_bit(sky + rng.normal(0, 0.004, (400, 600, 3))).astype(np.float32)
    return (make_case if with_object else without_object)(f"blank {kind}", drift, scene)


def copied(picture: str) -> Case:
    """An object pasted into the scene's own pixels: no shadow, no drift, 8 bit."""
    scene = photograph(picture)
    rng = seeded(picture, "copied")
    height, width = scene.shape[:2]
    place = Place(x=0.55 * width, y=0.5 * height, radius=0.15 * min(height, width))
    alpha, colours = drawn("mug", scene, place, rng)
    ideal = eight_bit(scene * (1 - alpha[..., None]) + colours * alpha[..., None])
    return _case(picture, "pasted", drift="pasted", scene=scene, ideal=ideal, edit=(ideal, np.eye(2, 3)), alpha=alpha)


def two_megapixels() -> Case:
    """The retina at its own 1411 x 1411 px."""
    scene = photograph("retina.jpg", 4000)
    case = make_case("retina.jpg", "zoom .975, shift, colour", scene, seeded("two megapixels"))
    return replace(case, name="retina, 2 megapixels")


def enlarged(case: Case, megapixels: float) -> Case:
    """A case at that many megapixels, with the grain of a camera in the scene and another in the edit."""
    height, width = case.scene.shape[:2]
    scale = math.sqrt(megapixels * 1e6 / (width * height))
    wide = round(width * scale)
    high = round(height * scale)

    def grown(picture: np.ndarray, grain: int) -> np.ndarray:
        size = round(picture.shape[1] * wide / width), round(picture.shape[0] * high / height)
        noise = seeded("grain", grain).standard_normal(size[::-1], np.float32)[..., None]
        return eight_bit(resized(picture, *size) + 0.01 * noise)

    def grown_mask(mask: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(mask).resize((wide, high), Image.Resampling.NEAREST))

    by = np.array([wide / width, high / height])
    affine = case.affine
    if affine is not None:
        to_small = np.vstack([np.column_stack([np.diag(1 / by), 0.5 / by - 0.5]), [0, 0, 1]])
        to_large = np.column_stack([np.diag(by), 0.5 * by - 0.5])
        affine = to_large @ np.vstack([affine, [0, 0, 1]]) @ to_small
    return replace(
        case,
        name=f"{case.name}, {megapixels:g} megapixels",
        scene=grown(case.scene, 1),
        edited=grown(case.edited, 2),
        ideal=grown(case.ideal, 1),
        object=grown_mask(case.object),
        effect=grown_mask(case.effect),
        touched=grown_mask(case.touched),
        affine=affine,
    )


def hard_makers() -> list[Maker]:
    """Where geometry must be right or left alone: unrelated pictures, two thirds replaced, blank skies."""
    names = list(PICTURES)
    others = names[3:] + names[:3]
    covers = names[5:] + names[:5]
    makers: list[Maker] = [partial(unrelated, *pair) for pair in zip(names, others, strict=True)]
    makers += [partial(two_thirds_replaced, *pair) for pair in zip(names, covers, strict=True)]
    for kind in ("gradient", "rocket"):
        for drift in SKY_DRIFTS:
            makers += [partial(blank_sky, kind, drift, with_object) for with_object in (False, True)]
    return makers
