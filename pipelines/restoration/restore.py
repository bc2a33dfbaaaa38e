"""Give a scene back what an edit should not have touched: geometry and colour undone, all else bit for bit the scene's.

Changes are looked for at a working size, the edit is laid over the scene at the scene's own, some rows at a time: of a
large photograph no more is held than the scene, the edit, the result and their masks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from ..pictures.batches import paired
from ..pictures.boxes import Box
from ..pictures.checks import check_filled, check_finite, mask_batch, rgb
from ..pictures.masks import mask_box, optional_mask, painted_mask
from ..pictures.resizing import resize, resize_mask
from .alignment import Alignment, align, enlarged, unaligned
from .change_map import ChangeMap, change_map
from .colours import UNTOUCHED, ColourMap, clipped, colour_difference, colour_map, recoloured, unclipped
from .geometry import Size, laid_over, seen_through, size_of, stretched
from .morphology import part_of
from .report import BLANK, EVERYTHING, NOTHING, UNMATCHED, Report, motion

MASK_USES = ("limit", "force")
WORKING = 768  # px, longer side, at which changes are looked for
MOSTLY = 0.6  # of the texture: where less is met again, only that part says what noise and colours are
MOST_FEATHER = 1024  # px
FEATHER = 1 / 220  # of the longer side, around an object
TAIL = (0.4, 1.4)  # the visibilities between which a shadow fades in
EVERYWHERE = 0.7  # of the picture


@dataclass(frozen=True)
class Restoration:
    """Restored scenes and what the edits changed, N of each."""

    images: Tensor  # [N,H,W,C] in 0..1
    effect: Tensor  # [N,H,W] in 0..1, how much of a pixel is the edit's; where it is 0 the pixel is the scene's
    objects: Tensor  # [N,H,W] in 0..1, of the effect what is not the scene in another light
    boxes: list[Box | None]  # of the objects, of the effects where there is none
    reports: list[Report]


class _Settings(NamedTuple):
    """What is the same for every picture of a batch."""

    mask_use: str
    align_geometry: bool
    match_colour: bool
    sensitivity: float
    feather: int | None


def restore(
    scene: Tensor,
    edited: Tensor,
    *,
    mask: Tensor | None = None,
    mask_use: str = "limit",
    align_geometry: bool = True,
    match_colour: bool = True,
    sensitivity: float = 1.0,
    feather: int | None = None,
    round_trip: Tensor | None = None,
    relevance: Tensor | None = None,
    editor_scene: Tensor | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Restoration:
    """Scenes [1|B,H,W,C] with what edits [1|N,h,w,C] of any size put into them, both in 0..1.

    Where the effect is 0 the restored picture is bit for bit the scene; alpha is the scene's. `mask` [1|N,H,W] limits
    the effect, or with `mask_use` "force" is the edit's whatever it shows; an empty one counts as none. `sensitivity`
    above 1 finds fainter changes, below 1 only clearer ones. `feather` is the width of an object's soft edge in px
    of the scene, by default 1/220 of the longer side. `round_trip` [1|B,H,W,3] is what the edit's VAE alone makes of
    the scene. `relevance` [1|N,H,W] in 0..1 says where the model looked at the object. `editor_scene` [1|B,h,w,3] is
    the scene as the editor was given it, if that was at another size: changes are looked for there.
    `progress(done, total)` is called after each picture and may raise to cancel.

    Everything is computed on the CPU, and the result stays there. Raises ValueError for pictures that are none, values
    that are not finite, masks of another size than the scene's, batches that do not pair up and settings out of range.
    """
    _check_settings(mask_use, sensitivity, feather)
    scene = _checked(scene, "The scene")
    edited = rgb(_checked(edited, "The edited picture"))
    size = size_of(scene[0])
    masks = None if mask is None else optional_mask(mask.cpu(), *size)
    trips = None if round_trip is None else rgb(_checked(round_trip, "The round trip"))
    relevances = None if relevance is None else painted_mask(mask_batch(relevance.cpu()))
    if relevances is not None:
        check_finite(relevances, "The relevance")
    editor_scenes = None if editor_scene is None else rgb(_checked(editor_scene, "The editor's scene"))
    counts = {"masks": masks, "relevances": relevances, "round trips": trips, "editor's scenes": editor_scenes}
    others = {kind: len(batch) for kind, batch in counts.items() if batch is not None}
    count = paired("", scenes=len(scene), edits=len(edited), **others)

    settings = _Settings(mask_use, align_geometry, match_colour, sensitivity, feather)
    images = scene.expand(count, *size, max(3, scene.shape[3])).clone(memory_format=torch.contiguous_format)
    effects = torch.zeros(count, *size)
    objects = torch.zeros(count, *size)
    reports = []
    for number in range(count):
        mask, relevance, trip, at_editor = (
            None if batch is None else batch[number if len(batch) > 1 else 0]
            for batch in (masks, relevances, trips, editor_scenes)
        )
        edit = edited[number if len(edited) > 1 else 0].float()
        compared = images[number, ..., :3] if at_editor is None else at_editor
        found = _found(compared.float(), edit, settings, relevance=relevance, round_trip=trip)
        found = found.for_size(size_of(compared), size)
        opacity, solid = _masks(found, size, settings, mask)
        effects[number] = opacity
        objects[number] = solid
        reports.append(_report(found, size, size_of(edit), opacity))  # first: the scene may lie in what is written next
        _put_in(images[number], edit, found, opacity)
        if progress:
            progress(number + 1, count)
    boxes = [mask_box(one) or mask_box(effect, 1 / 255) for one, effect in zip(objects, effects, strict=True)]
    return Restoration(images, effects, objects, boxes, reports)


def changed(scene: Tensor, edited: Tensor, round_trip: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(effect, objects), both [H,W] in 0..1, of an edit [H,W,3] of a scene [H,W,3]; by `round_trip` as in `restore`.

    What `restore` finds without alignment and feather, where nothing is to be put into the scene.
    """
    settings = _Settings("limit", align_geometry=False, match_colour=True, sensitivity=1.0, feather=0)
    found = _found(scene, edited, settings, relevance=None, round_trip=round_trip)
    return _masks(found, size_of(scene), settings, None)


