"""Cut regions out of scenes: what a model is to edit, at a size of its own. A scene is read in its windows only.

Pictures are [B,H,W,C], masks [B,H,W], both in 0..1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..pictures.boxes import Box, clip_box, slices
from ..pictures.checks import check_finite, check_pictures, rgb
from ..pictures.masks import check_mask
from ..pictures.resizing import resize, resize_mask
from .windows import Region, Window, choose, crop_size, windows


@dataclass(frozen=True)
class LocalRegion:
    """What was cut out of where: N windows of one size in B scenes."""

    scene: Tensor  # [B,H,W,C], the very tensor that came in
    places: tuple[tuple[int, Window], ...]  # N: which scene, which part of it
    masks: Tensor  # [N,h,w] at the scene's resolution
    crops: Tensor  # [N,h',w',3] as the model sees them


def check_filled(pictures: Tensor, noun: str) -> None:
    """Raise ValueError for what `check_pictures` refuses, and for no pictures or empty ones. Values are not read."""
    check_pictures(pictures, noun)
    if 0 in pictures.shape:
        raise ValueError(f"{noun} holds no pictures, or none with pixels: {tuple(pictures.shape)}.")


def mask_inside(mask: Tensor, box: Box) -> Tensor:
    """The part of masks [B,H,W] that lies in a box, [B,H,W]. Raises ValueError when no mask has one."""
    rows, columns = slices(box)
    inside = torch.zeros_like(mask)
    inside[:, rows, columns] = mask[:, rows, columns]
    if not inside.any():
        raise ValueError("The mask is empty inside the box. Move the box over what is painted, or take it away.")
    return inside


def find_regions(
    scene: Tensor, mask: Tensor | None, box: Box | None, *, choice: str, index: int
) -> list[tuple[int, Region]]:
    """The regions in scenes [B,H,W,C], each with its scene's number; `choice` and `index` are those of `choose`.

    A box without a mask is the region; with a mask only what lies in the box counts. A scene whose mask is empty has
    none.
    """
    height, width = scene.shape[1:3]
    if mask is None and box is None:
        raise ValueError("Nothing says where the region is. Give a mask, or a box with a width and a height.")
    if box is not None:
        box = clip_box(box, height, width)
    if mask is None:
        assert box
        rows, columns = slices(box)
        mask = torch.ones(rows.stop - rows.start, columns.stop - columns.start)
        return [(number, Region(box, mask)) for number in range(len(scene))]
    mask = check_mask(mask, height, width)
    if len(mask) not in (1, len(scene)):
        raise ValueError(f"{len(mask)} masks do not pair up with {len(scene)} scenes. Give one, or equally many.")
    if box:
        mask = mask_inside(mask, box)
    chosen = [choose(one, choice, index) if one.any() else [] for one in mask]
    if len(chosen) < len(scene):
        chosen = chosen * len(scene)
    numbered = []
    for number, regions in enumerate(chosen):
        numbered += [(number, region) for region in regions]
    return numbered


def cut(
    scene: Tensor,
    mask: Tensor | None = None,
    box: Box | None = None,
    *,
    expansion: float = 0.5,
    minimum: int = 32,
    shape: str = "square",
    working_size: int = 512,
    choice: str = "together",
    index: int = 0,
) -> tuple[LocalRegion, Tensor]:
    """(what was cut out, its masks [N,h',w']) for the regions of scenes [B,H,W,C] around a mask or a box.

    `expansion`, `minimum` and `shape` are those of `windows.windows`, `choice` and `index` of `windows.choose`,
    `working_size` of `windows.crop_size`. Raises ValueError for what these and `masks.check_mask` refuse, for a scene
    that is no picture, and for NaN or infinity inside a window.
    """
    check_filled(scene, "The scene")
    regions = find_regions(scene, mask, box, choice=choice, index=index)
    height, width = scene.shape[1:3]
    boxes = [region.box for _, region in regions]
    around = windows(boxes, height, width, expansion=expansion, minimum=minimum, shape=shape)
    masks = torch.zeros(len(around), around[0].height, around[0].width)
    for whole, (_, region), window in zip(masks, regions, around, strict=True):
        whole[window.slices_of(region.box)] = region.mask.clamp(0, 1)
    places = tuple((number, window) for (number, _), window in zip(regions, around, strict=True))
    size = crop_size(around[0], working_size)
    crops = []
    for number, window in places:
        rows, columns = window.area
        crop = rgb(scene[number : number + 1])[:, rows, columns]
        check_finite(crop, "The scene", where=" in the region to cut out")
        crops.append(resize(crop, *size))
    return LocalRegion(scene, places, masks, torch.cat(crops)), resize_mask(masks, *size)
