"""The object's picture before the vision encoder sees it: alpha, background, framing.

Pictures are [B,H,W,C] in 0..1, masks [B,H,W] in 0..1 with 1 on the object.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as V

from .checks import check_finite, check_pictures, check_size, mask_batch, rgb
from .masks import mask_box, painted_mask

FRAMINGS = ("squash", "pad", "crop")
BACKGROUNDS = ("keep", "mean", "white", "grey", "auto")
MARGIN = 1 / 8  # of the object's longer side, on each side of it, with background = auto: as the playroom's objects lie
RIM = 0.01  # by so much more of the border than of the whole picture is covered by a mask that is upside down
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


def upside_down(mask: Tensor) -> Tensor:
    """Which masks [B,H,W] are 1 around an object and 0 on it, as Load Image's of a cut-out is: [B] bool.

    A mask is when it covers more than half of the picture's border, and more of the border than of the whole picture.
    What touches the border all around and has a hole, as an archway or a wreath, is taken for one too.
    """
    painted = (mask > 0.5).float()
    border = torch.cat([painted[:, 0], painted[:, -1], painted[:, 1:-1, 0], painted[:, 1:-1, -1]], 1).mean(1)
    return (border > 0.5) & (border > painted.mean((1, 2)) + RIM)


def turned_mask(mask: Tensor | None) -> Tensor | None:
    """Masks [B,H,W] in 0..1, those that are `upside_down` the other way round; None for none."""
    return None if mask is None else torch.where(upside_down(mask)[:, None, None], 1 - mask, mask)


def mask_remark(mask: Tensor | None, background: str = "") -> str:
    """What to tell of an object's mask that is `upside_down`; "" where all is well.

    The mask is of any form of `mask_batch`; `background` is one of BACKGROUNDS, or "" where there is no such choice.
    """
    mask = painted_mask(mask)
    if mask is None:
        return ""
    if upside_down(mask_batch(mask)).any():
        what = "The mask is white around the object and black on it, as Load Image's is for a cut-out"
        if background == "auto":
            return f"{what}: it was turned round. To use it as it is, choose another background than auto."
        remedy = "choose background = auto, or put Invert Mask between" if background else "put Invert Mask between"
        return f"{what}: the background is taken for the object. If that is not meant, {remedy}."
    return ""


def idle_mask_remark(mask: Tensor | None, background: str) -> str:
    """What to tell where a mask says where the object is and nothing is hidden; "" for another background than keep."""
    if painted_mask(mask) is None or background != "keep":
        return ""
    return "With background = keep the mask does nothing. To show the object alone, choose background = auto."


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
    "auto" is "keep" without a mask or an alpha channel; with one the mean colour hides what is around the object, the
    picture is cut to a square around it (`object_square`), and a mask that is `upside_down` is turned round.

    Raises ValueError for an unknown setting, a background to hide but nothing that says where it
    is, and whatever `check_object` and `check_object_mask` refuse.
    """
    if background not in BACKGROUNDS:
        raise ValueError(f"Unknown background '{background}'; use {', '.join(BACKGROUNDS)}.")
    picture = check_object(picture)
    mask = check_object_mask(mask, picture)
    if background == "auto":
        mask = turned_mask(mask)
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
        if background == "auto":
            picture = object_square(picture, opacity, colour)
    elif background not in ("keep", "auto") and framing != "pad":
        raise ValueError(
            f"background = {background} hides what is around the object, but neither a mask nor an "
            "alpha channel says where the object is. Give a mask, or use background = keep."
        )
    return frame(picture, framing, colour)


def object_square(picture: Tensor, opacity: Tensor, colour: Tensor) -> Tensor:
    """Pictures [B,H,W,3] cut to squares [B,S,S,3] around objects of opacity [B,H,W], with MARGIN; one S for the batch.

    The largest object of the batch sets S. Where a square reaches out of its picture it has the `colour` [3].
    """
    boxes = [mask_box(one) or mask_box(one > 0) or (0, 0, one.shape[1], one.shape[0]) for one in opacity]
    longest = max(max(x1 - x0, y1 - y0) for x0, y0, x1, y1 in boxes)
    side = round(longest * (1 + 2 * MARGIN))
    squares = colour.expand(len(picture), side, side, 3).clone()
    height, width = picture.shape[1:3]
    for square, own, (x0, y0, x1, y1) in zip(squares, picture, boxes, strict=True):
        left = (x0 + x1 - side) // 2
        top = (y0 + y1 - side) // 2
        columns = slice(max(left, 0), min(left + side, width))
        rows = slice(max(top, 0), min(top + side, height))
        square[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = own[rows, columns]
    return squares


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
