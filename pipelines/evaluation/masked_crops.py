"""How like the object is what is in the mask: InsertSet's scores (IEEE TVCG 10753453), by the authors' scripts.

dorianzhang7/TVCG-insertion at 1d89c17, eval_tool/clip_score: region_dinov2_score.py (with CLIP in it as well) and
test_bench_dataset.py. CLIP's statistics normalise for DINOv2, too; what is outside the mask is made 0 after that, so
that it is no black but the statistics' mean; the crop is resized bilinearly without antialiasing, as torchvision 0.12
does it; the reference is squashed by Pillow. Not followed: the script's crop is the box of one of the contours that
Canny finds, and its padding may leave a long crop a pixel from square; here it is the mask's box, and square.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as V

from ..pictures.boxes import slices
from ..pictures.masks import array_box
from .cases import Case, object_box
from .features import CLIP_STATISTICS, Features

HUNDRED = 100.0  # times the cosine


def masked_similarities(
    metric: str, features: Features, case: Case, results: Mapping[str, Image.Image]
) -> dict[str, dict[str, float]]:
    """100 times the cosines of the mask's contents in each result with the case's reference, by method and metric.

    Without a reference they are compared with each of the object pictures, cut to the object, and the mean counts.
    """
    if case.mask is None or not case.objects:
        return {}
    references = [(case.reference, None)] if case.reference is not None else case.views()
    compared = [squashed(picture, mask, features.side) for picture, mask in references]
    contents = [masked_square(picture, case.mask, features.side) for picture in results.values()]
    vectors = features.prepared(torch.stack([*compared, *contents]))
    cosines = (vectors[len(compared) :] @ vectors[: len(compared)].T).mean(1)
    return {method: {metric: HUNDRED * float(cosine)} for method, cosine in zip(results, cosines, strict=True)}


def normalised(picture: Image.Image) -> Tensor:
    """A picture as [3,H,W] by CLIP's statistics."""
    mean, std = map(list, CLIP_STATISTICS)
    return V.normalize(V.to_tensor(picture.convert("RGB")), mean, std)


def squashed(picture: Image.Image, mask: np.ndarray | None, side: int) -> Tensor:
    """The picture, or the box of its mask, as [3,side,side] by CLIP's statistics, whatever its proportions."""
    crop = picture.convert("RGB").crop(object_box(picture, mask))
    return normalised(crop.resize((side, side), Image.Resampling.BICUBIC))


def masked_square(picture: Image.Image, mask: np.ndarray, side: int) -> Tensor:
    """What is inside a mask [H,W] bool of the picture, as [3,side,side] by CLIP's statistics, all else 0."""
    pixels = normalised(picture) * torch.from_numpy(mask)
    rows, columns = slices(array_box(mask))
    crop = pixels[:, rows, columns]
    height, width = crop.shape[1:]
    tall = max(0, width - height)  # px that it lacks
    wide = max(0, height - width)
    square = F.pad(crop, ((wide + 1) // 2, wide // 2, (tall + 1) // 2, tall // 2))
    return V.resize(square, [side, side], InterpolationMode.BILINEAR, antialias=False)
