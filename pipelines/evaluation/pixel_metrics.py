"""Metrics on pixels. Pictures are float tensors [3,H,W] in 0..1 of one size, masks bool [H,W]."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor

MOST_DECIBELS = 100.0  # what equal pictures get: a mean knows no infinity
SSIM_SIGMA = 1.5  # px, of the window of 11 px (Wang et al. 2004)
SSIM_RADIUS = 5  # px
SSIM_LIGHT = 0.01**2
SSIM_CONTRAST = 0.03**2


def to_tensor(picture: Image.Image) -> Tensor:
    """The picture as RGB [3,H,W] in 0..1."""
    return torch.from_numpy(np.array(picture.convert("RGB"))).movedim(-1, 0).float() / 255


def mean_inside(planes: Tensor, mask: np.ndarray | None) -> float:
    """The mean of [3,H,W], inside `mask` if there is one; NaN where that is empty. Threads do not change it."""
    pixels = planes.numpy()
    if mask is None:
        return float(pixels.mean(dtype=np.float64))
    count = len(pixels) * int(mask.sum())
    return float((pixels * mask).sum(dtype=np.float64)) / count if count else float("nan")


def l1(a: Tensor, b: Tensor, mask: np.ndarray | None = None) -> float:
    """The mean absolute difference, inside `mask` if there is one; NaN where that is empty."""
    return mean_inside((a - b).abs(), mask)


def l2(a: Tensor, b: Tensor, mask: np.ndarray | None = None) -> float:
    """The mean squared difference, inside `mask` if there is one; NaN where that is empty."""
    return mean_inside((a - b).square(), mask)


def psnr(a: Tensor, b: Tensor, mask: np.ndarray | None = None) -> float:
    """The PSNR in dB, at most MOST_DECIBELS, inside `mask` if there is one; NaN where that is empty."""
    error = l2(a, b, mask)
    return min(-10 * np.log10(error), MOST_DECIBELS) if error else MOST_DECIBELS


def filled(a: Tensor, b: Tensor, mask: np.ndarray) -> Tensor:
    """The picture that is `a` outside the mask and `b` inside."""
    return torch.where(torch.from_numpy(mask), b, a)


def ssim(a: Tensor, b: Tensor, mask: np.ndarray) -> float:
    """SSIM (Gaussian window of 11 px) averaged inside `mask`; outside it both are `b`. NaN where it is empty.

    In float64, the window row by row and column by column: the same sums as torchmetrics' dense window. Only the part
    with pixels that differ is looked at: elsewhere it is 1.
    """
    if not mask.any():
        return float("nan")
    one, other = (pixels.double().numpy() for pixels in (filled(a, b, ~mask), b))
    rows, columns = np.nonzero((one != other).any(0))
    if not len(rows):
        return 1.0
    reach = 2 * SSIM_RADIUS  # of a window, and of the windows that its values are made of: farther away it is 1
    part = (
        slice(max(0, rows.min() - reach), rows.max() + reach + 1),
        slice(max(0, columns.min() - reach), columns.max() + reach + 1),
    )
    one = one[:, part[0], part[1]]
    other = other[:, part[0], part[1]]
    mean, other_mean, square, other_square, product = (
        window_mean(planes) for planes in (one, other, one * one, other * other, one * other)
    )
    variances = np.maximum(square - mean**2, 0) + np.maximum(other_square - other_mean**2, 0)
    light = (2 * mean * other_mean + SSIM_LIGHT) / (mean**2 + other_mean**2 + SSIM_LIGHT)
    structure = (2 * (product - mean * other_mean) + SSIM_CONTRAST) / (variances + SSIM_CONTRAST)
    lost = 1 - (light * structure)[:, mask[part]]
    return 1 - float(lost.sum()) / (len(one) * int(mask.sum()))


def window_mean(planes: np.ndarray) -> np.ndarray:
    """Planes [C,H,W] averaged in SSIM's window around each pixel, mirrored at the edges."""
    sigmas = (0, SSIM_SIGMA, SSIM_SIGMA)
    return np.asarray(ndimage.gaussian_filter(planes, sigmas, mode="mirror", radius=(0, SSIM_RADIUS, SSIM_RADIUS)))
