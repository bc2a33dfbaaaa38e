"""The exemplar before the vision encoder sees it: cut to the object, as in training.

Pictures are [B,H,W,C] in 0..1, masks [B,H,W] in 0..1 with 1 on the object.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor

from ..pictures.boxes import slices
from ..pictures.masks import mask_box
from ..pictures.objects import check_object, check_object_mask, prepare_object, turned_mask, upside_down


def crop_to_object(picture: Tensor, mask: Tensor, margin: int = 10) -> tuple[Tensor, Tensor]:
    """Picture [H,W,C] and mask [H,W] cut to the mask's box and `margin` px around it, as the exemplars of training.

    The mask's box is that of its values above one half. The original widens by at most 10 px, in its data's own sizes
    (ldm/data/open-images.py). Raises ValueError for an empty mask.
    """
    box = mask_box(mask > 0.5)
    if box is None:
        raise ValueError("The exemplar's mask is empty: it does not say where the object is.")
    x0, y0, x1, y1 = box
    rows, columns = slices((max(x0 - margin, 0), max(y0 - margin, 0), x1 + margin, y1 + margin))
    return picture[rows, columns], mask[rows, columns]


def exemplar_pictures(
    pictures: Tensor,
    masks: Tensor | None,
    *,
    framing: str = "squash",
    background: str = "keep",
    margin: int = 10,
    mean_colour: Sequence[float] = (0.5, 0.5, 0.5),
) -> list[Tensor]:
    """What the vision encoder is shown of exemplars [B,H,W,C] with masks [B,H,W]: [1,H',W',3] each.

    A mask cuts the picture to the object and `margin` px around it. "squash" is the original's framing, "crop" that of
    diffusers. "auto" is "keep", as in training; a mask that is upside down, as Load Image's of a cut-out, is turned
    round, and then the mean colour hides what is around the object. The errors are `prepare_object`'s.
    """
    pictures = check_object(pictures)
    masks = check_object_mask(masks, pictures)
    if background == "auto":
        cut_out = masks is not None and bool(upside_down(masks).any())
        masks = turned_mask(masks)
        background = "mean" if cut_out else "keep"
    prepare = partial(prepare_object, framing=framing, background=background, mean_colour=mean_colour)
    if masks is None:
        return list(prepare(pictures).split(1))
    masks = masks.expand(len(pictures), -1, -1)
    crops = [crop_to_object(picture, mask, margin) for picture, mask in zip(pictures, masks, strict=True)]
    return [prepare(picture[None], mask[None]) for picture, mask in crops]
