"""The object's picture before the vision encoder sees it: alpha, background, framing.

Pictures are [B,H,W,C] in 0..1, masks [B,H,W] in 0..1 with 1 on the object.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as V

from .checks import check_finite, check_pictures, check_size, mask_batch, rgb
from .masks import painted_mask

FRAMINGS = ("squash", "pad", "crop")
BACKGROUNDS = ("keep", "mean", "white", "grey")
MIN_PIXELS = 16  # a smaller object is noise to any encoder


def check_object(picture: Tensor) -> Tensor:
    """Pictures of an object [B,H,W,C] with 3 or 4 channels; one channel is repeated to three.

    Raises ValueError for another shape, no pixels or too few, NaN or infinity.
    """
    check_pictures(picture, "The object")
    count, height, width, channels = picture.shape
    if not count or height * width < MIN_PIXELS:
        raise ValueError(
            f"The object's picture is too small: {count} x {width}x{height} px; "
            f"at least {MIN_PIXELS} pixels are needed."
        )
    check_finite(picture, "The object's picture")
    return rgb(picture) if channels == 1 else picture


def check_object_mask(mask: Tensor | None, picture: Tensor) -> Tensor | None:
    """The mask of an object's pictures [B,H,W,C] in any form of `mask_batch` as [B,H,W] in 0..1, or None for none.

    An unpainted mask counts as none (`masks.painted_mask`). Raises ValueError for a mask of another size or count than
    the pictures, one of several that covers nothing, NaN or infinity.
    """
    mask = painted_mask(mask)
    if mask is None:
        return None
    mask = mask_batch(mask)
    count, height, width = picture.shape[:3]
    advice = "Give a mask of the picture's size."
    check_size(mask, height, width, "The object's mask", of="its picture", advice=advice)
    if len(mask) not in (1, count):
        raise ValueError(f"{len(mask)} masks do not pair up with {count} pictures of the object.")
    check_finite(mask, "The object's mask")
    _check_extent(mask, "mask")
    return mask.clamp(0, 1)


def _check_extent(opacity: Tensor, name: str) -> None:
    """Raise ValueError when an object of opacity [B,H,W] has almost no pixels."""
    for index, pixels in enumerate((opacity > 0).flatten(1).sum(1).tolist()):
        if pixels < MIN_PIXELS:
            raise ValueError(
                f"The {name} of the object's picture {index} covers {pixels} pixels; "
                f"at least {MIN_PIXELS} are needed to see an object."
            )


def frame(picture: Tensor, framing: str, colour: Tensor) -> Tensor:
    """Pictures [B,H,W,3] in the encoder's square frame; `colour` [3] fills what padding adds.

    "squash" leaves the picture as it is: the encoder's own resize makes it square, as in training.
    "pad" adds margins, "crop" cuts them off, both around the centre. Raises ValueError for others.
    """
    height, width = picture.shape[1:3]
    if framing == "squash":
        return picture
    if framing == "pad":
        side = max(height, width)
        top = (side - height) // 2
        left = (side - width) // 2
        padded = colour.to(picture).expand(len(picture), side, side, 3).clone()
        padded[:, top : top + height, left : left + width] = picture
        return padded
    if framing == "crop":
        side = min(height, width)
        top = (height - side) // 2
        left = (width - side) // 2
        return picture[:, top : top + side, left : left + side]
    raise ValueError(f"Unknown framing '{framing}'; use {', '.join(FRAMINGS)}.")


def prepare_object(
    picture: Tensor,
    mask: Tensor | None = None,
    *,
    framing: str = "squash",
    background: str = "keep",
    mean_colour: Sequence[float] = (0.5, 0.5, 0.5),
) -> Tensor:
    """Pictures of an object [B,H,W,1|3|4] -> what the encoder is shown, [B,H',W',3], 0..1.

    `background` is what takes the place of everything outside `mask`, of transparent pixels and of
    padding: "mean" (`mean_colour`, the encoder's zero), "white" or "grey" (0.5). "keep" leaves the
    picture's own background and uses the mean colour where there is none. Without a mask the alpha
    channel is the mask. Hiding the background is what AnyDoor gains from (arXiv 2307.09481).

    Raises ValueError for an unknown setting, a background to hide but nothing that says where it
    is, and whatever `check_object` and `check_object_mask` refuse.
    """
    if background not in BACKGROUNDS:
        raise ValueError(f"Unknown background '{background}'; use {', '.join(BACKGROUNDS)}.")
    picture = check_object(picture)
    mask = check_object_mask(mask, picture)
    fixed = {"white": [1.0] * 3, "grey": [0.5] * 3}
    colour = torch.tensor(fixed.get(background, list(mean_colour))).to(picture)
    opacity = None
    if picture.shape[-1] == 4:
        opacity = picture[..., 3].clamp(0, 1)
        _check_extent(opacity, "alpha channel")
        picture = picture[..., :3]
    if mask is not None and background != "keep":
        opacity = mask.to(picture) if opacity is None else opacity * mask.to(picture)
    if opacity is not None:
        picture = torch.lerp(colour, picture, opacity[..., None].expand_as(picture))
    elif background != "keep" and framing != "pad":
        raise ValueError(
            f"background = {background} hides what is around the object, but neither a mask nor an "
            "alpha channel says where the object is. Give a mask, or use background = keep."
        )
    return frame(picture, framing, colour)


def crop_box(picture: Tensor, box: tuple[float, float, float, float], size: int, margin: float = 10) -> Tensor:
    """A box of a picture [3,H,W] and `margin` px around it, squashed to [3,size,size] as Paint by Example does.

    The box may lie between pixels, and reach out of the picture.
    """
    height, width = picture.shape[-2:]
    x0, y0, x1, y1 = box
    left = max(0, round(x0 - margin))
    top = max(0, round(y0 - margin))
    crop_width = max(1, min(width, round(x1 + margin)) - left)
    crop_height = max(1, min(height, round(y1 + margin)) - top)
    bicubic = V.InterpolationMode.BICUBIC
    return V.resized_crop(
        picture, top, left, crop_height, crop_width, size=[size, size], interpolation=bicubic, antialias=True
    )
