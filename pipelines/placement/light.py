"""The light of a scene on an object: the scene's tint, and the brightness around the place where it stands."""

from __future__ import annotations

import torch
from torch import Tensor

GAMMA = 2.2  # light from the values of a picture, nearly
NORM = 6  # of the Minkowski mean
BRIGHTER = 4.0  # times, at most, and darker as much
TINT = 1.7  # times that of grey a channel of the light may be at most, and as much less
DARKEST = 1e-3


def illuminant(pixels: Tensor) -> Tensor:
    """The light [3] that a picture [H,W,3] in 0..1 is seen in, by its Minkowski mean of order 6.

    Shades of grey (Finlayson and Trezzi, "Shades of Gray and Colour Constancy", 2004).
    """
    return (pixels.clamp(0, 1) ** GAMMA).pow(NORM).mean((0, 1)).pow(1 / NORM).clamp_min(DARKEST)


def light_gain(scene: Tensor, surroundings: Tensor, cut_out: Tensor, strength: float) -> Tensor:
    """The gains [3] of an object's values that bring it into the light around it; 1 at strength 0.

    At strength 1 its tint is that of the light on the scene [H,W,3], within 1.7: the object itself is taken to be seen
    in white light, as its colour cannot be told from its light. Its mean brightness is that of its surroundings
    [h,w,3], within 1/4 and 4. At 0.5 both are half way, in stops: an object is rarely as bright as its ground.
    """
    light = illuminant(scene)
    tint = (light / light.mean()).clamp(1 / TINT, TINT)
    alpha = cut_out[..., 3]
    around = _luminance(surroundings).mean().clamp_min(DARKEST)
    own = (_luminance(cut_out[..., :3] / alpha[..., None].clamp_min(DARKEST)) * alpha).sum() / alpha.sum()
    brightness = (around / own.clamp_min(DARKEST)).clamp(1 / BRIGHTER, BRIGHTER)
    return (tint / _luminance_of(tint) * brightness) ** (strength / GAMMA)


def _luminance(pixels: Tensor) -> Tensor:
    """The luminance [...] of pixels [...,3]."""
    return _luminance_of(pixels.clamp(0, 1) ** GAMMA)


def _luminance_of(light: Tensor) -> Tensor:
    """The luminance of linear light [...,3] (ITU-R BT.709)."""
    return (light * torch.tensor([0.2126, 0.7152, 0.0722])).sum(-1)
