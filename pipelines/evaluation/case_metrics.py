"""All metrics of one case, for every method at once: the background is scored outside a mask they have in common."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image

from ..pictures.masks import Box
from . import change, pixel
from .backbones import Backbones
from .cases import Case, mask_box
from .change import Region
from .copy_paste import FLAGGED, copy_paste_score
from .features import GREY, Features, padded_square

MARGIN = 1 / 32  # of the shorter side, around every box of the common mask
LPIPS_SIDE = 256  # px of a box that LPIPS compares

Row = dict[str, float]  # a metric that is not there is missing
Pictures = Mapping[str, Image.Image]  # by method


def measure_case(
    case: Case, results: Pictures, backbones: Backbones, restored: Image.Image | None = None
) -> dict[str, Row]:
    """Values by method and metric; `restored` is what a VAE alone makes of the scene.

    Results are RGB and of the scene's size.
    """
    limit = change.calibrate(case.scene, restored)
    regions = {name: change.find_region(picture, case.scene, limit) for name, picture in results.items()}
    expected = true_place(case, limit)
    rows: dict[str, Row] = {name: {} for name in results}
    for name, picture in results.items():
        rows[name] |= _differences(case, picture, backbones)
        rows[name] |= _insertion(case, picture, regions[name], expected)
    for name, row in _backgrounds(case, results, common_mask(case, regions, expected), backbones).items():
        rows[name] |= row
    for prefix, features in (("clip_i", backbones.clip_b32), ("dino", backbones.dino)):
        for name, row in _similarities(prefix, features, case, results).items():
            rows[name] |= row
    for prefix, features in (("identity_clip", backbones.clip_b32), ("identity_dinov2", backbones.dinov2)):
        for name, row in _identities(prefix, features, case, results, regions).items():
            rows[name] |= row
    if backbones.clip_b32 and backbones.clip_b32.tokenizer and case.caption:
        caption = backbones.clip_b32.texts([case.caption])[0]
        vectors = backbones.clip_b32.pictures(list(results.values()))
        for name, vector in zip(results, vectors, strict=True):
            rows[name]["clip_t"] = float(vector @ caption)
    if backbones.dreamsim:
        references = object_views(case)
        for name, region in regions.items():
            if region:
                seen = padded_square(results[name].crop(region.box))
                rows[name]["identity_dreamsim_found"] = float(
                    np.mean([backbones.dreamsim(r, seen) for r in references])
                )
    return rows


def true_place(case: Case, limit: float) -> Box | None:
    """The box of what appeared in the target, by the rule that results go through, so that shadows count in both.

    The mask's box where there is no target, or nothing is found in it.
    """
    region = change.find_region(case.target, case.scene, limit) if case.target else None
    if region:
        return region.box
    return mask_box(case.mask) if case.mask is not None else None


def common_mask(case: Case, regions: Mapping[str, Region | None], expected: Box | None) -> np.ndarray:
    """[H,W] bool: the boxes of the truth and of what appeared in any method's result, each with a margin.

    Whatever else a method changed is its fault, wherever it is.
    """
    width, height = case.scene.size
    boxes = [region.box for region in regions.values() if region] + ([expected] if expected else [])
    boxes += [mask_box(case.mask)] if case.mask is not None else []
    common = np.zeros((height, width), bool)
    margin = round(MARGIN * min(width, height))
    for x0, y0, x1, y1 in boxes:
        common[max(0, y0 - margin) : y1 + margin, max(0, x0 - margin) : x1 + margin] = True
    return common


def object_views(case: Case) -> list[Image.Image]:
    """The object pictures as the identity metrics see them: cut to their masks, grey around, square."""
    views = []
    for index, picture in enumerate(case.objects):
        if case.object_masks:
            mask = case.object_masks[index]
            picture = _painted(picture, ~mask).crop(mask_box(mask))
        views.append(padded_square(picture))
    return views


def _painted(picture: Image.Image, mask: np.ndarray) -> Image.Image:
    pixels = np.array(picture)
    pixels[mask] = GREY
    return Image.fromarray(pixels)


def _differences(case: Case, result: Image.Image, backbones: Backbones) -> Row:
    if case.target is None:
        return {}
    a, b = pixel.to_tensor(result), pixel.to_tensor(case.target)
    row = {"l1": pixel.l1(a, b), "l2": pixel.l2(a, b)}
    if backbones.lpips:
        row["lpips"] = backbones.lpips(a, b)
    if case.mask is None:
        return row
    for side, mask in (("inside", case.mask), ("outside", ~case.mask)):
        row |= {f"l1_{side}": pixel.l1(a, b, mask), f"l2_{side}": pixel.l2(a, b, mask)}
    if backbones.lpips:
        size, box = (LPIPS_SIDE, LPIPS_SIDE), mask_box(case.mask)
        crops = (pixel.to_tensor(pixel.to_size(picture.crop(box), size)) for picture in (result, case.target))
        row["lpips_inside"] = backbones.lpips(*crops)
    return row


def _insertion(case: Case, result: Image.Image, region: Region | None, expected: Box | None) -> Row:
    if region is None:
        return {"inclusion": 0.0, "copy_paste": 0.0}
    masks = case.object_masks or (None,) * len(case.objects)
    pairs = zip(case.objects, masks, strict=True)
    pasted = max(copy_paste_score(result, region.box, picture, mask) for picture, mask in pairs)
    row = {"inclusion": 1.0, "copy_paste_score": pasted, "copy_paste": float(pasted > FLAGGED)}
    if expected:
        row["placement_iou"] = change.iou(region.box, expected)
        row["placement_distance"] = change.distance(region.box, expected, case.scene.size)
        row["placement_area"] = change.area(region.box) / change.area(expected)
    return row


def _backgrounds(case: Case, results: Pictures, common: np.ndarray, backbones: Backbones) -> dict[str, Row]:
    if common.all():
        return {}
    scene, rows = pixel.to_tensor(case.scene), {}
    for name, picture in results.items():
        result = pixel.to_tensor(picture)
        rows[name] = {
            "background_l1": pixel.l1(result, scene, ~common),
            "background_psnr": pixel.psnr(result, scene, ~common),
            "background_ssim": pixel.ssim(result, scene, ~common),
        }
        if backbones.lpips:
            rows[name]["background_lpips"] = backbones.lpips(pixel.filled(result, scene, common), scene)
    return rows


def _similarities(prefix: str, features: Features | None, case: Case, results: Pictures) -> dict[str, Row]:
    if features is None or case.target is None:
        return {}
    rows: dict[str, Row] = {name: {} for name in results}
    pictures = [case.target, *results.values()]
    views = {prefix: pictures}
    if case.mask is not None:
        box, mask = mask_box(case.mask), case.mask
        views[f"{prefix}_inside"] = [padded_square(picture.crop(box)) for picture in pictures]
        views[f"{prefix}_outside"] = [_painted(picture, mask) for picture in pictures]
    for metric, seen in views.items():
        target, *vectors = features.pictures(seen)
        for name, vector in zip(results, vectors, strict=True):
            rows[name][metric] = float(vector @ target)
    return rows


def _identities(
    prefix: str, features: Features | None, case: Case, results: Pictures, regions: Mapping[str, Region | None]
) -> dict[str, Row]:
    if features is None:
        return {}
    rows: dict[str, Row] = {name: {} for name in results}
    boxes = [(name, "found", region.box) for name, region in regions.items() if region]
    if case.mask is not None:
        boxes += [(name, "true", mask_box(case.mask)) for name in results]
    crops = [padded_square(results[name].crop(box)) for name, _, box in boxes]
    references = object_views(case)
    vectors = features.pictures([*references, *crops])
    cosines = vectors[len(references) :] @ vectors[: len(references)].T
    for (name, where, _), cosine in zip(boxes, cosines, strict=True):
        rows[name][f"{prefix}_{where}"] = float(cosine.mean())
    return rows
