"""Paste edited regions back into their scenes. What is not pasted is the scene's own, bit for bit.

Pictures are [B,H,W,C], masks [B,H,W], both in 0..1. The scene is copied once.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from ..pictures.boxes import shared
from ..pictures.checks import check_filled, check_finite, rgb
from ..pictures.parts import labelled_parts
from ..pictures.resizing import resize, resize_mask
from ..restoration.restore import restore, smoothstep
from .cutting import LocalRegion
from .windows import Window

AREAS = ("changes", "window", "mask")
ENOUGH = 64  # px outside the mask, for colours to be compared at all
GAIN = 2.0  # how far colour match stretches or flattens contrast at most
FAINTEST = 1 / 255  # of an edited picture: with less, a pixel that 8 bits show as unchanged would be
ASPECT = 1.05  # how much an edited picture may differ in shape from its crop


def ramp(side: int, feather: int, before: bool, after: bool) -> Tensor:
    """Opacity [side]: 1, but rising from 0 over `feather` px `before` and falling to 0 `after`.

    The feather takes at most a quarter of the side.
    """
    whole = torch.ones(side)
    if not feather:
        return whole
    steps = (torch.arange(side) / max(min(feather, side // 4), 1)).clamp(max=1)
    rising = steps * steps * (3 - 2 * steps)
    return (rising if before else whole) * (rising.flip(0) if after else whole)


def edge(window: Window, height: int, width: int, feather: int) -> Tensor:
    """Opacity [h,w] of a window in a picture of `height` x `width` px: 0 on its border, 1 from `feather` px inwards.

    Borders that are the picture's own stay opaque.
    """
    x0, y0, x1, y1 = window.box
    rows = ramp(window.height, feather, y0 > 0, y1 < height)
    columns = ramp(window.width, feather, x0 > 0, x1 < width)
    return rows[:, None] * columns


def spread(masks: Tensor, feather: int) -> Tensor:
    """Masks [B,H,W] with a soft rim: unchanged where they are 1, falling to 0 over `feather` px outside."""
    reach = feather // 2
    if not reach:
        return masks
    side = 2 * reach + 1
    planes = masks[:, None]
    planes = F.max_pool2d(planes, (side, 1), 1, (reach, 0))
    planes = F.max_pool2d(planes, (1, side), 1, (0, reach))
    planes = F.avg_pool2d(planes, (side, 1), 1, (reach, 0), count_include_pad=False)
    planes = F.avg_pool2d(planes, (1, side), 1, (0, reach), count_include_pad=False)
    return torch.maximum(masks, planes[:, 0])


def inset(masks: Tensor, feather: int) -> Tensor:
    """Masks [B,H,W] with a soft rim inside: 0 where they are 0, unchanged from `feather` px inwards.

    The rim takes at most a quarter of the width of a connected part, so that the middle of a thin stroke stays. Along
    the border of the masks there is none.
    """
    if not feather:
        return masks
    softened = []
    for mask in masks.cpu().numpy():
        inside = mask > 0
        depth = np.asarray(ndimage.distance_transform_edt(inside))
        labels = labelled_parts(inside)
        deepest = np.asarray(ndimage.maximum(depth, labels, np.arange(labels.max() + 1)))
        rim = smoothstep(depth / np.clip(deepest / 2, 0.5, feather)[labels])
        softened.append(mask if inside.all() else mask * rim)
    return torch.from_numpy(np.stack(softened)).to(masks)


def opacities(region: LocalRegion, feather: int, area: str) -> Tensor:
    """How much of what is pasted counts in each window: [N,h,w], 0 nothing, 1 all.

    With "mask" what is masked, its soft rim inside; with "window" all but what another region has painted; with
    "changes" all, what changed is `restore`'s to say. The window's edge is always soft. Raises ValueError for another
    area.
    """
    if area not in AREAS:
        raise ValueError(f"Unknown area '{area}'; use {', '.join(AREAS)}.")
    height, width = region.scene.shape[1:3]
    opacity = torch.stack([edge(window, height, width, feather) for _, window in region.places])
    if area == "mask":
        return opacity * inset(region.masks, feather)
    if area == "changes":
        return opacity
    painted = spread(region.masks, feather)
    for own, (scene, window) in zip(opacity, region.places, strict=True):
        for others, (others_scene, others_window) in zip(painted, region.places, strict=True):
            if others_scene == scene and others_window != window:
                both = shared(window.box, others_window.box)
                own[window.slices_of(both)] *= 1 - others[others_window.slices_of(both)]
    return opacity


def restored(pixels: Tensor, crop: Tensor, edited: Tensor, feather: int) -> tuple[Tensor, Tensor]:
    """(a window's pixels [h,w,3] with what an edit [h",w",3] of its crop [h',w',3] changed, how much is new [h,w]).

    It is the pack's one rule: a shift, a zoom and a change of all colours are undone first. Changes are looked for in
    the crop, as a window made smaller and large again differs from itself all over; the edit is put in at the window's
    size.
    """
    crop, edited = (picture[None].cpu() for picture in (crop, edited))
    restoration = restore(pixels[None].cpu(), edited, editor_scene=crop, feather=feather)
    return restoration.images[0].to(pixels), restoration.effect[0].to(pixels.device)


def moments(pictures: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and spread [N,1,1,3] of pictures [N,H,W,3] where `weight` [N,H,W,1] is 1."""
    count = weight.sum((1, 2), keepdim=True).clamp_min(1)
    mean = (pictures * weight).sum((1, 2), keepdim=True) / count
    variance = ((pictures - mean).square() * weight).sum((1, 2), keepdim=True) / count
    return mean, variance.sqrt() + 1 / 255  # a flat picture has no contrast to stretch


def colour_match(edited: Tensor, original: Tensor, outside: Tensor) -> tuple[Tensor, Tensor]:
    """(gain, offset), [N,1,1,3] each, that give edited pictures [N,H,W,3] the original's mean and spread per channel.

    Both are measured where `outside` [N,H,W] is true. The gain stays within 1/2 to 2; too little outside gives (1, 0).
    """
    weight = outside.to(edited)[..., None]
    mean, deviation = moments(edited, weight)
    original_mean, original_deviation = moments(original, weight)
    gain = (original_deviation / deviation).clamp(1 / GAIN, GAIN)
    enough = weight.sum((1, 2), keepdim=True) >= ENOUGH
    offset = original_mean - mean * gain
    return torch.where(enough, gain, torch.ones_like(gain)), torch.where(enough, offset, torch.zeros_like(offset))


def matched(edited: Tensor, region: LocalRegion) -> Tensor:
    """Edited pictures [N,h,w,3] in the colours of their crops, as far as these can be told outside of the masks."""
    height, width = region.crops.shape[1:3]
    outside = resize_mask(region.masks, width, height) == 0
    gain, offset = colour_match(resize(edited, width, height), region.crops.to(edited), outside)
    return (edited * gain + offset).clamp(0, 1)


def check_edited(edited: Tensor, region: LocalRegion) -> Tensor:
    """Edited pictures as [N,h,w,3], on the scene's device.

    Raises ValueError for no pictures, NaN or infinity, another shape than the crops' or a count that does not pair up.
    """
    check_filled(edited, "What is pasted")
    check_finite(edited, "What is pasted")
    crop_height, crop_width = region.crops.shape[1:3]
    height, width = edited.shape[1:3]
    if not 1 / ASPECT <= width / height * crop_height / crop_width <= ASPECT:
        raise ValueError(
            f"What is pasted is {width}x{height} px, but the crop was {crop_width}x{crop_height} px. "
            "It may be larger or smaller, but not of another shape; connect the edited crop of this region."
        )
    count = len(region.places)
    if (count > 1 or len(region.scene) > 1) and len(edited) != count:
        raise ValueError(f"{count} regions were cut out, but {len(edited)} pictures come back. Paste one for each.")
    return rgb(edited).to(region.scene.device, torch.float32)


def paste(
    region: LocalRegion,
    edited: Tensor,
    *,
    feather: int = 16,
    match: float = 0.0,
    area: str = "changes",
    scene: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """(scenes with the edited crops in place [B,H,W,C], how much of each pixel is new [B,H,W]).

    Pixels with 0 in the second are those of the scene, bit for bit. Edited pictures [N,h,w,C] of any size are brought
    to the window's; several for one region give several results. `match` 0..1 is how much of the colour match counts,
    but for area "changes", where colours are matched anyway. `scene`, if given, is pasted into instead.
    Raises ValueError for what `check_edited` and `opacities` refuse, and for a scene of another shape.
    """
    if feather < 0:
        raise ValueError(f"feather must be 0 px or more; got {feather}.")
    edited = check_edited(edited, region)
    scene = region.scene if scene is None else scene
    if scene.shape != region.scene.shape:
        raise ValueError(
            f"The scene to paste into is {tuple(scene.shape)}, the one that was cut {tuple(region.scene.shape)}. "
            "They must have the same size and count."
        )
    opacity = opacities(region, feather, area).to(scene).expand(len(edited), -1, -1)
    if match > 0 and area != "changes":
        edited = torch.lerp(edited, matched(edited, region), match)
    places = region.places
    first = places[0][1]
    result = scene.expand(*scene.shape[:3], max(3, scene.shape[3]))
    if len(edited) > len(places):  # several pictures for one region
        places = [(number, first) for number in range(len(edited))]
        result = result.expand(len(edited), -1, -1, -1)
    result = result.clone(memory_format=torch.contiguous_format)
    changed = torch.zeros(result.shape[:3])
    crops = region.crops.expand(len(edited), -1, -1, -1)
    for picture, crop, share, (number, window) in zip(edited, crops, opacity, places, strict=True):
        pixels = result[number][window.area][..., :3]
        if area == "changes":
            pasted, effect = restored(pixels, crop, picture, feather)
        else:
            pasted, effect = resize(picture[None], window.width, window.height)[0], torch.ones_like(share)
        new_share = share * effect.to(share)
        new_share = torch.where(new_share < FAINTEST, 0, new_share)
        mixed = torch.lerp(pixels, pasted.to(pixels), share[..., None])
        pixels.copy_(torch.where(new_share[..., None] > 0, mixed, pixels))
        new = changed[number][window.area]
        new.copy_(torch.maximum(new, new_share.to(new)))
    return result, changed


def share_remark(changed: Tensor) -> str:
    """What `paste` changed, in words, of its masks [B,H,W] of how much of each pixel is new."""
    return f"{float((changed > 0).float().mean()):.1%} of the pixels are new, the others are the scene's own"
