"""What an edit changed, told from what a VAE, a codec or half a pixel of shift does everywhere: the one rule.

The difference of two pictures is judged by what differences of that size mean in this very pair: how much pixels differ
that nobody edited, by how much texture lies around them (robust statistics; a VAE blurs texture most), at several
scales: at the finest an object is clear to its edge, at the coarsest a faint shadow stands out of the noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from scipy.stats import theilslopes

from ..pictures.parts import labelled_parts
from .channels import brightest, mean_light
from .morphology import closed, dilated, disc, opened, part_of

REFERENCE = 768  # px, longer side: lengths below are for pictures of this size
SMALL = 0.5  # of the reference: noise is not finer in smaller pictures
SOFTNESS = (0.0, 0.5, 0.8, 1.1, 1.5, 2.0)  # px, how much an edit may have blurred all
SCALES = (1.2, 2.5, 5.0, 9.0)  # px, sigma of the Gaussians that the difference is seen at
FAINT = 3.0  # times the noise: part of a change
CLEAR = 5.5  # a change
FLOOR = (2.5 / 255, 1.6 / 255, 1.2 / 255, 1.0 / 255)  # the least noise, by scale
MOST_NOISE = 8 / 255  # whatever the pair is like
BINS = 12  # of texture
SEAM = 2.0  # px, along an edge of the edited picture inside the scene: it ends there in a mixture
SMALLEST = 10  # px, of a change's side
RIM = 4.0  # px, of a halo at most
LEAST_RIM = 3.0  # px, whatever the picture's size: a VAE's halo is not finer in small ones
RISEN = 0.5  # of the difference that follows inwards: there an object begins
SAME = 0.85  # the correlation of fine structure from which on it is the scene's, in another light
UNLIKE = 0.4  # and below which it is not
FINE = 5 / 255  # rms of a structure that is none of a VAE's
CALM = 1.5  # times the noise on average: the scene is seen through a hole
CALM_HALO = 2.25  # and through a large one, however an object's halo reaches into it
LARGE_HOLE = 16.0  # times the smallest
LEAST_PART = 0.02  # of the largest part of an object
UNLIKELY = 0.7  # times as clear: a change where the model did not look at the object
LIKELY = 1.4  # and one where it did
VISIBLE = 0.07  # of the brightness around: Weber's law
VISIBLE_LEAST = 5 / 255


@dataclass(frozen=True)
class ChangeMap:
    """What changed where, all [H,W]."""

    reach: np.ndarray  # bool: object, shadow and reflection, also where they are too faint to be seen
    objects: np.ndarray  # bool: what is not the scene in another light
    visibility: np.ndarray  # of the change, 1 where it begins to be seen


def gaussian(picture: np.ndarray, sigma: float) -> np.ndarray:
    """A picture [H,W] or [H,W,C], smoothed; to the bit scipy's `gaussian_filter`, which is slow along columns."""
    if not sigma:
        return picture
    columns = transposed(picture.reshape(len(picture), -1))
    rows = transposed(ndimage.gaussian_filter1d(columns, sigma, truncate=3.0)).reshape(picture.shape)
    return np.asarray(ndimage.gaussian_filter1d(rows, sigma, axis=1, truncate=3.0))


def transposed(plane: np.ndarray) -> np.ndarray:
    """A copy of a plane, rows and columns exchanged; torch goes over it in blocks, numpy does not."""
    return torch.from_numpy(np.ascontiguousarray(plane)).t().contiguous().numpy()


def softened(scene: np.ndarray, edited: np.ndarray, usable: np.ndarray, references: Sequence[np.ndarray]) -> np.ndarray:
    """The scene [H,W,3] as blurred as the edit is where nothing was edited, or what a VAE makes of it if nearer."""
    lights = [gaussian(mean_light(scene), sigma) for sigma in SOFTNESS] + [mean_light(one) for one in references]
    edited_light = mean_light(edited)
    costs = [float(np.mean(np.sqrt(np.abs(edited_light - light)[usable]))) for light in lights]
    nearest = int(np.argmin(costs))
    return references[nearest - len(SOFTNESS)] if nearest >= len(SOFTNESS) else gaussian(scene, SOFTNESS[nearest])


