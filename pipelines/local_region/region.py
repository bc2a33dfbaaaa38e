"""Cut regions out of scenes, and paste them back edited. What is not pasted is the scene's own, bit for bit.

Pictures are [B,H,W,C], masks [B,H,W], both in 0..1. The scene is read in its windows only and copied once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..pictures.boxes import Box, clip_box
from ..pictures.changes import changes
from ..pictures.masks import check_mask
from .windows import Region, Window, choose, crop_size, part, windows

AREAS = ("changes", "window", "mask")
ENOUGH = 64  # px outside the mask, for colours to be compared at all
GAIN = 2.0  # how far colour match stretches or flattens contrast at most
ASPECT = 1.05  # how much an edited picture may differ in shape from its crop


@dataclass(frozen=True)
class LocalRegion:
    """What was cut out of where: N windows of one size in B scenes."""

    scene: Tensor  # [B,H,W,C], the very tensor that came in
    places: tuple[tuple[int, Window], ...]  # N: which scene, which part of it
    masks: Tensor  # [N,h,w] at the scene's resolution
    crops: Tensor  # [N,h',w',3] as the model sees them


# cutting out


def check_pictures(pictures: Tensor, name: str) -> None:
    """Raise ValueError for anything but pictures [B,H,W,C] with 1, 3 or 4 channels. Values are not read."""
    if pictures.ndim != 4 or pictures.shape[-1] not in (1, 3, 4):
        raise ValueError(f"{name} must be pictures [B,H,W,C] with 1, 3 or 4 channels; got {tuple(pictures.shape)}.")
    if 0 in pictures.shape:
        raise ValueError(f"{name} holds no pictures, or none with pixels: {tuple(pictures.shape)}.")


def rgb(pictures: Tensor) -> Tensor:
    """Pictures with 1, 3 or 4 channels as [B,H,W,3]: grey is repeated, alpha left out."""
    return pictures.expand(-1, -1, -1, 3) if pictures.shape[-1] == 1 else pictures[..., :3]


def resize(pictures: Tensor, width: int, height: int) -> Tensor:
    """Pictures [B,H,W,C] in another size: bicubic, antialiased, within their own range. The same size is untouched."""
    if pictures.shape[1:3] == (height, width):
        return pictures
    planes = pictures.movedim(-1, 1).float()
    resized = F.interpolate(planes, (height, width), mode="bicubic", antialias=True)
    low, high = planes.amin((1, 2, 3), keepdim=True), planes.amax((1, 2, 3), keepdim=True)
    return resized.clamp(low, high).movedim(1, -1).to(pictures.dtype)


def resize_mask(masks: Tensor, width: int, height: int) -> Tensor:
    """Masks [B,H,W] in another size; when they shrink a pixel takes the largest value, so no stroke is too thin."""
    planes = masks[:, None].float()
    smaller = (min(height, planes.shape[2]), min(width, planes.shape[3]))
    planes = F.adaptive_max_pool2d(planes, smaller)
    if smaller != (height, width):
        planes = F.interpolate(planes, (height, width), mode="bilinear")
    return planes[:, 0].clamp(0, 1)


def find_regions(scene: Tensor, mask: Tensor | None, box: Box | None, choice: str, index: int) -> list[list[Region]]:
    """The regions of each scene. A box without a mask is the region; with a mask only what lies in the box counts."""
    height, width = scene.shape[1:3]
    if mask is None and box is None:
        raise ValueError("Nothing says where the region is. Give a mask, or a box with a width and a height.")
    box = None if box is None else clip_box(box, height, width)
    if mask is None:
        assert box
        return [[Region(box, torch.ones(box[3] - box[1], box[2] - box[0]))]] * len(scene)
    mask = check_mask(mask, height, width)
    if len(mask) not in (1, len(scene)):
        raise ValueError(f"{len(mask)} masks do not pair up with {len(scene)} scenes. Give one, or equally many.")
    if box:
        inside = torch.zeros_like(mask)
        rows, columns = part(box)
        inside[:, rows, columns] = mask[:, rows, columns]
        if not inside.flatten(1).any(1).all():
            raise ValueError("The mask is empty inside the box. Move the box over what is painted, or take it away.")
        mask = inside
    found = [choose(one, choice, index) for one in mask]
    return found if len(found) == len(scene) else found * len(scene)


def cut(
    scene: Tensor,
    mask: Tensor | None = None,
    box: Box | None = None,
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
    check_pictures(scene, "The scene")
    found = find_regions(scene, mask, box, choice, index)
    regions = [(number, region) for number, of_one in enumerate(found) for region in of_one]
    boxes = [region.box for _, region in regions]
    at = windows(boxes, scene.shape[1], scene.shape[2], expansion, minimum, shape)
    size = crop_size(at[0], working_size)
    masks = torch.zeros(len(at), at[0].height, at[0].width)
    for whole, window, (_, region) in zip(masks, at, regions, strict=True):
        x, y = region.box[0] - window.left, region.box[1] - window.top
        whole[y : y + region.mask.shape[0], x : x + region.mask.shape[1]] = region.mask.clamp(0, 1)
    crops = torch.stack([rgb(scene)[number][window.area] for window, (number, _) in zip(at, regions, strict=True)])
    if not torch.isfinite(crops).all():
        raise ValueError("The scene holds values that are not finite (NaN or infinity) in the region to cut out.")
    places = tuple((number, window) for window, (number, _) in zip(at, regions, strict=True))
    return LocalRegion(scene, places, masks, resize(crops, *size)), resize_mask(masks, *size)


# pasting back


def edge(window: Window, height: int, width: int, feather: int) -> Tensor:
    """Opacity [h,w] of a window in a picture of `height` x `width` px: 0 on its border, 1 from `feather` px inwards.

    Borders that are the picture's own stay opaque. The feather takes at most a quarter of a side.
    """

    def ramp(side: int, before: bool, after: bool) -> Tensor:
        steps = torch.arange(side) / max(min(feather, side // 4), 1)
        steps = steps.clamp(max=1) if feather else torch.ones(side)
        rising = steps * steps * (3 - 2 * steps)
        whole = torch.ones(side)
        return (rising if before else whole) * (rising.flip(0) if after else whole)

    rows = ramp(window.height, window.top > 0, window.top + window.height < height)
    columns = ramp(window.width, window.left > 0, window.left + window.width < width)
    return rows[:, None] * columns


def spread(masks: Tensor, feather: int) -> Tensor:
    """Masks [B,H,W] with a soft rim: unchanged where they are 1, falling to 0 over `feather` px outside."""
    grow = feather // 2
    if not grow:
        return masks
    planes = masks[:, None]
    for kernel, padding in (((2 * grow + 1, 1), (grow, 0)), ((1, 2 * grow + 1), (0, grow))):
        planes = F.max_pool2d(planes, kernel, 1, padding)
    for kernel, padding in (((2 * grow + 1, 1), (grow, 0)), ((1, 2 * grow + 1), (0, grow))):
        planes = F.avg_pool2d(planes, kernel, 1, padding, count_include_pad=False)
    return torch.maximum(masks, planes[:, 0])


def opacities(region: LocalRegion, edited: Tensor, feather: int, area: str) -> Tensor:
    """How much of each edited picture [N or more,h',w',3] is pasted into its window: [...,h,w], 0 nothing, 1 all.

    "changes" pastes what is different from the crop, "mask" what is masked, both with a soft rim around; "window"
    pastes all but what another region has painted. The window's edge is always soft. Raises ValueError for another
    area.
    """
    if area not in AREAS:
        raise ValueError(f"Unknown area '{area}'; use {', '.join(AREAS)}.")
    height, width = region.scene.shape[1:3]
    opacity = torch.stack([edge(window, height, width, feather) for _, window in region.places])
    if area == "mask":
        return opacity * spread(region.masks, feather)
    if area == "changes":
        high, wide = region.crops.shape[1:3]
        found = changes(resize(edited, wide, high), region.crops.expand(len(edited), -1, -1, -1))
        return opacity * spread(resize_mask(found, *reversed(opacity.shape[1:])), feather)
    soft = spread(region.masks, feather)
    for own, (scene, window) in zip(opacity, region.places, strict=True):
        for other, (of, theirs) in zip(soft, region.places, strict=True):
            if of == scene and theirs != window:
                here, there = overlap(window, theirs)
                own[here] *= 1 - other[there]
    return opacity


def overlap(one: Window, other: Window) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """What two windows share, for indexing either [h,w]; empty slices when they share nothing."""
    left, top = max(one.left, other.left), max(one.top, other.top)
    right = max(min(one.left + one.width, other.left + other.width), left)
    bottom = max(min(one.top + one.height, other.top + other.height), top)

    def within(window: Window) -> tuple[slice, slice]:
        return slice(top - window.top, bottom - window.top), slice(left - window.left, right - window.left)

    return within(one), within(other)


def colour_match(edited: Tensor, original: Tensor, outside: Tensor) -> tuple[Tensor, Tensor]:
    """(gain, offset), [N,1,1,3] each, that give edited pictures [N,H,W,3] the original's mean and spread per channel.

    Both are measured where `outside` [N,H,W] is true. The gain stays within 1/2 to 2; too little outside gives (1, 0).
    """
    weight = outside.to(edited)[..., None]
    count = weight.sum((1, 2), keepdim=True)

    def moments(pictures: Tensor) -> tuple[Tensor, Tensor]:
        mean = (pictures * weight).sum((1, 2), keepdim=True) / count.clamp_min(1)
        variance = ((pictures - mean).square() * weight).sum((1, 2), keepdim=True) / count.clamp_min(1)
        return mean, variance.sqrt() + 1 / 255  # a flat picture has no contrast to stretch

    (mean, deviation), (goal, goal_deviation) = moments(edited), moments(original)
    gain = (goal_deviation / deviation).clamp(1 / GAIN, GAIN)
    enough = count >= ENOUGH
    return torch.where(enough, gain, torch.ones_like(gain)), torch.where(enough, goal - mean * gain, mean * 0)


def check_edited(edited: Tensor, region: LocalRegion) -> Tensor:
    """Edited pictures as [N,h,w,3], on the scene's device.

    Raises ValueError for no pictures, NaN or infinity, another shape than the crops' or a count that does not pair up.
    """
    check_pictures(edited, "What is pasted")
    if not torch.isfinite(edited).all():
        raise ValueError("What is pasted holds values that are not finite (NaN or infinity).")
    (high, wide), count = region.crops.shape[1:3], len(region.places)
    ratio = edited.shape[2] / edited.shape[1] * high / wide
    if not 1 / ASPECT <= ratio <= ASPECT:
        raise ValueError(
            f"What is pasted is {edited.shape[2]}x{edited.shape[1]} px, but the crop was {wide}x{high} px. "
            "It may be larger or smaller, but not of another shape; connect the edited crop of this region."
        )
    if count > 1 and len(edited) != count:
        raise ValueError(f"{count} regions were cut out, but {len(edited)} pictures come back. Paste one for each.")
    return rgb(edited).to(region.scene.device, torch.float32)


def paste(
    region: LocalRegion,
    edited: Tensor,
    feather: int = 16,
    match: float = 0.0,
    area: str = "changes",
    scene: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """(scenes with the edited crops in place [B,H,W,C], how much of each pixel is new [B,H,W]).

    Pixels with 0 in the second are those of the scene, bit for bit. Edited pictures [N,h,w,C] of any size are brought
    to the window's; several for one region give several results. `match` 0..1 is how much of the colour match counts.
    `scene`, if given, is pasted into instead.
    Raises ValueError for what `check_edited` and `opacities` refuse, and for a scene of another shape.
    """
    if feather < 0:
        raise ValueError(f"feather must be 0 px or more; got {feather}.")
    edited = check_edited(edited, region)
    into = region.scene if scene is None else scene
    if into.shape != region.scene.shape:
        raise ValueError(
            f"The scene to paste into is {tuple(into.shape)}, the one that was cut {tuple(region.scene.shape)}. "
            "They must have the same size and count."
        )
    if match > 0:
        high, wide = region.crops.shape[1:3]
        outside = resize_mask(region.masks, wide, high) == 0
        gain, offset = colour_match(resize(edited, wide, high), region.crops.to(edited), outside)
        edited = torch.lerp(edited, (edited * gain + offset).clamp(0, 1), match)
    places, window = region.places, region.places[0][1]
    opacity = opacities(region, edited, feather, area).to(into).expand(len(edited), -1, -1)
    result = into.expand(*into.shape[:3], max(3, into.shape[3]))
    if len(edited) > len(places):  # several pictures for one region
        places = [(number, window) for number in range(len(edited))]
        result = result.expand(len(edited), -1, -1, -1)
    result = result.clone(memory_format=torch.contiguous_format)
    changed = torch.zeros(result.shape[:3])
    pictures = resize(edited, window.width, window.height)
    for picture, share, (number, window) in zip(pictures, opacity, places, strict=True):
        pixels = result[number][window.area][..., :3]
        mixed = torch.lerp(pixels, picture.to(pixels), share[..., None])
        pixels.copy_(torch.where(share[..., None] > 0, mixed, pixels))
        seen = changed[number][window.area]
        seen.copy_(torch.maximum(seen, share.to(seen)))
    return result, changed
