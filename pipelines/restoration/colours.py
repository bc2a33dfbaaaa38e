"""What an edit did to all colours alike, learnt from the pixels that it left alone, and undone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from .channels import brightest

SAMPLES = 60_000  # px that the map is learnt from
ROUNDS = 10  # of reweighting
TUKEY = 4.685
UNEDITED = 0.4  # of the samples, at least
WORTH = 0.75  # of the difference may be left of what a map explains, or it explains the edit
FARTHER = 2.0  # times as far as samples are moved, other colours may be
OWN_DRIFT = 1.5  # times what a VAE alone does is of no edit's making
LEFT_ALONE = 0.05  # of the samples that a map moves are as they were: it explains the edit
LEAST_NOISE = 2 / 255
CLIPPED = 1.5 / 255  # from white or black


def terms(colours: np.ndarray) -> np.ndarray:
    """What a new colour is made of: the channels [...,3], their squares, and one; [...,7]."""
    return np.concatenate([colours, colours**2, np.ones_like(colours[..., :1])], -1)


class ColourMap(NamedTuple):
    """A quadratic polynomial of a colour's channels, and how far it may move one: what no sample says is a guess."""

    matrix: np.ndarray  # [7,3] float32, of `terms`
    least: np.ndarray  # [3] float32, shifts of the channels
    most: np.ndarray  # [3] float32


UNTOUCHED = ColourMap(np.eye(7, 3, dtype=np.float32), *np.zeros((2, 3), np.float32))
OWN = np.vstack([np.eye(3), np.eye(3), np.ones((1, 3))]) > 0  # what a channel is made of by itself
# How firmly each number keeps to what was known before, as a share of the samples' number: first each channel for
# itself, then mixed as far as samples speak for it, for channels that go together in a picture tell little of that.
APART = np.where(OWN, np.array([5e-4, 5e-4, 5e-4, 2.5e-3, 2.5e-3, 2.5e-3, 5e-4])[:, None], 1e6)
MIXED = np.full((7, 3), 5e-4)


def colour_map(
    edited: np.ndarray, scene: np.ndarray, shown: np.ndarray, round_trip: np.ndarray | None = None
) -> ColourMap:
    """The map that gives an edited picture [H,W,3] the colours of the scene that it lies over, both in 0..1.

    A quadratic polynomial for each channel, by least squares with Tukey's weights over the pixels `shown` [H,W]: those
    that the edit changed for good weigh nothing. Colours of which there are none keep their own (ridge regression
    towards the identity), or are moved little farther than others. All keep their own where a map makes most pixels
    little more alike, where it moves many that are the scene's as they are, and where the `round_trip` [H,W,3] of the
    scene through the edit's VAE explains the edit.
    """
    rng = np.random.default_rng(0)
    chosen = shown & (rng.random(shown.shape) < SAMPLES / max(1, shown.sum()))
    if chosen.sum() < 64:
        return UNTOUCHED
    before = samples(edited, chosen)
    after = samples(scene, chosen)
    unmapped = brightest(np.abs(after - before))
    drift = np.quantile(unmapped, UNEDITED)
    if round_trip is not None:
        trip = samples(round_trip, chosen)
        left = np.quantile(brightest(np.abs(before - trip)), UNEDITED)
        own = np.quantile(brightest(np.abs(after - trip)), UNEDITED)
        if left <= OWN_DRIFT * min(own, drift):
            return UNTOUCHED
    apart, _ = robust_fit(before, after, UNTOUCHED.matrix.astype(np.float64), APART)
    matrix, residual = robust_fit(before, after, apart, MIXED)
    range_end = np.minimum(before, 1 - before).min(-1) < LEAST_NOISE  # black stays black in a darker picture
    shifts = terms(before) @ matrix - before
    moved = (brightest(np.abs(shifts)) > 3 * LEAST_NOISE) & ~range_end
    left_alone = moved.any() and np.mean(unmapped[moved] < LEAST_NOISE) > LEFT_ALONE
    explains = np.quantile(residual, UNEDITED) <= WORTH * drift
    if left_alone or not explains:
        return UNTOUCHED
    explained = shifts[residual < 2 * spread_of(residual)]
    least = FARTHER * np.minimum(explained.min(0), -LEAST_NOISE)
    most = FARTHER * np.maximum(explained.max(0), LEAST_NOISE)
    return ColourMap(*(part.astype(np.float32) for part in (matrix, least, most)))