def _check_settings(mask_use: str, sensitivity: float, feather: int | None) -> None:
    if mask_use not in MASK_USES:
        raise ValueError(f"Unknown use of the mask '{mask_use}'; use {', '.join(MASK_USES)}.")
    if not 0 < sensitivity < float("inf"):
        raise ValueError(f"The sensitivity must be above 0; got {sensitivity}.")
    if feather is not None and not 0 <= feather <= MOST_FEATHER:
        raise ValueError(f"feather must be from 0 to {MOST_FEATHER} px; got {feather}.")


def _checked(pictures: Tensor, noun: str) -> Tensor:
    check_filled(pictures, noun)
    check_finite(pictures, noun)
    return pictures.detach().cpu()


class _Found(NamedTuple):
    """What was found out about one edit, at the working size."""

    alignment: Alignment
    colours: ColourMap
    changes: ChangeMap
    edited: Tensor  # [h,w,3], laid over the scene
    scene: Tensor  # [h,w,3]
    shown: np.ndarray  # [h,w] bool, where the edit lies over the scene

    def for_size(self, looked_at: Size, size: Size) -> _Found:
        """The same, for a scene of another size than the one that it was found out in, stretched to it."""
        stretch = np.vstack([stretched(size, looked_at), [0, 0, 1]])
        return self._replace(alignment=replace(self.alignment, matrix=self.alignment.matrix @ stretch))


def _found(
    scene: Tensor, edited: Tensor, settings: _Settings, *, relevance: Tensor | None, round_trip: Tensor | None
) -> _Found:
    """What an edit [h,w,3] did to a scene [H,W,3]."""
    size = size_of(scene)
    alignment = align(scene, edited) if settings.align_geometry else unaligned(size, size_of(edited))
    scale = min(1.0, WORKING / max(size))
    working = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
    small = resize(scene[None], working[1], working[0])[0]
    raw, shown_pixels = laid_over(alignment.matrix, _reduced(edited, alignment.matrix, working), working)
    shown = shown_pixels.numpy()
    background = None
    if alignment.trusted and alignment.matched < MOSTLY:
        background = enlarged(alignment.background, working).numpy()
    elif not alignment.trusted and not alignment.blank:
        background = np.zeros(working, bool)
    trip = None if round_trip is None else resize(round_trip[None].float(), working[1], working[0])[0].numpy()
    colours = UNTOUCHED
    if settings.match_colour and (alignment.trusted or alignment.blank):
        kept = ~clipped(raw.numpy(), small.numpy())
        background = kept if background is None else background & kept
        colours = colour_map(raw.numpy(), small.numpy(), shown & background, trip)
    changes = change_map(
        unclipped(recoloured(raw, colours), raw, small).numpy(),
        small.numpy(),
        shown,
        background=background,
        references=[] if trip is None else [trip],
        sensitivity=settings.sensitivity,
        relevance=None if relevance is None else resize_mask(relevance[None], working[1], working[0])[0].numpy(),
    )
    return _Found(alignment, colours, changes, raw, small, shown)


