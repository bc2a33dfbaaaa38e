"""A restored picture taken apart: scene, shadow, light and object, which put together again are that picture.

The scene behind the object is known, so that the object's opacity can be solved for (difference matting: Smith and
Blinn, "Blue Screen Matting", 1996, section 3, with the scene in the place of the constant backing colour); layers are
put over each other as Porter and Duff do ("Compositing Digital Images", 1984). Everything is computed in the values of
8-bit files, without a gamma, as the OpenRaster specification and Krita do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from ..pictures.batches import paired
from ..pictures.boxes import slices
from ..pictures.checks import check_finite, check_pictures, mask_batch, rgb
from ..pictures.masks import mask_box

WHITE = 255.0  # layers have 8 bits
TOLERANCE = 1.5 / 255  # an effect mask of 8 bits says 0 for less than half a level, and a picture rounds once more
NOISE = 4 / 255  # of one pixel's colour, of a good VAE
ENOUGH = 1 / 16  # of white: what is darker says little of a shadow
DOUBT = 0.3  # standard deviation of a mask's values in an object's rim
SLACK = 60  # of 255: how much more opacity than was solved for a pixel beside the mask may need, being the object's
SHARE = 1 / 512  # of the longer side: the rim's half width
NARROWEST = 2  # px, the same

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Layers:
    """What `separate` makes: pictures of one size, values 0..1 that 8 bits hold exactly, from the bottom to the top.

    Shadow and light are nothing, 1 and 0, where the other one is something.
    """

    scene: Tensor  # [H,W,3]
    shadow: Tensor  # [H,W,3] multiplied with the scene: 1 where there is none
    light: Tensor  # [H,W,3] screened over it: 0 where there is none
    object: Tensor  # [H,W,4] over it: colours that are not multiplied with the opacity in the last channel

    def recompose(self) -> Tensor:
        """The picture [H,W,3] that the layers make, rounded to 8 bits after each as a program of 8 bits does."""
        scene, shadow, light, layer = map(eight_bits, (self.scene, self.shadow, self.light, self.object))
        shaded = rounded(scene * shadow / WHITE)
        lit = rounded(WHITE - (WHITE - shaded) * (WHITE - light) / WHITE)
        return pixels(over(layer[..., :3], layer[..., 3:], lit))


def eight_bits(values: Tensor) -> Array:
    """Values in 0..1 as whole numbers in 0..255, float32: these hold their products and tell halves apart."""
    return rounded(values.detach().cpu().float().numpy() * WHITE)


def rounded(values: Array) -> Array:
    return np.rint(values).clip(0, WHITE)


def pixels(levels: Array) -> Tensor:
    """Whole numbers in 0..255 as float32 in 0..1."""
    return torch.from_numpy(levels.astype(np.float32)) / WHITE


def over(colour: Array, alpha: Array, ground: Array) -> Array:
    """Colours [...,3] of opacity [...,1] over a ground [...,3], all in 0..255 (Porter and Duff 1984)."""
    return rounded((alpha * colour + (WHITE - alpha) * ground) / WHITE)


def separate(scene: Tensor, restored: Tensor, object_mask: Tensor, effect_mask: Tensor) -> Layers:
    """The layers of a restored picture: `recompose` of them is it, rounded to 8 bits.

    Pictures are [H,W,1|3|4] in 0..1, masks [H,W]. Alpha channels are left out. The object mask is 1 on the object, hard
    or soft; the effect mask is 0 where the restored picture is the scene, and there every layer is nothing. What is
    darker than the scene outside of the object is the shadow's, and what is lighter (a reflection, a glow) the light's.

    In the object's rim, within 1/512 of the longer side (at least 2 px) of the mask's edge and wherever the mask is
    soft, opacity is solved for between the colour of the scene, shaded as around the object, and that of the object
    further inside. It cannot be told where these two are alike, or where the object's colour changes as much as they
    differ, nor where the object is nowhere wider than its rim: there it stays the mask's. The shadow goes on under the
    object as it is beside it.

    Raises ValueError for sizes that differ, NaN or infinity, and a picture that is not the scene outside the effect.
    """
    scene, restored = checked_pictures(scene, restored)
    object_mask = checked_mask(object_mask, "The object mask", scene)
    effect = checked_mask(effect_mask, "The effect mask", scene) > 0
    astray = ((restored - scene).abs().amax(-1) > TOLERANCE) & ~effect
    if astray.any():
        raise ValueError(
            f"The restored picture is not the scene outside the effect mask: {int(astray.sum())} px differ. Give the "
            "picture and the effect mask that Restore Scene made of this scene."
        )
    height, width = effect.shape
    ground = eight_bits(scene)
    shadow = np.full((height, width, 3), 255, np.uint8)
    light = np.zeros((height, width, 3), np.uint8)
    layer = np.zeros((height, width, 4), np.uint8)
    box = mask_box(effect)
    if box is not None:
        area = slices(box)
        reach = max(NARROWEST, round(SHARE * max(height, width)))
        opacity = (object_mask[area] * effect[area]).numpy()
        parts = _parts(ground[area], eight_bits(restored[area]), opacity, effect[area].numpy(), reach)
        shadow[area], light[area], layer[area] = parts
    return Layers(pixels(ground), pixels(shadow), pixels(light), pixels(layer))


def separate_batch(scene: Tensor, restored: Tensor, object_mask: Tensor, effect_mask: Tensor) -> list[Layers]:
    """`separate` for batches: pictures [B,H,W,C] and masks in any form of `mask_batch`, of which each is one or many.

    Raises ValueError for what `separate` refuses, and batches that do not pair up.
    """
    return list(_separated(scene, restored, object_mask, effect_mask))


def object_layers(scene: Tensor, restored: Tensor, object_mask: Tensor, effect_mask: Tensor) -> Tensor:
    """The objects [N,H,W,4] alone of `separate_batch`, of which nothing else is held; it raises the same."""
    return torch.stack([one.object for one in _separated(scene, restored, object_mask, effect_mask)])


def _separated(scene: Tensor, restored: Tensor, object_mask: Tensor, effect_mask: Tensor) -> Iterator[Layers]:
    """The layers of one picture after the other."""
    check_pictures(scene, "The scene")
    check_pictures(restored, "The restored picture")
    object_masks = mask_batch(object_mask)
    effect_masks = mask_batch(effect_mask)
    count = paired(
        scenes=len(scene),
        restored_pictures=len(restored),
        object_masks=len(object_masks),
        effect_masks=len(effect_masks),
    )
    batches = (scene, restored, object_masks, effect_masks)
    rows = zip(*(batch.expand(count, *batch.shape[1:]) for batch in batches), strict=True)
    return (separate(*row) for row in rows)


def stacked(layers: Sequence[Layers]) -> tuple[Tensor, Tensor, Tensor]:
    """(objects [N,H,W,4], shadows [N,H,W,3], lights [N,H,W,3]) of N layers of one size."""
    objects = torch.stack([one.object for one in layers])
    shadows = torch.stack([one.shadow for one in layers])
    return objects, shadows, torch.stack([one.light for one in layers])


def checked_pictures(scene: Tensor, restored: Tensor) -> tuple[Tensor, Tensor]:
    """Both as [H,W,3] in 0..1 on the CPU. Raises ValueError for what is no picture, NaN, and sizes that differ."""
    for picture, noun in ((scene, "The scene"), (restored, "The restored picture")):
        if picture.ndim != 3 or picture.shape[-1] not in (1, 3, 4) or 0 in picture.shape:
            raise ValueError(f"{noun} must be a picture [H,W,C] with 1, 3 or 4 channels; got {tuple(picture.shape)}.")
        check_finite(picture, noun)
    height, width = scene.shape[:2]
    if restored.shape[:2] != (height, width):
        raise ValueError(
            f"The restored picture is {restored.shape[1]}x{restored.shape[0]} px, the scene {width}x{height} px. "
            "Restore the scene first: layers have the scene's size."
        )
    return rgb(scene[None])[0].float().cpu().clamp(0, 1), rgb(restored[None])[0].float().cpu().clamp(0, 1)


def checked_mask(mask: Tensor, noun: str, scene: Tensor) -> Tensor:
    """A mask [H,W] of a scene [H,W,C] in 0..1 on the CPU. Raises ValueError for another shape or size, and NaN."""
    height, width = scene.shape[:2]
    if mask.shape != (height, width):
        raise ValueError(f"{noun} must be [H,W] of the scene's {width}x{height} px; got {tuple(mask.shape)}.")
    check_finite(mask.float(), noun)
    return mask.float().cpu().clamp(0, 1)


def _parts(scene: Array, restored: Array, mask: Array, effect: Array, reach: int) -> tuple[Array, Array, Array]:
    """(shadow, light, object) of pictures [H,W,3] in 0..255 with a mask [H,W] in 0..1 that is 0 outside the effect."""
    core: Array = ndimage.binary_erosion(mask >= 0.5, iterations=reach, border_value=1)
    near: Array = ndimage.binary_dilation(mask >= 0.5, iterations=reach)
    rim = effect & (((mask > 0) & (mask < 1)) | (near & ~core))
    outside = ~rim & (mask == 0)
    under = _shadow_under(scene, restored, outside)
    ground = rounded(scene * under / WHITE)
    alpha = np.zeros((*mask.shape, 1), np.float32)
    box = mask_box(torch.from_numpy(rim | core))
    if box is not None:
        area = slices(box)
        opacity = _opacity(
            ground=ground[area],
            restored=restored[area],
            mask=mask[area],
            core=core[area],
            rim=rim[area],
            reach=reach,
        )
        alpha[area] = rounded(opacity * WHITE)[..., None]
    least = _least_opacity(ground, restored)
    there = (alpha > 0) & ((mask[..., None] > 0) | (least <= alpha + SLACK))  # else the shadow explains it better
    alpha = np.where(there, np.maximum(alpha, least), 0)
    solid = np.maximum(alpha, 1)
    colour = rounded((WHITE * restored - (WHITE - solid) * ground) / solid)
    factor = rounded(WHITE * np.minimum(restored, scene) / np.maximum(scene, 1))
    shadow = np.where(there, under, np.where(restored < scene, factor, WHITE))
    rest = np.maximum(WHITE - scene, 1)
    light = np.where(there, 0, rounded(WHITE - WHITE * (WHITE - np.maximum(restored, scene)) / rest))
    light = np.where(restored > scene, light, 0)
    return shadow, light, np.concatenate([np.where(there, colour, 0), alpha], -1)


def _shadow_under(scene: Array, restored: Array, outside: Array) -> Array:
    """The shadow [H,W,3] in 0..255, carried on smoothly from the pixels `outside` [H,W] of the object.

    It is measured as a share of sums, so that black pixels, which show no shadow, do not count.
    """
    dark = torch.from_numpy(np.minimum(restored, scene) * outside[..., None])
    bright = torch.from_numpy(scene * outside[..., None])
    planes = torch.stack([dark, bright]).permute(0, 3, 1, 2) / WHITE
    return rounded(_carried_on(planes[:1], planes[1:])[0].permute(1, 2, 0).numpy() * WHITE)


def _carried_on(part: Tensor, whole: Tensor) -> Tensor:
    """`part / whole`, [1,C,H,W] each, where the latter is large enough to tell, and from coarser levels elsewhere.

    Where nothing is large enough it is 1. (Gortler et al., "The Lumigraph", 1996, section 3.4: pull and push.)
    """
    share = torch.where(whole > 0, part / whole.clamp_min(1e-6), 1.0)
    if max(whole.shape[2:]) == 1:
        return share
    coarse = _carried_on(*(F.avg_pool2d(planes, 2, ceil_mode=True) for planes in (part, whole)))
    around = F.interpolate(coarse, whole.shape[2:], mode="bilinear")
    return torch.lerp(around, share, (whole / ENOUGH).clamp_max(1))


def _opacity(*, ground: Array, restored: Array, mask: Array, core: Array, rim: Array, reach: int) -> Array:
    """Opacity [H,W] in 0..1: the mask's, and in the rim the most probable one between the mask's and the colours'.

    With background B, the object's colour F of variance s², a picture I, and the mask's value m of variance t², it is
    (m s²/t² + (I - B)(F - B)) / (s²/t² + (F - B)²).
    """
    if not core.any():
        return mask
    weight = core[..., None].astype(np.float32)
    sigma = (reach, reach, 0)
    total = np.asarray(ndimage.gaussian_filter(weight, sigma)) + 1e-6
    levels = restored / WHITE
    mean = np.asarray(ndimage.gaussian_filter(levels * weight, sigma)) / total
    square = np.asarray(ndimage.gaussian_filter(levels**2 * weight, sigma)) / total
    nearest: Any = ndimage.distance_transform_edt(~core, return_indices=True)
    distance, (rows, columns) = nearest
    rim = rim & (distance <= 4 * reach)
    inwards = (rows[rim], columns[rim])  # the nearest pixel of the core
    colour = mean[inwards]
    variance = NOISE**2 + np.maximum(square[inwards] - colour**2, 0).mean(-1)
    background = ground[rim] / WHITE
    difference = colour - background
    doubt = variance / DOUBT**2
    told = ((levels[rim] - background) * difference).sum(-1)
    opacity = mask.astype(np.float32).copy()
    opacity[rim] = ((mask[rim] * doubt + told) / (doubt + (difference**2).sum(-1))).clip(0, 1)
    return opacity


def _least_opacity(ground: Array, restored: Array) -> Array:
    """The least opacity [H,W,1] in 0..255, at least 1, with which some colour over the ground is the picture."""
    more = restored - ground
    room = np.where(more > 0, WHITE - ground, ground)
    least = np.ceil(WHITE * np.abs(more) / np.maximum(room, 1))
    return np.maximum(least.max(-1, keepdims=True), 1)
