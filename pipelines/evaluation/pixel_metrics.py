"""Metrics on pixels. Pictures are float tensors [3,H,W] in 0..1 of one size, masks bool [H,W]."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

MOST_DECIBELS = 100.0  # what equal pictures get: a mean knows no infinity


def to_tensor(picture: Image.Image) -> Tensor:
    """The picture as RGB [3,H,W] in 0..1."""
    return torch.from_numpy(np.array(picture.convert("RGB"))).movedim(-1, 0).float() / 255


def _inside(a: Tensor, b: Tensor, mask: np.ndarray | None) -> tuple[Tensor, Tensor]:
    if mask is None:
        return a, b
    chosen = torch.from_numpy(mask)
    return a[:, chosen], b[:, chosen]


def l1(a: Tensor, b: Tensor, mask: np.ndarray | None = None) -> float:
    """The mean absolute difference, inside `mask` if there is one; NaN where that is empty."""
    return float(torch.nn.functional.l1_loss(*_inside(a, b, mask)))


def l2(a: Tensor, b: Tensor, mask: np.ndarray | None = None) -> float:
    """The mean squared difference, inside `mask` if there is one; NaN where that is empty."""
    return float(torch.nn.functional.mse_loss(*_inside(a, b, mask)))


def psnr(a: Tensor, b: Tensor, mask: np.ndarray | None = None) -> float:
    """The PSNR in dB, at most MOST_DECIBELS, inside `mask` if there is one; NaN where that is empty."""
    value = float(peak_signal_noise_ratio(*_inside(a, b, mask), data_range=1.0))
    return min(value, MOST_DECIBELS)


def filled(a: Tensor, b: Tensor, mask: np.ndarray) -> Tensor:
    """The picture that is `a` outside the mask and `b` inside."""
    return torch.where(torch.from_numpy(mask), b, a)


def ssim(a: Tensor, b: Tensor, mask: np.ndarray) -> float:
    """SSIM (Gaussian window of 11 px) averaged inside `mask`; outside it both are `b`. NaN where it is empty."""
    compared = filled(a, b, ~mask)[None]
    _, everywhere = structural_similarity_index_measure(compared, b[None], data_range=1.0, return_full_image=True)
    return float(everywhere[0, :, torch.from_numpy(mask)].mean())
