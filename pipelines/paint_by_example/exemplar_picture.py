"""The exemplar before the vision encoder sees it: cut to the object, as in training.

Pictures are [B,H,W,C] in 0..1, masks [B,H,W] in 0..1 with 1 on the object.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..pictures.masks import mask_box
from ..pictures.objects import check_mask, check_picture, prepare_object


def crop_to_object(picture: Tensor, mask: Tensor, margin: int = 10) -> tuple[Tensor, Tensor]:
    """Picture [H,W,C] and mask [H,W] cut to the mask's box and `margin` px around it, as the exemplars of training.

    The mask's box is that of its values above one half. The original widens by at most 10 px, in its data's own sizes
    (ldm/data/open-images.py). Raises ValueError for an empty mask.
    """
    box = mask_box(mask > 0.5)
    if box is None:
        raise ValueError("The exemplar's mask is empty: it does not say where the object is.")
    x0, y0, x1, y1 = box
    rows, columns = slice(max(y0 - margin, 0), y1 + margin), slice(max(x0 - margin, 0), x1 + margin)
    return picture[rows, columns], mask[rows, columns]


def exemplar_pictures(
    pictures: Tensor,
    masks: Tensor | None,
    framing: str = "squash",
    background: str = "keep",
    margin: int = 10,
    mean_colour: Sequence[float] = (0.5, 0.5, 0.5),
) -> list[Tensor]:
    """What the vision encoder is shown of exemplars [B,H,W,C] with masks [B,H,W]: [1,H',W',3] each.

    A mask cuts the picture to the object and `margin` px around it. "squash" is the original's framing, "crop" that of
    diffusers. The errors are `prepare_object`'s.
    """
    pictures = check_picture(pictures)
    checked = check_mask(masks, pictures)
    if checked is None:
        return list(prepare_object(pictures, None, framing, background, mean_colour).split(1))
    checked = checked.expand(len(pictures), -1, -1)
    cut = [crop_to_object(one, mask, margin) for one, mask in zip(pictures, checked, strict=True)]
    return [prepare_object(one[None], mask[None], framing, background, mean_colour) for one, mask in cut]