def texture(scene: np.ndarray, unit: float) -> np.ndarray:
    """How much of a scene [H,W,3] is lost in a little blur, [H,W]."""
    fine = brightest(np.abs(scene - gaussian(scene, 1.5 * unit)))
    return gaussian(np.asarray(ndimage.maximum_filter(fine, 3)), 1.5 * unit)


class NoiseLevels:
    """How much pixels differ that were not edited, by how much texture lies around them: `fineness` [H,W]."""

    def __init__(self, fineness: np.ndarray):
        self.fineness = fineness
        self.order = np.argsort(fineness, axis=None)  # once, for all differences

    def of(self, difference: np.ndarray, usable: np.ndarray, floor: float) -> np.ndarray:
        """The spread [H,W] of differences [H,W] of pixels that were not edited, as a line over the texture there.

        Medians in bins of equal number, so that an edit of less than half of each bin does not count.
        """
        order = self.order[usable.ravel()[self.order]]
        if len(order) < 16 * BINS:
            return (2 * floor + 0.5 * self.fineness).astype(np.float32)
        amounts = self.fineness.ravel()[order]
        edges = np.quantile(amounts, np.linspace(0, 1, BINS + 1))
        ends = np.searchsorted(amounts, edges[1:-1])
        medians, centres = (bin_medians(each, ends) for each in (difference.ravel()[order], amounts))
        slope = max(0.0, np.asarray(theilslopes(medians, centres))[0]) if np.ptp(centres) else 0.0
        offset = float(np.median(medians - slope * centres))
        noise = 1.2 * (min(offset, MOST_NOISE) + min(slope, 1.0) * self.fineness)
        return np.maximum(floor, noise).astype(np.float32)


