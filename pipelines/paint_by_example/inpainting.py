"""What Paint by Example's UNet sees of the scene: mask, masked scene, and their order among its nine channels.

A mask of this pack is 1 where the object goes. Inside the model it is the other way round: 1 keeps, 0 is painted.
Sources: Fantasy-Studio/Paint-by-Example, scripts/inference.py and ldm/models/diffusion/plms.py (`p_sample_plms`);
diffusers' `PaintByExamplePipeline` (`prepare_mask_and_masked_image`, `prepare_mask_latents`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..pictures.masks import check_mask, touched_cells
from ..pictures.scene import CELL, pad_to_multiple

LATENT_MASKS = ("rounded", "nearest", "touched", "soft")  # how a mask becomes one of latent size


def binary_mask(mask: Tensor, scene: Tensor) -> Tensor:
    """The mask [B,H,W] or [H,W] of scenes [B,H,W,C], binary and on their device: 1 where the object goes.

    Above one half counts as inside, as in both references (keep = 1 - mask, and keep >= 0.5 is kept). Raises
    ValueError for what `masks.check_mask` refuses, nothing to paint in one of them or nothing to keep.
    """
    mask = check_mask(mask.to(scene.device), *scene.shape[1:3])
    painted = mask > 0.5
    peaks = mask.flatten(1).amax(1)
    if not peaks.all():
        raise ValueError(
            f"Mask {int(peaks.argmin())} of 0 to {len(mask) - 1} is empty: nothing would be painted there. Take its "
            "picture out of the batch, or cut with Local Region Crop, which leaves such a picture as it is."
        )
    if not painted.flatten(1).any(1).all():
        peak = float(peaks.min())
        raise ValueError(
            f"The mask is too faint: its largest value is {peak:.2g}, and only above 0.5 counts. Paint it stronger."
        )
    if painted.flatten(1).all(1).any():
        raise ValueError(
            "The mask covers the whole scene: nothing of it would be left for the object to fit into. Paint only the "
            "place where the object goes, or invert the mask."
        )
    return painted.to(mask.dtype)


def masked_scene(scene: Tensor, mask: Tensor) -> Tensor:
    """Scenes [B,H,W,3] in 0..1 with mid-grey where the binary mask [B,H,W] is 1: zero in the VAE's -1..1."""
    return torch.where(mask[..., None] > 0.5, 0.5, scene)


def latent_mask(mask: Tensor, rule: str = "rounded") -> Tensor:
    """The binary mask [B,H,W], H and W multiples of 8, at latent size [B,1,h,w]; 1 where the object goes.

    "soft" is the original's: torchvision 0.12's resize, bilinear without antialias, so quarter steps on edges.
    "rounded" is the same in black and white, as the host has it; "nearest" is diffusers' (top left pixel of a cell);
    "touched" is 1 where any pixel of the cell is.
    Raises ValueError for another rule, or when nothing is left of a mask or nothing but it.
    """
    pixels = mask[:, None]
    size = (mask.shape[1] // CELL, mask.shape[2] // CELL)
    if rule == "nearest":
        cells = F.interpolate(pixels, size, mode="nearest")
    elif rule == "touched":
        cells = touched_cells(mask, CELL)
    elif rule in ("rounded", "soft"):
        cells = F.interpolate(pixels, size, mode="bilinear", align_corners=False)
        cells = cells.round() if rule == "rounded" else cells
    else:
        raise ValueError(f"Unknown rule '{rule}' for the mask; use {', '.join(LATENT_MASKS)}.")
    if not cells.flatten(1).any(1).all():
        raise ValueError(
            f"The mask is too thin: nothing is left of it in latent cells of {CELL} px. Grow it, or set the mask's "
            "resize to 'touched'."
        )
    return cells


def nine_channels(noisy: Tensor, masked: Tensor, mask: Tensor) -> Tensor:
    """The UNet's input [B,9,h,w]: noisy latents [B,4,h,w], masked scene's latents, scaled, and 1 - mask [B,1,h,w].

    The host's and diffusers' Stable Diffusion inpainting has mask before scene and 1 for what is painted.
    """
    return torch.cat([noisy, masked.expand_as(noisy), (1 - mask).to(noisy).expand(len(noisy), -1, -1, -1)], dim=1)


def pad_scene(scene: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Scenes [B,H,W,3] and masks [B,H,W] with the last row and column repeated up to whole latent cells."""
    return pad_to_multiple(scene, CELL), pad_to_multiple(mask[..., None], CELL)[..., 0]


def guided(null: Tensor, exemplar: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance, e(null) + scale (e(exemplar) - e(null)): how much like the exemplar (section 3.5).

    `null` and `exemplar` [B,4,h,w] are what the UNet predicts with the one context and with the other.
    """
    return null + scale * (exemplar - null)
