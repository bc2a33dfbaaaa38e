"""Give a model a picture of a size that it works at, and bring what it makes of it back to the scene's size.

Pictures are [B,H,W,C], masks [B,H,W], both in 0..1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..pictures.batches import paired
from ..pictures.boxes import Box, corners, moved, shared, slices
from ..pictures.checks import check_filled, check_finite, rgb
from ..pictures.masks import optional_mask
from ..pictures.resizing import resize, resize_mask
from .families import family_of
from .frames import Frame, frame_of

ASPECT = 1.05  # how much an edited picture may differ in shape: API models round their sizes


@dataclass(frozen=True)
class Fit:
    """How a scene was fitted: all that undoing needs."""

    scene: Tensor  # [B,H,W,C], the very tensor that came in
    frame: Frame

    @property
    def common(self) -> Box:
        """What frame and scene share, in px of the scene."""
        height, width = self.scene.shape[1:3]
        return shared(corners(*self.frame[:4]), (0, 0, width, height))


def mirrored(pictures: Tensor, start: int, length: int, axis: int) -> Tensor:
    """`length` rows or columns from `start` on of pictures [B,H,W,C]; outside they are mirrored, as often as needed."""
    side = pictures.shape[axis]
    if 0 <= start and start + length <= side:
        return pictures.narrow(axis, start, length)
    places = torch.arange(start, start + length, device=pictures.device) % (2 * side)
    return pictures.index_select(axis, torch.minimum(places, 2 * side - 1 - places))


def fit_mask(mask: Tensor | None, fit: Fit) -> Tensor:
    """The masks [1|B,h,w] of scenes, fitted; without a mask what of the picture is scene: 1, and 0 in the padding.

    Raises ValueError for what `masks.check_mask` refuses, and for a mask of which a crop leaves nothing.
    """
    height, width = fit.scene.shape[1:3]
    frame = fit.frame
    mask = optional_mask(mask, height, width)
    rows, columns = slices(fit.common)
    inside = (
        torch.ones(1, rows.stop - rows.start, columns.stop - columns.start) if mask is None else mask[:, rows, columns]
    )
    if not inside.any():
        raise ValueError("Nothing of the mask lies in the part that is kept. Use method = pad, or Local Region Crop.")
    whole = torch.zeros(len(inside), frame.height, frame.width)
    rows, columns = slices(moved(fit.common, -frame.left, -frame.top))
    whole[:, rows, columns] = inside
    return resize_mask(whole, *frame.size)


def fit_for_edit(
    scene: Tensor,
    mask: Tensor | None = None,
    *,
    model: str,
    method: str = "pad",
    multiple: int = 16,
    megapixels: float = 1.0,
) -> tuple[Tensor, Tensor, Fit]:
    """(fitted pictures [B,h,w,3], their masks [1|B,h,w], how they were fitted) of scenes [B,H,W,C] and a mask of them.

    `model` is one of `families.MODELS`, whose sizes are met by padding, mirrored, or by cropping, both around the
    middle; what is too large or too small for all of them is resized as a whole (bicubic, antialiased). `multiple` and
    `megapixels`, at most, are those of "custom". Alpha is left out, grey repeated.

    Raises ValueError for what `family_of`, `frame_of` and `fit_mask` refuse, for scenes that are no pictures, and for
    NaN or infinity.
    """
    check_filled(scene, "The scene")
    check_finite(scene, "The scene")
    height, width = scene.shape[1:3]
    frame = frame_of(width, height, family_of(model, multiple, megapixels), method)
    fit = Fit(scene, frame)
    masks = fit_mask(mask, fit)
    paired(scenes=len(scene), masks=len(masks))
    part = mirrored(rgb(scene), frame.top, frame.height, axis=1)
    part = mirrored(part, frame.left, frame.width, axis=2)
    return resize(part, *frame.size).contiguous(), masks, fit


def undo_fit(edited: Tensor, fit: Fit) -> Tensor:
    """Edited pictures [N,h,w,C] of any size back at the scenes' size and place, [N,H,W,3|4].

    What padding added is cut off; what cropping cut off, and alpha, are the scene's. Where nothing was resized, the
    fitted picture itself gives the scene, bit for bit. A picture is taken to show all that was fitted: within 5 % of
    its shape it is stretched to it. Raises ValueError for another shape, no pictures, NaN or infinity, and counts that
    do not pair up.
    """
    check_filled(edited, "The edited picture")
    check_finite(edited, "The edited picture")
    frame, scene = fit.frame, fit.scene
    height, width = edited.shape[1:3]
    fitted_width, fitted_height = frame.size
    if not 1 / ASPECT <= width / height * fitted_height / fitted_width <= ASPECT:
        raise ValueError(
            f"The edited picture is {width}x{height} px, but what was fitted {fitted_width}x{fitted_height} px: it is "
            "of another shape, and whether it was cropped, padded or stretched cannot be told. Let the model make this "
            "shape, or give the scene and the edited picture to Restore Scene, which looks for itself."
        )
    count = paired(scenes=len(scene), edited_pictures=len(edited))
    whole = resize(rgb(edited), frame.width, frame.height)
    result = scene.expand(-1, -1, -1, max(3, scene.shape[3])).expand(count, -1, -1, -1)
    result = result.clone(memory_format=torch.contiguous_format)
    rows, columns = slices(fit.common)
    kept_rows, kept_columns = slices(moved(fit.common, -frame.left, -frame.top))
    result[:, rows, columns, :3] = whole[:, kept_rows, kept_columns].to(result)
    return result