def bin_medians(values: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The median of each part of the values [N], cut at the ends, that is not empty."""
    return np.array([np.median(part) for part in np.split(values, ends) if len(part)], np.float64)


def smoothed(difference: np.ndarray, weight: np.ndarray, sigma: float) -> np.ndarray:
    """The signed difference [H,W,3] averaged over the pixels of `weight` [H,W], in the largest channel [H,W]."""
    share = weight if weight.all() else gaussian(weight, sigma)
    total = gaussian(difference * weight[..., None], sigma)
    mean = brightest(np.abs(total)) / np.maximum(share, 1e-3)
    return np.where(share > 0.05, mean, 0)


def connected(faint: np.ndarray, clear: np.ndarray, smallest: float) -> np.ndarray:
    """The parts of `faint` that hold something clear and cover half a square of so many px."""
    labels = labelled_parts(faint)
    sizes = np.bincount(labels.ravel())
    sure = np.bincount(labels.ravel(), clear.ravel())
    kept = (sizes >= smallest**2 / 2) & (sure > 0)
    kept[0] = False
    return kept[labels]


def without_holes(mask: np.ndarray, times: np.ndarray, smallest: float, halo: float = CALM) -> np.ndarray:
    """A mask with its holes filled that are small, or not as calm as noise; a large one may be a halo's, too."""
    if not mask.any():
        return mask
    part = part_of(mask)
    holes = np.asarray(ndimage.binary_fill_holes(mask[part])) & ~mask[part]
    labels = labelled_parts(holes, corners=False)
    sizes = np.maximum(np.bincount(labels.ravel()), 1)
    mean = np.bincount(labels.ravel(), np.minimum(times[part], 10).ravel()) / sizes
    filled = (sizes < smallest**2) | (mean > np.where(sizes < LARGE_HOLE * smallest**2, CALM, halo))
    filled[0] = False
    whole = mask.copy()
    whole[part] |= filled[labels]
    return whole


def change_map(
    edited: np.ndarray,
    scene: np.ndarray,
    shown: np.ndarray,
    *,
    background: np.ndarray | None = None,
    references: Sequence[np.ndarray] = (),
    sensitivity: float = 1.0,
    relevance: np.ndarray | None = None,
) -> ChangeMap:
    """What is different in an edited picture that lies over its scene, both [H,W,3] in 0..1; `shown` [H,W] bool.

    `background` [H,W] bool says by which pixels noise is judged, by default all; where it is empty, noise is taken to
    be what a VAE of middling quality makes. `references` are pictures of the scene through a VAE, if known. What is of
    `relevance` [H,W] 0..1 to the model is found more easily, what is not less.
    """
    gain = sensitivity if relevance is None else sensitivity * (UNLIKELY + (LIKELY - UNLIKELY) * relevance)
    judged = shown if background is None else shown & background
    unit = max(SMALL, max(scene.shape[:2]) / REFERENCE)
    if not shown.all():
        shown = np.asarray(ndimage.binary_erosion(shown, disc(SEAM * unit), border_value=1))
    scene = softened(scene, edited, judged if judged.any() else shown, references)
    difference = edited - scene
    levels = NoiseLevels(texture(scene, unit))
    reach = np.zeros(scene.shape[:2], bool)
    finest = np.zeros(scene.shape[:2], np.float32)
    for number, (scale, floor) in enumerate(zip(SCALES, FLOOR, strict=True)):
        sigma = scale * unit
        rest = (shown & ~dilated(reach, unit)).astype(np.float32)
        size = smoothed(difference, rest, sigma)
        usable = rest > 0
        noise = levels.of(size, usable & judged, floor)
        times = np.where(usable, gain * size / noise, 0)
        if not number:
            finest = times
        found = connected(times > FAINT, times > CLEAR, SMALLEST * unit * max(1, scale / 2.5))
        reach |= opened(found, scale * unit / 2)
    reach = closed(reach, 2 * unit)
    reach = without_holes(reach, finest, 4 * unit, CALM_HALO)
    objects = objects_in(edited, scene, reach, levels, judged, unit)
    faint = smoothed(difference, (shown & ~objects).astype(np.float32), 3 * unit)
    brightness = gaussian(brightest(scene), 3 * unit)
    visibility = np.where(objects, 1, sensitivity * faint / np.maximum(VISIBLE * brightness, VISIBLE_LEAST)) * reach
    return ChangeMap(reach, objects, visibility)


def objects_in(
    edited: np.ndarray, scene: np.ndarray, reach: np.ndarray, levels: NoiseLevels, judged: np.ndarray, unit: float
) -> np.ndarray:
    """The part of an effect [H,W] bool that is not the scene darker or lighter.

    A shadow is the scene times a factor that changes slowly, and the scene's fine structure goes on in it: what differs
    otherwise is an object. A plain object of the colour of a plain scene is told by nothing.
    """
    factor = gaussian((edited * scene).sum(-1), 3 * unit) / (gaussian((scene * scene).sum(-1), 3 * unit) + 1e-4)
    rest = gaussian(brightest(np.abs(edited - factor[..., None] * scene)), 1.2 * unit)
    noise = levels.of(rest, ~reach & judged, 2.5 / 255)
    likeness, telling = texture_likeness(edited, scene, unit)
    other = reach & ((rest > 3 * noise) | (factor > 1.2) | (factor < 0.3) | (telling & (likeness < UNLIKE)))
    other = opened(other, unit) & ~(telling & (likeness > SAME))
    other = opened(closed(other, 3 * unit) & reach, 1.5 * unit)
    other = without_holes(other, rest / noise, 6 * unit) & reach
    other = trimmed(other, gaussian(brightest(np.abs(edited - scene)), 0.7 * unit), unit)
    labels = labelled_parts(other)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return (sizes >= LEAST_PART * sizes.max())[labels] if sizes.any() else other


def trimmed(mask: np.ndarray, difference: np.ndarray, unit: float) -> np.ndarray:
    """A mask [H,W] bool without its halo, where the difference [H,W] has not risen to a part of what follows."""
    around = disc(max(LEAST_RIM, RIM * unit))
    height = np.asarray(ndimage.maximum_filter(difference * mask, footprint=around))
    within = np.asarray(ndimage.binary_erosion(mask, around, border_value=1), bool)
    return mask & (within | (difference > RISEN * height))


def texture_likeness(edited: np.ndarray, scene: np.ndarray, unit: float) -> tuple[np.ndarray, np.ndarray]:
    """(correlation [H,W] of the fine structure of edit and scene, where [H,W] the scene has enough of it)."""
    fine_edit, fine_scene = (light - gaussian(light, 3 * unit) for light in (mean_light(edited), mean_light(scene)))
    power = gaussian(fine_scene**2, 4 * unit)
    products = gaussian(fine_edit * fine_scene, 4 * unit)
    likeness = products / np.sqrt(power * gaussian(fine_edit**2, 4 * unit) + 1e-9)
    return likeness, power > FINE**2
