"""Cut-outs: an object's picture without what is around it, at any size, without a fringe of what was around it.

A cut-out is [h,w,4] in 0..1 with colours multiplied by their opacity (Porter and Duff 1984), so that resampling does
not mix in the colours of transparent pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..pictures.boxes import slices
from ..pictures.masks import mask_box
from ..pictures.objects import check_object, check_object_mask
from ..pictures.resizing import resize

VISIBLE = 0.5 / 255  # what 8 bits keep
ALONG = 0.95  # of a picture's border


def cut_outs(picture: Tensor, mask: Tensor | None = None) -> list[Tensor]:
    """The cut-outs of objects' pictures [B,H,W,3|4], each as large as what is visible of it.

    The mask [B,H,W], 1 on the object, and the alpha channel say where the object is; with both, both. Raises ValueError
    for neither, a mask that looks inverted, an object of next to no pixels, and what `check_object` refuses.
    """
    picture = check_object(picture)
    mask = check_object_mask(mask, picture)
    if mask is None and picture.shape[-1] == 3:
        raise ValueError(
            "Nothing says where the object is in its picture. Give a mask that is 1 on the object (Load Image's is the "
            "other way round: put Invert Mask between), or a picture with alpha (Join Image with Alpha)."
        )
    if mask is not None and picture.shape[-1] == 3:
        for one in mask:
            _check_upright(one)
    opacity = torch.ones(picture.shape[:3])
    if mask is not None:
        opacity = opacity * mask.cpu()
    if picture.shape[-1] == 4:
        opacity = opacity * picture[..., 3].cpu().float().clamp(0, 1)
    return [_trimmed(pixels, one) for pixels, one in zip(picture[..., :3].cpu().float(), opacity, strict=True)]


def _check_upright(mask: Tensor) -> None:
    """Raise ValueError for a mask [H,W] that is 1 along the whole border and 0 inside."""
    border = torch.cat([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    if (border > 0.5).float().mean() > ALONG and mask.min() < 0.5:
        raise ValueError(
            "The object's mask is 1 along its picture's whole border and 0 inside, as Load Image's mask of a cut-out "
            "is: 1 where the picture is transparent. Put Invert Mask between. If the object is a frame, give it as "
            "a picture with alpha (Join Image with Alpha)."
        )


def _trimmed(pixels: Tensor, opacity: Tensor) -> Tensor:
    """A picture [H,W,3] of opacity [H,W] as a cut-out. Raises ValueError for one of which nothing is visible."""
    box = mask_box(opacity, VISIBLE)
    if box is None:
        raise ValueError(
            "The object is wholly transparent: nothing of it would be seen. Look at its mask and its alpha."
        )
    area = slices(box)
    alpha = opacity[area][..., None]
    return torch.cat([pixels[area].clamp(0, 1) * alpha, alpha], -1)


def resized(cut_out: Tensor, width: int, height: int) -> Tensor:
    """A cut-out in another size: bicubic, antialiased, no colour above its opacity, no opacity that 8 bits lose."""
    pixels = resize(cut_out[None], width, height)[0]
    alpha = pixels[..., 3:]
    return torch.minimum(pixels, alpha) * (alpha >= VISIBLE)
