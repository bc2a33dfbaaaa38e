"""The verdict "copy-paste": what appeared in a restored scene is the object's picture itself, pixel by pixel."""

from __future__ import annotations

from dataclasses import replace

from PIL import Image
from torch import Tensor

from ..pictures.checks import check_filled, check_finite, rgb
from ..pictures.copies import FLAGGED, copy_paste_score
from ..pictures.files import pil_pictures
from .report import COPIED, Report
from .restore import Restoration

SMALLEST = 8  # px of a box's shorter side: below it everything looks alike


def reports_with_copies(restored: Restoration, object_pictures: Tensor) -> list[Report]:
    """The reports of restored scenes, with the verdict where one of the object's pictures [K,h,w,C] in 0..1 was pasted.

    Of a picture with alpha only what is opaque counts. Raises ValueError for pictures that are none or not finite.
    """
    check_filled(object_pictures, "The object's picture")
    check_finite(object_pictures, "The object's picture")
    pictures = pil_pictures(rgb(object_pictures).clamp(0, 1))
    masks = [one[..., 3].cpu().numpy() > 0.5 if one.shape[-1] == 4 else None for one in object_pictures]
    views = [(picture, mask) for picture, mask in zip(pictures, masks, strict=True) if mask is None or mask.any()]
    reports = []
    for image, box, report in zip(restored.images, restored.boxes, restored.reports, strict=True):
        scores = []
        if box is not None and min(box[2] - box[0], box[3] - box[1]) >= SMALLEST:
            result: Image.Image = pil_pictures(rgb(image[None]).float().clamp(0, 1))[0]
            scores = [copy_paste_score(result, box, picture, mask) for picture, mask in views]
        copied = bool(scores) and max(scores) > FLAGGED
        reports.append(replace(report, verdicts=(*report.verdicts, COPIED)) if copied else report)
    return reports
