"""Where a run's subject is in its picture: mask, points and box in px, of the maps that the model's tokens make."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from ..pictures.boxes import Boxes
from .subject_map import mask_note, peaks, rough_mask, smoothed_map, subject_box


@dataclass(frozen=True)
class SubjectPlace:
    """The subject in pictures [B,H,W,C]."""

    mask: Tensor  # [B,H,W] of 0 and 1
    map: Tensor  # [B,H,W] in 0..1
    points: list[tuple[int, int]]  # x, y in px of the first picture, the highest peak first
    boxes: Boxes  # around each mask
    notes: list[str]  # what is wrong with masks


def subject_place(maps: Tensor, height: int, width: int) -> SubjectPlace:
    """The place of a subject with maps [B,h,w] in pictures of `height` x `width` px.

    Raises ValueError for maps that are not finite.
    """
    masks = rough_mask(maps)
    boxes = [subject_box(mask, height=height, width=width) for mask in masks]
    notes = [note for mask in masks if (note := mask_note(mask))]
    size = (height, width)
    return SubjectPlace(
        mask=F.interpolate(masks[:, None].float(), size, mode="nearest")[:, 0],
        map=F.interpolate(smoothed_map(maps)[:, None], size, mode="bilinear", align_corners=False)[:, 0],
        points=peaks(maps[0], masks[0], height=height, width=width),
        boxes=[[box] if box else [] for box in boxes],
        notes=list(dict.fromkeys(notes)),
    )
