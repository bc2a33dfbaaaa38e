"""Cut regions out of scenes: what a model is to edit, at a size of its own. A scene is read in its windows only.

Pictures are [B,H,W,C], masks [B,H,W], both in 0..1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from ..pictures.boxes import Box, Boxes, clip_box, moved
from ..pictures.checks import check_filled, check_finite, rgb
from ..pictures.masks import PAINTED, mask_box, mask_inside, optional_mask
from ..pictures.resizing import resize, resize_mask
from .windows import Region, Window, choose, choose_boxes, crop_size, windows


@dataclass(frozen=True)
class LocalRegion:
    """What was cut out of where: N windows of one size in B scenes."""

    scene: Tensor  # [B,H,W,C], the very tensor that came in
    places: tuple[tuple[int, Window], ...]  # N: which scene, which part of it
    masks: Tensor  # [N,h,w] at the scene's resolution
    crops: Tensor  # [N,h',w',3] as the model sees them

    @property
    def boxes(self) -> list[list[Box]]:
        """The boxes of what is masked, or of the boxes asked for, in each scene; none in a scene that was not cut."""
        boxes: list[list[Box]] = [[] for _ in self.scene]
        for mask, (number, window) in zip(self.masks, self.places, strict=True):
            box = mask_box(mask, PAINTED)
            assert box, "a region has a painted pixel"
            boxes[number].append(moved(box, window.left, window.top))
        return boxes


def find_regions(
    scene: Tensor, mask: Tensor | None, boxes: Boxes | None, *, choice: str, index: int
) -> list[tuple[int, Region]]:
    """The regions in scenes [B,H,W,C], each with its scene's number; `choice` and `index` are those of `choose`.

    Boxes without a mask are the regions; with a mask only what lies in the boxes of its scene counts. A scene whose
    mask is empty, or that has no box, has none.
    """
    height, width = scene.shape[1:3]
    mask = optional_mask(mask, height, width)
    boxes = [[clip_box(box, height, width) for box in own] for own in boxes or ()]
    if mask is None and not any(boxes):
        raise ValueError(
            "Nothing says where the region is. Paint or connect a mask, connect a bounding box, or give a box with a "
            "width and a height."
        )
    if mask is None:
        chosen = [choose_boxes(own, choice, index) if own else [] for own in boxes]
    else:
        mask = mask_inside(mask, boxes)
        chosen = [choose(one, choice, index) if one.any() else [] for one in mask]
    what = "pictures with boxes" if mask is None else "masks"
    if len(chosen) not in (1, len(scene)):
        raise ValueError(f"{len(chosen)} {what} do not pair up with {len(scene)} scenes. Give one, or equally many.")
    if len(chosen) < len(scene):
        chosen = chosen * len(scene)
    numbered = []
    for number, regions in enumerate(chosen):
        numbered += [(number, region) for region in regions]
    return numbered


def cut(
    scene: Tensor,
    mask: Tensor | None = None,
    box: Box | Boxes | None = None,
    *,
    expansion: float = 0.5,
    minimum: int = 32,
    shape: str = "square",
    working_size: int = 512,
    choice: str = "together",
    index: int = 0,
) -> tuple[LocalRegion, Tensor]:
    """(what was cut out, its masks [N,h',w']) for the regions of scenes [B,H,W,C] around a mask or a box.

    An unpainted mask counts as none. Several boxes come as a list for each scene, or one for all. With both, what is
    masked within the boxes.
    `expansion`, `minimum` and `shape` are those of `windows.windows`, `choice` and `index` of `windows.choose`,
    `working_size` of `windows.crop_size`. Raises ValueError for what these and `masks.check_mask` refuse, for a scene
    that is no picture, and for NaN or infinity inside a window.
    """
    check_filled(scene, "The scene")
    boxes = cast(Boxes, [[box]] if isinstance(box, tuple) else box)
    regions = find_regions(scene, mask, boxes, choice=choice, index=index)
    height, width = scene.shape[1:3]
    around = windows(
        [region.box for _, region in regions], height, width, expansion=expansion, minimum=minimum, shape=shape
    )
    masks = torch.zeros(len(around), around[0].height, around[0].width)
    for whole, (_, region), window in zip(masks, regions, around, strict=True):
        whole[window.slices_of(region.box)] = region.mask
    places = tuple((number, window) for (number, _), window in zip(regions, around, strict=True))
    size = crop_size(around[0], working_size)
    crops = []
    for number, window in places:
        rows, columns = window.area
        crop = rgb(scene[number : number + 1])[:, rows, columns]
        check_finite(crop, "The scene", where=" in the region to cut out")
        crops.append(resize(crop, *size))
    return LocalRegion(scene, places, masks, torch.cat(crops)), resize_mask(masks, *size)
