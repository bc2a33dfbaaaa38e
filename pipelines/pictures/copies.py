"""A detector of copy-paste: results whose inserted pixels are the object picture's own.

Identity metrics reward pasting above everything else, so it is told apart: the object picture is laid over what
appeared at many sizes, as it is and mirrored, in its own shape and in that of what appeared, and the highest
correlation of the pixels counts. Light and contrast do not matter to it. Rotated or warped copies escape it.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from .boxes import Box
from .files import picture_tensor
from .masks import array_box

SIDE = 48  # px, the longer side of what appeared when it is compared
SCALES = np.geomspace(0.75, 1.75, 15)  # of the object picture to what appeared: a picture may have a wide margin
ALIKE = 0.05  # shapes that differ by less are tried as one
MARGIN = 0.4  # of what appeared, searched around it
PLAIN = 1e-3  # variance of colours, below which nothing can be told
FLAGGED = 0.9  # of 48 cases of the playroom all true pictures stay below 0.88, 47 pastes are above 0.91


def to_planes(picture: Image.Image) -> Tensor:
    """A picture as RGB [3,H,W] in 0..1."""
    return picture_tensor(picture.convert("RGB"))[0].movedim(-1, 0)


def correlations(picture: Tensor, spectrum: Tensor, template: Tensor, weight: Tensor) -> Tensor:
    """Normalised cross-correlations of a template [3,h,w] inside `weight` [h,w], where it fits into a picture [3,H,W].

    Pictures are in 0..1, the weight is 0 or 1; `spectrum` [2,3,H,W/2+1] is that of the picture and its square. Each
    channel's mean is left out. Empty where the template does not fit, or is plain.
    """
    height, width = picture.shape[1:]
    template_height, template_width = weight.shape
    total = weight.sum().clamp(min=1)
    centred = (template - (template * weight).sum((1, 2), keepdim=True) / total) * weight
    power = (centred**2).sum()
    if template_height > height or template_width > width or power < PLAIN * total:
        return picture.new_zeros(0)
    laid = torch.fft.rfft2(torch.cat([centred, weight[None]]), s=(height, width)).conj()
    spectra = torch.cat(
        [(spectrum[0] * laid[:3]).sum(0, True), (spectrum[1] * laid[3]).sum(0, True), spectrum[0] * laid[3]]
    )
    everywhere = torch.fft.irfft2(spectra, s=(height, width))
    products, squares, *sums = everywhere[:, : height - template_height + 1, : width - template_width + 1]
    spread = (squares - (torch.stack(sums) ** 2).sum(0) / total).clamp(min=float(PLAIN * total))
    return products / (spread * power).sqrt()


def _surroundings(result: Image.Image, box: Box) -> tuple[Image.Image, float]:
    """The part of the result around a box, scaled so that the box's longer side is SIDE, and that scale."""
    x0, y0, x1, y1 = box
    longer = max(x1 - x0, y1 - y0)
    margin = round(MARGIN * longer)
    part = ImageOps.expand(result, margin).crop((x0, y0, x1 + 2 * margin, y1 + 2 * margin))
    scale = SIDE / longer
    size = (round(part.width * scale), round(part.height * scale))
    return part.resize(size, Image.Resampling.BICUBIC, reducing_gap=3), scale


def copy_paste_score(result: Image.Image, box: Box, picture: Image.Image, mask: np.ndarray | None = None) -> float:
    """-1..1: how well the object picture (inside its mask [h,w], if there is one) explains what appeared in `box`."""
    surroundings, scale = _surroundings(result, box)
    searched = to_planes(surroundings)
    spectrum = torch.fft.rfft2(torch.stack([searched, searched**2]))
    inside = np.ones(picture.size[::-1], bool) if mask is None else mask
    cut = (0, 0, *picture.size) if mask is None else array_box(mask)
    template = picture.crop(cut)
    template_mask = Image.fromarray(inside.astype(np.uint8) * 255).crop(cut)
    own_scale = SIDE / max(template.size)
    width = (box[2] - box[0]) * scale
    height = (box[3] - box[1]) * scale
    shapes = [(template.width * own_scale, template.height * own_scale)]
    if abs(width / height / (template.width / template.height) - 1) > ALIKE:
        shapes.append((width, height))
    best = -1.0
    for shape, size in product(shapes, SCALES):
        pixels = (max(4, round(shape[0] * size)), max(4, round(shape[1] * size)))
        resized = to_planes(template.resize(pixels, Image.Resampling.BICUBIC, reducing_gap=3))
        weight = np.array(template_mask.resize(pixels, Image.Resampling.BILINEAR)) > 127
        weight = torch.from_numpy(weight).float()
        for laid in ((resized, weight), (resized.flip(-1), weight.flip(-1))):
            values = correlations(searched, spectrum, *laid)
            if values.numel():
                best = max(best, float(values.max()))
    return best
