"""All metrics of one case, for every method at once: the background is scored outside a mask they have in common."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image
from torch import Tensor

from ..pictures.copies import FLAGGED, copy_paste_score
from ..pictures.masks import Box, array_box
from . import pixel_metrics, placement
from .backbones import Backbones
from .cases import Case, object_box, to_size
from .features import GREY, Features, padded_square
from .perceptual_distances import PictureDistance

MARGIN = 1 / 32  # of the shorter side, around every box of the common mask
LPIPS_SIDE = 256  # px of a box that LPIPS compares

Row = dict[str, float]  # a metric that is not there is missing
Rows = dict[str, Row]  # by method
Pictures = Mapping[str, Image.Image]  # by method
Boxes = Mapping[str, Box | None]  # of what appeared, by method


def measure_case(
    case: Case, results: Pictures, backbones: Backbones, vae_scene: Image.Image | None = None
) -> dict[str, Row]:
    """Values by method and metric; `vae_scene` is what a VAE alone makes of the scene.

    Results are RGB and of the scene's size.
    """
    boxes = {method: placement.inserted_box(picture, case.scene, vae_scene) for method, picture in results.items()}
    expected = true_box(case, vae_scene)
    groups = [
        differences(case, results, backbones),
        insertions(case, results, boxes, expected),
        backgrounds(case, results, common_mask(case, boxes, expected), backbones),
        similarities("clip_i", backbones.clip_b32, case, results),
        similarities("dino", backbones.dino, case, results),
        identities("identity_clip", backbones.clip_b32, case, results, boxes=boxes),
        identities("identity_dinov2", backbones.dinov2, case, results, boxes=boxes),
        dreamsim_identities(backbones.dreamsim, case, results, boxes),
        caption_similarities(backbones, case, results),
    ]
    rows: Rows = {method: {} for method in results}
    for group in groups:
        for method, row in group.items():
            rows[method] |= row
    return rows


def true_box(case: Case, vae_scene: Image.Image | None) -> Box | None:
    """The box of what appeared in the target, by the rule that results go through, so that shadows count in both.

    The mask's box where there is no target, or nothing is found in it.
    """
    box = placement.inserted_box(case.target, case.scene, vae_scene) if case.target else None
    if box is None and case.mask is not None:
        return array_box(case.mask)
    return box


def common_mask(case: Case, boxes: Boxes, expected: Box | None) -> np.ndarray:
    """[H,W] bool: the boxes of the truth and of what appeared in any method's result, each with a margin.

    Whatever else a method changed is its fault, wherever it is.
    """
    width, height = case.scene.size
    margin = round(MARGIN * min(width, height))
    common = np.zeros((height, width), bool)
    true_mask_box = None if case.mask is None else array_box(case.mask)
    for box in (*boxes.values(), expected, true_mask_box):
        if box:
            x0, y0, x1, y1 = box
            common[max(0, y0 - margin) : y1 + margin, max(0, x0 - margin) : x1 + margin] = True
    return common


def object_views(case: Case) -> list[Image.Image]:
    """The object pictures as the identity metrics see them: cut to their masks, grey around, square."""
    views = []
    for picture, mask in case.views():
        if mask is not None:
            picture = grey_inside(picture, ~mask)
        views.append(padded_square(picture.crop(object_box(picture, mask))))
    return views


def grey_inside(picture: Image.Image, mask: np.ndarray) -> Image.Image:
    """The picture with the pixels of a mask [H,W] bool painted grey."""
    pixels = np.array(picture)
    pixels[mask] = GREY
    return Image.fromarray(pixels)


def differences(case: Case, results: Pictures, backbones: Backbones) -> Rows:
    """Each result's pixels and the target's: everywhere, inside and outside the true mask."""
    if case.target is None:
        return {}
    target = pixel_metrics.to_tensor(case.target)
    rows: Rows = {}
    for method, picture in results.items():
        result = pixel_metrics.to_tensor(picture)
        row = {"l1": pixel_metrics.l1(result, target), "l2": pixel_metrics.l2(result, target)}
        if backbones.lpips:
            row["lpips"] = backbones.lpips(result, target)
        if case.mask is not None:
            for side, mask in (("inside", case.mask), ("outside", ~case.mask)):
                row[f"l1_{side}"] = pixel_metrics.l1(result, target, mask)
                row[f"l2_{side}"] = pixel_metrics.l2(result, target, mask)
        if backbones.lpips and case.mask is not None:
            box = array_box(case.mask)
            row["lpips_inside"] = backbones.lpips(_lpips_crop(picture, box), _lpips_crop(case.target, box))
        rows[method] = row
    return rows


def _lpips_crop(picture: Image.Image, box: Box) -> Tensor:
    return pixel_metrics.to_tensor(to_size(picture.crop(box), (LPIPS_SIDE, LPIPS_SIDE)))


def insertions(case: Case, results: Pictures, boxes: Boxes, expected: Box | None) -> Rows:
    """Whether something appeared in each result, where, and whether it is the object picture's own pixels."""
    rows: Rows = {}
    for method, picture in results.items():
        box = boxes[method]
        if box is None:
            rows[method] = {"inclusion": 0.0, "copy_paste": 0.0}
            continue
        score = max(copy_paste_score(picture, box, view, mask) for view, mask in case.views())
        rows[method] = {"inclusion": 1.0, "copy_paste_score": score, "copy_paste": float(score > FLAGGED)}
        if expected:
            rows[method] |= {
                "placement_iou": placement.iou(box, expected),
                "placement_distance": placement.distance(box, expected, case.scene.size),
                "placement_area": placement.area(box) / placement.area(expected),
            }
    return rows


