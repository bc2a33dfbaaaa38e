"""A cut-out put into a scene: a rough composite, for a model to harmonise or as it is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..pictures.batches import paired
from ..pictures.boxes import Box, Boxes, clip_box, shared, slices
from ..pictures.scene import check_scene
from .cutouts import cut_outs, resized
from .ground import Foot, foot_boxes
from .light import light_gain
from .shadows import ground_shadow

SHADOW, SOFTNESS, LIGHT = 0.8, 0.5, 0.5  # strengths that look right on most photographs
AROUND = 0.5  # of the object's longer side: how far its surroundings reach
ENOUGH = 512  # px of a side, to tell a scene's light


@dataclass(frozen=True)
class Placement:
    """Scenes with objects in them, N of each; where the effect is 0, a picture is its scene bit for bit."""

    images: Tensor  # [N,H,W,C] in 0..1
    objects: Tensor  # [N,H,W] in 0..1, their opacity
    effects: Tensor  # [N,H,W] in 0..1, the objects and their shadows
    boxes: list[list[Box]]  # around what is seen of the objects, those of each picture


def place(
    scene: Tensor,
    picture: Tensor,
    mask: Tensor | None,
    places: Boxes | Foot,
    *,
    shadow: float = SHADOW,
    softness: float = SOFTNESS,
    light: float = LIGHT,
) -> Placement:
    """Scenes [1|B,H,W,C] with the objects of pictures [1|B,h,w,3|4] in the boxes of each scene, or of all.

    The mask [1|B,h,w] is 1 on the object. An object keeps its shape, and stands in the middle of its box's lower side,
    as large as the box allows, or with its foot on a point; what lies outside the scene is cut off. `shadow`,
    `softness` and `light` are strengths in 0..1. Of several boxes in one picture the lower ones are in front.
    Everything is computed on the CPU, and the result stays there. Raises ValueError for what `cut_outs` and
    `foot_boxes` refuse, a scene that cannot be used, an object that would stand outside of it, strengths out of range,
    and batches that do not pair up.
    """
    for name, strength in (("shadow", shadow), ("softness", softness), ("light", light)):
        if not 0 <= strength <= 1:
            raise ValueError(f"{name} must be from 0 to 1; got {strength}.")
    scene = scene.cpu()
    pixels = check_scene(scene)
    objects = cut_outs(picture, mask)
    height, width = pixels.shape[1:3]
    boxes = foot_boxes(places, objects, height, width) if isinstance(places, Foot) else places
    count = paired(scenes=len(scene), objects=len(objects), pictures_with_boxes=len(boxes))
    images = (scene if scene.shape[-1] == 4 else pixels).expand(count, -1, -1, -1).clone()
    object_masks = torch.zeros(count, height, width)
    effects = torch.zeros(count, height, width)
    outlines = []
    for number in range(count):
        canvas = _Canvas(images[number, ..., :3], object_masks[number], effects[number])
        cut_out = objects[number if len(objects) > 1 else 0]
        from_the_back = sorted(boxes[number if len(boxes) > 1 else 0], key=lambda box: box[3])
        strengths = dict(shadow=shadow, softness=softness, light=light)
        outlines.append([canvas.stand(cut_out, box, **strengths) for box in from_the_back])
    return Placement(images, object_masks, effects, outlines)


def standing_box(cut_out: Tensor, box: Box) -> Box:
    """Where a cut-out [h,w,4] stands in a box: as large as fits, on its lower side, in the middle.

    Raises ValueError for a box without pixels.
    """
    x0, y0, x1, y1 = box
    if x0 >= x1 or y0 >= y1:
        raise ValueError(f"The box from ({x0}, {y0}) to ({x1}, {y1}) has no width or no height. Give it both.")
    height, width = cut_out.shape[:2]
    scale = min((x1 - x0) / width, (y1 - y0) / height)
    new_width = max(1, round(width * scale))
    left = x0 + (x1 - x0 - new_width) // 2
    return (left, y1 - max(1, round(height * scale)), left + new_width, y1)


@dataclass(frozen=True)
class _Canvas:
    """One picture that objects are put into, in place: pixels [H,W,3], and what they cover of it, [H,W] each."""

    pixels: Tensor
    objects: Tensor
    effect: Tensor

    def stand(self, cut_out: Tensor, box: Box, *, shadow: float, softness: float, light: float) -> Box:
        """Put a cut-out into a box; the box of what is seen of it."""
        height, width = self.effect.shape
        x0, y0, x1, y1 = standing_box(cut_out, box)
        visible = clip_box((x0, y0, x1, y1), height, width)
        layer = resized(cut_out, x1 - x0, y1 - y0)
        reach = round(AROUND * max(x1 - x0, y1 - y0))
        around = shared((x0 - reach, y0 - reach, x1 + reach, y1 + reach), (0, 0, width, height))
        step = 1 + max(height, width) // ENOUGH
        gain = light_gain(self.pixels[::step, ::step].float(), self.pixels[slices(around)].float(), cut_out, light)
        layer[..., :3] = torch.minimum(layer[..., :3] * gain, layer[..., 3:])
        darkness, left, top = ground_shadow(layer[..., 3], strength=shadow, softness=softness)
        self._lay(torch.stack([*darkness.new_zeros(3, *darkness.shape), darkness], -1), x0 + left, y0 + top)
        self._lay(layer, x0, y0)
        _mixed(self.objects, layer[..., 3], x0, y0)
        return visible

    def _lay(self, layer: Tensor, left: int, top: int) -> None:
        """Put a layer [h,w,4] of colours multiplied by their opacity over the pixels (Porter and Duff 1984)."""
        area, part = _overlap(layer, left, top, self.effect)
        colour, alpha = layer[part].to(self.pixels).split([3, 1], -1)
        pixels = self.pixels[area]
        pixels.copy_(torch.where(alpha > 0, colour + (1 - alpha) * pixels, pixels))
        _mixed(self.effect, layer[..., 3], left, top)


def _mixed(mask: Tensor, alpha: Tensor, left: int, top: int) -> None:
    """Put an opacity [h,w] over a mask [H,W], in place."""
    area, part = _overlap(alpha, left, top, mask)
    mask[area] = 1 - (1 - mask[area]) * (1 - alpha[part])


def _overlap(layer: Tensor, left: int, top: int, picture: Tensor) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """(rows and columns of a picture [H,W,...] that a layer [h,w,...] lies over, and the same of the layer)."""
    height, width = picture.shape[:2]
    x0, y0, x1, y1 = shared((left, top, left + layer.shape[1], top + layer.shape[0]), (0, 0, width, height))
    return slices((x0, y0, x1, y1)), slices((x0 - left, y0 - top, x1 - left, y1 - top))