def _masks(found: _Found, size: Size, settings: _Settings, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """(opacity [H,W] of the edit, that of its object) in a picture of this size."""
    changes = found.changes
    unit = max(changes.reach.shape) / max(size)
    feather = FEATHER * max(changes.reach.shape) if settings.feather is None else settings.feather * unit
    faint, clear = TAIL
    tail = smoothstep((changes.visibility - faint) / (clear - faint)) * rim(changes.reach, feather)
    opacity = torch.from_numpy(np.maximum(tail, rim(changes.objects, feather)) * found.shown)
    solid = torch.from_numpy(rim(changes.objects, 2) * found.shown)
    opacity, solid = (_fitted(plane.float(), size) for plane in (opacity, solid))
    if mask is None:
        return opacity, solid
    if settings.mask_use == "force":
        return torch.maximum(opacity, mask), solid
    return opacity * mask, solid * mask


def smoothstep(values: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, and smooth between."""
    clipped = np.clip(values, 0, 1)
    return clipped * clipped * (3 - 2 * clipped)


def rim(mask: np.ndarray, feather: float) -> np.ndarray:
    """The opacity [H,W] of a mask [H,W] bool with a soft edge of so many px, most of it outside."""
    if not feather or not mask.any():
        return mask.astype(np.float32)
    part = part_of(mask, ceil(feather) + 1)
    near = mask[part]
    outside = np.asarray(ndimage.distance_transform_edt(~near)) - 0.5
    inside = np.asarray(ndimage.distance_transform_edt(near)) - 0.5
    distance = np.where(near, -inside, outside)
    start = -min(1.0, feather / 3)
    opacity = np.zeros(mask.shape, np.float32)
    opacity[part] = smoothstep((start + feather - distance) / max(feather, 1e-3))
    return opacity


def _put_in(image: Tensor, edited: Tensor, found: _Found, opacity: Tensor) -> None:
    """Write an edit [h,w,3] into a copy of its scene [H,W,C] where the opacity [H,W] is above 0."""
    size = size_of(image)
    matrix = found.alignment.matrix
    for rows, pixels, _ in seen_through(matrix, _reduced(edited, matrix, size), size, where=opacity > 0):
        share = opacity[rows, :, None]
        target = image[rows][..., :3]
        mixed = torch.lerp(target.float(), recoloured(pixels.clamp(0, 1), found.colours), share)
        target.copy_(torch.where(share > 0, mixed.to(target.dtype), target))


def _reduced(edited: Tensor, matrix: np.ndarray, size: Size) -> Tensor:
    """The edited picture [h,w,3] no larger than it will be seen, so that nothing aliases."""
    ratio = max(edited.shape[:2]) * float(np.sqrt(abs(np.linalg.det(matrix[:, :2])))) / max(size)
    if ratio < 1.15:
        return edited
    height, width = edited.shape[:2]
    return resize(edited[None], max(1, round(width / ratio)), max(1, round(height / ratio)))[0]


def _fitted(mask: Tensor, size: Size) -> Tensor:
    """A mask [h,w] at another size."""
    return mask if size_of(mask) == size else F.interpolate(mask[None, None], size, mode="bilinear")[0, 0]


def _report(found: _Found, size: Size, edited: Size, opacity: Tensor) -> Report:
    alignment = found.alignment
    verdicts = []
    if not alignment.trusted:
        verdicts.append(BLANK if alignment.blank else UNMATCHED)
    changed = float((opacity > 0).float().mean())
    if not changed and (alignment.trusted or alignment.blank):
        verdicts.append(NOTHING)
    elif changed > EVERYWHERE:
        verdicts.append(EVERYTHING)
    outside = torch.from_numpy(found.shown & ~found.changes.reach)
    shift, zoom, turn = motion(alignment.matrix, size, unaligned(size, edited).matrix)
    return Report(
        identical=1 - changed,
        changed=float((opacity > 0.5).float().mean()),
        shift=shift,
        zoom=zoom,
        turn=turn,
        matched=alignment.matched,
        colour_difference=colour_difference(found.edited[outside], found.scene[outside]),
        verdicts=tuple(verdicts),
    )
