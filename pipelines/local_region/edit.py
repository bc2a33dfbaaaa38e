"""Crop, edit, paste: one call for a part of a scene that is edited at the model's own size."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ..pictures.boxes import Box
from .cutting import cut
from .pasting import paste

Edit = Callable[[Tensor, Tensor], Tensor]  # a crop [1,h,w,3] and its mask [1,h,w] to the new crop [1,h,w,3]


def edit_region(
    scene: Tensor,
    edit: Edit,
    *,
    mask: Tensor | None = None,
    box: Box | None = None,
    working_size: int = 512,
    expansion: float = 0.5,
    area: str = "changes",
) -> Tensor:
    """The scene [1,H,W,C] in 0..1 with the region around a mask [H,W] or a box edited, all else bit for bit its own.

    `working_size` is the crop's longer side in px, `expansion` what is seen around the region in its sides, `area` what
    of the edited crop is pasted. Raises ValueError for what `cut` and `paste` refuse.
    """
    region, crop_mask = cut(scene, mask, box, expansion=expansion, working_size=working_size)
    return paste(region, edit(region.crops, crop_mask), area=area)[0]