def samples(picture: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The colours [N,3] of the chosen [H,W] pixels of a picture [H,W,3], without their finest noise."""
    return np.asarray(ndimage.gaussian_filter(picture, (1.5, 1.5, 0)))[chosen].astype(np.float64)


def robust_fit(
    before: np.ndarray, after: np.ndarray, known: np.ndarray, firmness: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(map [7,3] of colours [N,3] to others, what it leaves [N] in the largest channel).

    It departs from a map `known` [7,3] as far as samples outweigh the `firmness` [7,3].
    """
    columns, wanted = np.ascontiguousarray(terms(before).T), np.ascontiguousarray(after.T)
    both = np.vstack([columns, wanted])
    ridge = len(before) * np.stack([np.diag(one) for one in firmness.T])
    kept = ridge @ known.T[..., None]
    # The first spread is taken around the median change, so that a tint of all is not taken for an edit.
    residual = brightest(np.abs(after - before - np.median(after - before, 0)))
    matrix = known
    for _ in range(ROUNDS):
        weight = np.maximum(1 - (residual / (TUKEY * spread_of(residual))) ** 2, 0) ** 2
        sums = (columns * weight) @ both.T
        matrix = np.linalg.solve(sums[:, :7] + ridge, sums[:, 7:].T[..., None] + kept)[..., 0].T
        residual = np.abs(matrix.T @ columns - wanted).max(0)
    return matrix, residual


def spread_of(residual: np.ndarray) -> float:
    """The standard deviation of residuals [N] >= 0 most of which are noise, at least the least noise."""
    return float(1.4826 * np.median(residual) + LEAST_NOISE)


def recoloured(pixels: Tensor, colours: ColourMap) -> Tensor:
    """Pixels [...,3] in 0..1 through a colour map."""
    if colours is UNTOUCHED:
        return pixels
    weights, least, most = (torch.from_numpy(part) for part in colours)
    shifts = pixels @ weights[:3] + pixels.square() @ weights[3:6] + weights[6] - pixels
    return (pixels + torch.clamp(shifts, least, most)).clamp(0, 1)


def clipped(edited: np.ndarray, scene: np.ndarray) -> np.ndarray:
    """Where [H,W] bool an edit [H,W,3] is white or black in a channel and its scene is not."""
    bright = (edited >= 1 - CLIPPED) & (scene < 1 - 2 * CLIPPED)
    dark = (edited <= CLIPPED) & (scene > 2 * CLIPPED)
    return np.asarray((bright | dark).any(-1))


def unclipped(recoloured_pixels: Tensor, edited: Tensor, scene: Tensor) -> Tensor:
    """Recoloured pixels [...,3], those that are white or black in the edit as bright or dark as the scene's, if it is.

    What an edit made so bright that it was clipped has no colour to be given back: it is not told from the scene.
    """
    brighter = torch.maximum(recoloured_pixels, scene)
    darker = torch.minimum(recoloured_pixels, scene)
    white = edited >= 1 - CLIPPED
    return torch.where(white, brighter, torch.where(edited <= CLIPPED, darker, recoloured_pixels))


def colour_difference(one: Tensor, other: Tensor) -> float:
    """The mean CIE76 delta E of colours [N,3] in 0..1 of sRGB; 0 where there are none."""
    if not len(one):
        return 0.0
    from kornia.color import rgb_to_lab  # its package takes a second to import

    first, second = rgb_to_lab(torch.stack([one, other]).clamp(0, 1).movedim(-1, 1)[..., None])
    return float((first - second).square().sum(0).sqrt().mean())
