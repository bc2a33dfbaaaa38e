"""What an edit changed, told from what a VAE, a codec or half a pixel of shift does to every pixel: the pack's one rule.

The difference of two pictures is judged by what differences of that size mean in this very pair: how much pixels differ
that nobody edited, by how much texture lies around them (robust statistics; a VAE blurs texture most), at several scales:
at the finest an object is clear to its edge, at the coarsest a faint shadow stands out of the noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

REFERENCE = 768  # px, longer side: lengths below are for pictures of this size
SCALES = (1.2, 2.5, 5.0, 9.0)  # px, sigma of the Gaussians that the difference is seen at
FAINT = 3.0  # times the noise: part of a change
CLEAR = 5.5  # a change
FLOOR = (2.5 / 255, 1.6 / 255, 1.2 / 255, 1.0 / 255)  # the least noise, by scale
BINS = 12  # of texture
SMALLEST = 10  # px, of a change's side


@dataclass(frozen=True)
class ChangeMap:
    """What changed where, all [H,W]."""

    effect: np.ndarray  # bool: object, shadow, reflection
    objects: np.ndarray  # bool: what is not the scene in another light
    clarity: np.ndarray  # how many times the noise the difference is, at the scale that shows it best


def texture(scene: np.ndarray, unit: float) -> np.ndarray:
    """How much of a scene [H,W,3] is lost in a little blur, [H,W]."""
    fine = np.abs(scene - ndimage.gaussian_filter(scene, (1.5 * unit, 1.5 * unit, 0))).max(-1)
    return np.asarray(ndimage.gaussian_filter(ndimage.maximum_filter(fine, 3), 1.5 * unit))


def noise_level(difference: np.ndarray, fineness: np.ndarray, usable: np.ndarray, floor: float) -> np.ndarray:
    """The spread [H,W] of differences [H,W] of pixels that were not edited, as a line over the texture there.

    Medians in bins of equal number, so that an edit of less than half of each bin does not count.
    """
    values = difference[usable]
    amounts = fineness[usable]
    if len(values) < 16 * BINS:
        return np.full(difference.shape, floor, np.float32)
    edges = np.quantile(amounts, np.linspace(0, 1, BINS + 1))
    bins = np.clip(np.searchsorted(edges, amounts, side="right") - 1, 0, BINS - 1)
    medians = np.array([np.median(values[bins == one]) if (bins == one).any() else np.nan for one in range(BINS)])
    centres = np.array([np.median(amounts[bins == one]) if (bins == one).any() else np.nan for one in range(BINS)])
    known = np.isfinite(medians)
    slopes = [
        (medians[b] - medians[a]) / (centres[b] - centres[a])
        for a in np.nonzero(known)[0]
        for b in np.nonzero(known)[0]
        if b > a and centres[b] > centres[a]
    ]
    slope = max(0.0, float(np.median(slopes))) if slopes else 0.0  # Theil and Sen
    offset = float(np.median(medians[known] - slope * centres[known]))
    return np.maximum(floor, 1.2 * (offset + slope * fineness)).astype(np.float32)


def smoothed(difference: np.ndarray, weight: np.ndarray, sigma: float) -> np.ndarray:
    """The signed difference [H,W,3] averaged over the pixels of `weight` [H,W], its size in the largest channel [H,W]."""
    share = ndimage.gaussian_filter(weight, sigma)
    total = ndimage.gaussian_filter(difference * weight[..., None], (sigma, sigma, 0))
    mean = np.abs(total).max(-1) / np.maximum(share, 1e-3)
    return np.where(share > 0.05, mean, 0)


def connected(faint: np.ndarray, clear: np.ndarray, smallest: float) -> np.ndarray:
    """The parts of `faint` that hold something clear and are at least so many px large in one direction."""
    labels = np.empty(faint.shape, np.int32)
    ndimage.label(faint, np.ones((3, 3)), output=labels)
    kept = np.zeros(labels.max() + 1, bool)
    for label, place in enumerate(ndimage.find_objects(labels), 1):
        part = labels[place] == label
        sure = part & clear[place]
        kept[label] = part.sum() >= smallest**2 / 2 and sure.any()
    return kept[labels]


def change_map(edited: np.ndarray, scene: np.ndarray, shown: np.ndarray) -> ChangeMap:
    """What is different in an edited picture that lies over its scene, both [H,W,3] in 0..1; `shown` [H,W] bool."""
    unit = max(scene.shape[:2]) / REFERENCE
    difference = edited - scene
    fineness = texture(scene, unit)
    effect = np.zeros(scene.shape[:2], bool)
    clarity = np.zeros(scene.shape[:2], np.float32)
    for scale, floor in zip(SCALES, FLOOR, strict=True):
        sigma = scale * unit
        rest = (shown & ~ndimage.binary_dilation(effect, iterations=max(1, round(unit)))).astype(np.float32)
        size = smoothed(difference, rest, sigma)
        usable = rest > 0
        noise = noise_level(size, fineness, usable, floor)
        times = np.where(usable, size / noise, 0)
        clarity = np.maximum(clarity, times)
        found = connected(times > FAINT, times > CLEAR, SMALLEST * unit * max(1, scale / 2.5))
        effect |= np.asarray(ndimage.binary_opening(found, iterations=max(1, round(scale * unit / 2))))
    effect = np.asarray(ndimage.binary_fill_holes(ndimage.binary_closing(effect, iterations=max(1, round(2 * unit)))))
    return ChangeMap(effect, objects_in(edited, scene, effect, unit), clarity)


def objects_in(edited: np.ndarray, scene: np.ndarray, effect: np.ndarray, unit: float) -> np.ndarray:
    """The part of an effect [H,W] bool that is not the scene darker or lighter."""
    sigma = 2.5 * unit
    numerator = ndimage.gaussian_filter(edited * scene, (sigma, sigma, 0))
    denominator = ndimage.gaussian_filter(scene * scene, (sigma, sigma, 0)) + 1e-4
    factors = numerator / denominator
    factor = factors.mean(-1, keepdims=True)
    rest = np.abs(edited - factor * scene).max(-1)
    rest = ndimage.gaussian_filter(rest, 1.2 * unit)
    inside = ~effect
    limit = max(6 / 255, 3 * float(np.median(rest[inside])) if inside.any() else 0)
    other = effect & ((rest > limit) | (factor[..., 0] > 1.15) | (factor[..., 0] < 0.25))
    other = ndimage.binary_closing(other, iterations=max(1, round(3 * unit)))
    other = ndimage.binary_opening(ndimage.binary_fill_holes(other), iterations=max(1, round(2 * unit)))
    return np.asarray(other & effect)
