"""How a run keeps to its scene: the structure taken over at the start, one blend of latents, real pictures re-noised.

Add-it, arXiv 2411.07232, sections 3.3 to 3.5. A real picture is not inverted: at every step the source row is the clean
latents with the same noise at the step's level, which ends in the picture itself. `inverted` is the other way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ..pictures.parts import labelled_parts
from ..pictures.resizing import resize_mask
from ..restoration.change_map import change_map

TOUCHED = 0.01  # a latent cell that the mask touches at all
Velocity = Callable[[Tensor, float], Tensor]


def noised(latents: Tensor, noise: Tensor, sigma: float) -> Tensor:
    """Clean latents at a noise level of rectified flow, (1 - sigma) z + sigma eps: a real picture's source row, and at
    the start the target's own latents (section 3.3), each with its own noise."""
    return (1 - sigma) * latents + sigma * noise


def latent_mask(mask: Tensor, height: int, width: int, threshold: float = TOUCHED) -> Tensor:
    """Masks [B,h,w] for latents, [B,1,height,width] of 0 and 1: a smaller mask bilinear and then above the threshold,
    of a larger one the largest value of each cell.

    The default takes in every cell that the mask reaches, which widens it by less than one of its own cells.
    """
    return (resize_mask(mask, width, height)[:, None] > threshold).float()


def blended(target: Tensor, source: Tensor, mask: Tensor) -> Tensor:
    """Target latents [B,C,h,w] where the mask [B,1,h,w] is 1, the source's at the same noise level where it is 0."""
    mask = mask.to(target)
    return mask * target + (1 - mask) * source.to(target)


def refined_mask(rough: Tensor, scene: Tensor, edited: Tensor) -> Tensor:
    """A rough mask [H,W] bool brought to what changed there between a scene and its edit, both [H,W,3] in 0..1.

    Of the change map, the connected changes that lie in the rough mask for the most part, or fill a good part of it;
    the rough mask itself where nothing of the kind is found.
    """
    hint = rough.cpu().numpy()
    if not hint.any():
        return rough
    shown = np.ones(hint.shape, bool)
    after, before = (picture.detach().cpu().float().numpy() for picture in (edited, scene))
    changes = change_map(after, before, shown, background=~hint, relevance=hint.astype(np.float32))
    labels = labelled_parts(changes.reach)
    sizes = np.bincount(labels.ravel())
    inside = np.bincount(labels.ravel(), hint.ravel())
    kept = (inside > 0.5 * sizes) | (inside > 0.25 * hint.sum())
    kept[0] = False
    mask = kept[labels]
    return torch.from_numpy(mask).to(rough.device) if mask.any() else rough


def inverted(velocity: Velocity, latents: Tensor, sigmas: Sequence[float], *, iterations: int = 2) -> list[Tensor]:
    """Noisy latents at each of the rising noise levels `sigmas`, the first of which is that of `latents`.

    Euler steps against the flow, each to the fixed point z' = z + (s' - s) v(z', s'), so that the step back from z' by
    v(z', s') ends in z; so many iterations, from z' = z on.
    """
    path = [latents]
    for sigma, higher in zip(sigmas, sigmas[1:], strict=False):
        estimate = current = path[-1]
        for _ in range(iterations):
            estimate = current + (higher - sigma) * velocity(estimate, higher)
        path.append(estimate)
    return path