def backgrounds(case: Case, results: Pictures, common: np.ndarray, backbones: Backbones) -> Rows:
    """Each result's pixels and the scene's, outside the common mask [H,W]; nothing where that covers the picture."""
    if common.all():
        return {}
    scene = pixel_metrics.to_tensor(case.scene)
    rows: Rows = {}
    for method, picture in results.items():
        result = pixel_metrics.to_tensor(picture)
        rows[method] = {
            "background_l1": pixel_metrics.l1(result, scene, ~common),
            "background_psnr": pixel_metrics.psnr(result, scene, ~common),
            "background_ssim": pixel_metrics.ssim(result, scene, ~common),
        }
        if backbones.lpips:
            rows[method]["background_lpips"] = backbones.lpips(pixel_metrics.filled(result, scene, common), scene)
    return rows


def similarities(prefix: str, features: Features | None, case: Case, results: Pictures) -> Rows:
    """Cosines of each result with the target: the whole picture, the true mask's box, and all but the true mask."""
    if features is None or case.target is None:
        return {}
    pictures = [case.target, *results.values()]
    views = {prefix: pictures}
    if case.mask is not None:
        box = array_box(case.mask)
        views[f"{prefix}_inside"] = [padded_square(picture.crop(box)) for picture in pictures]
        views[f"{prefix}_outside"] = [grey_inside(picture, case.mask) for picture in pictures]
    rows: Rows = {method: {} for method in results}
    for metric, compared in views.items():
        target, *vectors = features.pictures(compared)
        for method, vector in zip(results, vectors, strict=True):
            rows[method][metric] = float(vector @ target)
    return rows


def identities(prefix: str, features: Features | None, case: Case, results: Pictures, *, boxes: Boxes) -> Rows:
    """Mean cosines of the object pictures with the box of what appeared in each result, and with the true mask's."""
    if features is None:
        return {}
    places = [(method, f"{prefix}_found", box) for method, box in boxes.items() if box]
    if case.mask is not None:
        true_mask_box = array_box(case.mask)
        places += [(method, f"{prefix}_true", true_mask_box) for method in results]
    references = object_views(case)
    crops = [padded_square(results[method].crop(box)) for method, _, box in places]
    vectors = features.pictures([*references, *crops])
    cosines = vectors[len(references) :] @ vectors[: len(references)].T
    rows: Rows = {method: {} for method in results}
    for (method, metric, _), cosine in zip(places, cosines, strict=True):
        rows[method][metric] = float(cosine.mean())
    return rows


def dreamsim_identities(dreamsim: PictureDistance | None, case: Case, results: Pictures, boxes: Boxes) -> Rows:
    """Mean distances of the object pictures to the box of what appeared in each result."""
    if dreamsim is None:
        return {}
    references = object_views(case)
    rows: Rows = {}
    for method, box in boxes.items():
        if box:
            crop = padded_square(results[method].crop(box))
            distances = [dreamsim(reference, crop) for reference in references]
            rows[method] = {"identity_dreamsim_found": float(np.mean(distances))}
    return rows


def caption_similarities(backbones: Backbones, case: Case, results: Pictures) -> Rows:
    """Cosines of each result with the target's caption."""
    if not (backbones.clip_b32 and backbones.clip_b32.tokenizer and case.caption):
        return {}
    caption = backbones.clip_b32.texts([case.caption])[0]
    vectors = backbones.clip_b32.pictures(list(results.values()))
    return {method: {"clip_t": float(vector @ caption)} for method, vector in zip(results, vectors, strict=True)}
