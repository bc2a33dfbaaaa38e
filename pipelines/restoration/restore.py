"""Give a scene back what an edit should not have touched: geometry and colour undone, all else bit for bit the scene's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from ..pictures.batches import paired
from ..pictures.boxes import Box
from ..pictures.checks import check_finite, check_pictures, rgb
from ..pictures.masks import check_mask, mask_box
from ..pictures.resizing import resize
from .alignment import Alignment, align, bases
from .change_map import change_map
from .colours import UNTOUCHED, colour_map, recoloured
from .geometry import laid_over, seen_through
from .report import EVERYTHING, NOTHING, UNMATCHED, Report, motion

MASK_USES = ("limit", "force")
WORKING = 1024  # px, longer side, at which changes are looked for
FEATHER = 1 / 160  # of the longer side
EVERYWHERE = 0.7  # of the picture


@dataclass(frozen=True)
class Restoration:
    """Restored scenes and what the edits changed, N of each."""

    images: Tensor  # [N,H,W,C] in 0..1
    effect: Tensor  # [N,H,W] in 0..1, how much of a pixel is the edit's; where it is 0 the pixel is the scene's
    objects: Tensor  # [N,H,W] in 0..1, the effect without shadow and reflection
    layers: Tensor  # [N,H,W,4], the object on transparent
    boxes: list[Box | None]  # of the objects, or the effects where there is none
    reports: list[Report]


def restore(
    scene: Tensor,
    edited: Tensor,
    *,
    mask: Tensor | None = None,
    mask_use: str = "limit",
    align_geometry: bool = True,
    match_colour: bool = True,
    round_trip: Tensor | None = None,
    prior: Tensor | None = None,
    sensitivity: float = 1.0,
    feather: int | None = None,
) -> Restoration:
    """Scenes [1|B,H,W,C] with what was put into them by edits [1|N,h,w,C] of any size, both in 0..1.

    The restored picture is bit for bit the scene wherever the effect is 0. `mask` [1|N,H,W] limits the effect or, as
    `mask_use` says, forces it to be the edit's. Raises ValueError for pictures that are none, NaN, infinity, and batches
    that do not pair up.
    """
    for pictures, noun in ((scene, "The scene"), (edited, "The edited picture")):
        check_pictures(pictures, noun)
        if 0 in pictures.shape:
            raise ValueError(f"{noun} is empty: {tuple(pictures.shape)}.")
        check_finite(pictures, noun)
    if mask_use not in MASK_USES:
        raise ValueError(f"Unknown use of the mask '{mask_use}'; use {', '.join(MASK_USES)}.")
    masks = None if mask is None else check_mask(mask, *scene.shape[1:3])
    count = paired(scenes=len(scene), edits=len(edited), masks=1 if masks is None else len(masks))

    def of(batch: Tensor | None, number: int) -> Tensor | None:
        return None if batch is None else batch[number if len(batch) > 1 else 0]

    images = scene.expand(count, *scene.shape[1:3], max(3, scene.shape[3])).clone()
    parts = [
        _restore_one(
            images[number],
            of(rgb(edited), number),
            mask=of(masks, number),
            mask_use=mask_use,
            align_geometry=align_geometry,
            match_colour=match_colour,
            round_trip=of(round_trip, number),
            feather=feather,
        )
        for number in range(count)
    ]
    effects = torch.stack([effect for effect, _, _ in parts])
    objects = torch.stack([one for _, one, _ in parts])
    boxes = [mask_box(one) or mask_box(effect) for one, effect in zip(objects, effects, strict=True)]
    layers = torch.cat([images[..., :3].float(), objects[..., None]], -1)
    return Restoration(images, effects, objects, layers, boxes, [report for _, _, report in parts])


def _restore_one(
    image: Tensor, edited: Tensor, *, mask, mask_use: str, align_geometry: bool, match_colour: bool, round_trip, feather
) -> tuple[Tensor, Tensor, Report]:
    """Write the edit into a copy of the scene [H,W,C]; (effect, object, report)."""
    size = tuple(image.shape[:2])
    base = bases(size, tuple(edited.shape[:2]))[0]
    scene_pixels = image[..., :3].float()
    alignment = align(scene_pixels, edited) if align_geometry else Alignment(base, 1.0, True)
    scale = min(1.0, WORKING / max(size))
    working = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
    small_scene = resize(scene_pixels[None], working[1], working[0])[0]
    small_edit, shown = laid_over(alignment.matrix, _reduced(edited, alignment.matrix, working), working)
    colours = UNTOUCHED
    if match_colour and alignment.trusted:
        colours = colour_map(small_edit.numpy(), small_scene.numpy(), shown.numpy())
    matched_edit = recoloured(small_edit, colours)
    changes = change_map(matched_edit.numpy(), small_scene.numpy(), shown.numpy())
    opacity = feathered(changes.effect, shown.numpy(), (feather or FEATHER * max(size)) * scale)
    effect = _enlarged(torch.from_numpy(opacity), size)
    objects = _enlarged(torch.from_numpy(changes.objects.astype(np.float32)), size)
    if mask is not None:
        effect = effect * mask if mask_use == "limit" else torch.maximum(effect, mask)
        objects = objects * mask if mask_use == "limit" else objects
    for rows, pixels, _ in seen_through(alignment.matrix, _reduced(edited, alignment.matrix, size), size):
        share = effect[rows, :, None]
        target = image[rows][..., :3]
        mixed = torch.lerp(target.float(), recoloured(pixels, colours), share).clamp(0, 1)
        target.copy_(torch.where(share > 0, mixed.to(target.dtype), target))
    outside = torch.from_numpy(~(opacity > 0)) & shown
    verdicts = []
    if not alignment.trusted:
        verdicts.append(UNMATCHED)
    if not effect.any():
        verdicts.append(NOTHING)
    elif (effect > 0).float().mean() > EVERYWHERE:
        verdicts.append(EVERYTHING)
    shift, zoom, turn = motion(alignment.matrix, size, base)
    report = Report(
        identical=float((effect == 0).float().mean()),
        changed=float((effect > 0.5).float().mean()),
        shift=shift,
        zoom=zoom,
        turn=turn,
        matched=alignment.matched,
        colour_difference=_colour_difference(small_edit[outside], small_scene[outside]),
        verdicts=tuple(verdicts),
    )
    return effect, objects, report


def _reduced(edited: Tensor, matrix: np.ndarray, size: tuple[int, int]) -> Tensor:
    """The edited picture [h,w,3] no larger than it will be seen, so that nothing aliases."""
    ratio = max(edited.shape[:2]) * float(np.sqrt(abs(np.linalg.det(matrix[:, :2])))) / max(size)
    if ratio < 1.15:
        return edited
    height, width = edited.shape[:2]
    return resize(edited[None], max(1, round(width / ratio)), max(1, round(height / ratio)))[0]


def _enlarged(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """A mask [h,w] at the scene's size."""
    if tuple(mask.shape) == size:
        return mask
    return F.interpolate(mask[None, None], size, mode="bilinear")[0, 0]


def feathered(effect: np.ndarray, shown: np.ndarray, feather: float) -> np.ndarray:
    """Opacity [H,W]: 1 on the effect, falling to 0 over so many px around it, 0 where the edit shows nothing."""
    if not effect.any():
        return np.zeros(effect.shape, np.float32)
    distance = np.asarray(ndimage.distance_transform_edt(~effect))
    ramp = np.clip(1 - distance / (feather + 1), 0, 1)
    return (ramp * ramp * (3 - 2 * ramp) * shown).astype(np.float32)


def _colour_difference(edited: Tensor, scene: Tensor) -> float:
    """Mean CIE76 delta E of colours [N,3] in 0..1 of sRGB."""
    if not len(edited):
        return 0.0
    from kornia.color import rgb_to_lab

    both = torch.stack([edited, scene]).clamp(0, 1)
    lab = rgb_to_lab(both.movedim(-1, 1)[..., None])[..., 0]
    return float((lab[0] - lab[1]).square().sum(0).sqrt().mean())
