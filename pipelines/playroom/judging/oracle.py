"""What happened in a picture, judged against the playroom's ground truth.

The rules, so that a figure can be repeated:

* change: what the pack's one rule, `restoration.change_map`, says of the result and the scene as the VAE gives it back,
  one over the other as they lie, colours as they are;
* inserted: what is not the scene in another light has, in its largest connected part within the largest connected
  change, at least 150 px, and a square of 5 px lies in it: the hard edge of a shadow on plain ground is thinner;
* effect: the box around the largest change grown by 12 px; everything else is background;
* colour: mean RGB of the inserted object, against that of the true object in the true picture, both eroded 2 px;
* supported: the object's lowest rows end on floor or table, within 2 px;
* shape, pattern: what a judge trained apart sees in the object's box.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ...pictures.masks import Box, array_box
from ...pictures.parts import largest_part
from ...restoration.change_map import change_map
from ..world.dataset import Arrays
from .judge import Judge, name_toys

SMALLEST = 150  # px
THINNEST = 5  # px
EFFECT_MARGIN = 12  # px


@dataclass(frozen=True)
class Finding:
    """The object found in one picture."""

    mask: np.ndarray  # [H,W] bool, shadow left out
    box: Box
    effect: np.ndarray  # [H,W] bool, shadow included


def find(result: np.ndarray, vae_scene: np.ndarray) -> Finding | None:
    """The object in `result` against the VAE's own version of the scene, both uint8 [H,W,3]; None if there is none."""
    edited = result.astype(np.float32) / 255
    scene = vae_scene.astype(np.float32) / 255
    changes = change_map(edited, scene, np.ones(scene.shape[:2], bool))
    whole = largest_part(changes.reach, corners=False)
    if whole is None:
        return None
    mask = largest_part(changes.objects & whole, corners=False)
    if mask is None or mask.sum() < SMALLEST or not ndimage.binary_erosion(mask, np.ones((THINNEST, THINNEST))).any():
        return None
    x0, y0, x1, y1 = array_box(whole)
    effect = np.zeros_like(mask)
    effect[max(0, y0 - EFFECT_MARGIN) : y1 + EFFECT_MARGIN, max(0, x0 - EFFECT_MARGIN) : x1 + EFFECT_MARGIN] = True
    return Finding(mask, array_box(mask), effect)


def mean_colour(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mean RGB [3], 0..255, of a picture [H,W,3] inside `mask` [H,W], its rim of 2 px left out where any remains."""
    core = np.asarray(ndimage.binary_erosion(mask, iterations=2), bool)
    return picture[core if core.sum() > 20 else mask].astype(np.float64).mean(0)


def is_supported(finding: Finding, support: np.ndarray) -> bool:
    """Whether the object stands on `support` [H,W] bool."""
    x0, _, _, bottom = finding.box
    lowest = finding.mask[max(0, bottom - 4) : bottom]
    column = int(np.nonzero(lowest.any(0))[0].mean())
    reach = np.asarray(ndimage.binary_dilation(support, iterations=2))
    return bool(reach[min(bottom - 1, support.shape[0] - 1), column])


def psnr(a: np.ndarray, b: np.ndarray, mask: np.ndarray) -> float:
    """The PSNR of uint8 pictures [H,W,3] inside `mask` [H,W], in dB; NaN where that is empty.

    Equal pictures have 108 dB. The evaluation's own PSNR stops at 100: figures of the two differ there.
    """
    if not mask.any():
        return float("nan")
    error = (a.astype(np.float64) - b)[mask]
    return float(10 * np.log10(255**2 / max(float((error**2).mean()), 1e-6)))


def score(results: np.ndarray, vae_scenes: np.ndarray, truth: Arrays, judge: Judge) -> dict[str, np.ndarray]:
    """Scores of each picture: arrays [N], NaN where nothing was inserted and the score needs an object.

    `results` and `vae_scenes`, the scenes as the VAE gives them back, are uint8 [N,128,128,3]; `truth` holds scene,
    target, object_mask, support, shape, pattern of the same N triplets.
    """
    count = len(results)
    names = ("colour", "shuffled", "supported", "shape", "pattern", "background", "background_vae")
    table = {name: np.full(count, np.nan) for name in names} | {"inserted": np.zeros(count)}
    true_colours = [mean_colour(truth["target"][i], truth["object_mask"][i]) for i in range(count)]
    boxes = []
    inserted = []  # indices of pictures with an object
    for i in range(count):
        finding = find(results[i], vae_scenes[i])
        outside = ~finding.effect if finding else np.ones(results[i].shape[:2], bool)
        table["background"][i] = psnr(results[i], truth["scene"][i], outside)
        table["background_vae"][i] = psnr(vae_scenes[i], truth["scene"][i], outside)
        if finding is None:
            continue
        inserted.append(i)
        boxes.append(finding.box)
        colour = mean_colour(results[i], finding.mask)
        table["inserted"][i] = 1
        table["colour"][i] = np.linalg.norm(colour - true_colours[i])
        table["shuffled"][i] = np.linalg.norm(colour - true_colours[(i + 7) % count])
        table["supported"][i] = is_supported(finding, truth["support"][i])
    if inserted:
        shape, pattern = name_toys(judge, results[inserted], np.array(boxes))
        table["shape"][inserted] = shape == truth["shape"][inserted]
        table["pattern"][inserted] = pattern == truth["pattern"][inserted]
    return table


def identity(table: dict[str, np.ndarray]) -> np.ndarray:
    """The mean [N], 0..1, of shape, pattern and colour agreement from `score`; 0 where nothing was inserted.

    Colour agreement is 1 at the true colour and 0 at an RGB distance of 100 (of 255) or more.
    """
    colour = (1 - table["colour"] / 100).clip(0)
    return np.nan_to_num((table["shape"] + table["pattern"] + colour) / 3)


def summary(table: dict[str, np.ndarray]) -> dict[str, float]:
    """The figures of `docs/figures/it_runs.json` from scores of any number of pictures."""
    mean = {name: float(np.nanmean(values)) for name, values in table.items()}
    return {
        "inserted_rate": mean["inserted"],
        "colour_distance": mean["colour"],
        "colour_ratio": mean["colour"] / mean["shuffled"],
        "shape_accuracy": mean["shape"],
        "pattern_accuracy": mean["pattern"],
        "supported_rate": mean["supported"],
        "background_psnr_db": mean["background"],
        "background_psnr_share_of_vae": mean["background"] / mean["background_vae"],
    }
