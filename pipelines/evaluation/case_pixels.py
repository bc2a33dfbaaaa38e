"""What is measured of a case without any network: where something appeared, and by how much pixels differ.

Functions of pictures alone, which worker processes may call: nothing here may take long to import.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image

from ..pictures.copies import FLAGGED, copy_paste_score
from ..pictures.masks import Box, array_box
from . import pixel_metrics, placement
from .cases import Case, Place

SAME_PLACE = 0.75  # overlap of two boxes that need not both be searched for the object picture
IN_PLACE = 0.5  # of an object's area, from where on it lies in a marked place (Add-it, appendix A.4)

Row = dict[str, float]  # a metric that is not there is missing
Rows = dict[str, Row]  # by method
Pictures = Mapping[str, Image.Image]  # by method
Places = Mapping[str, placement.Appeared | None]  # of what appeared, and of the object in it, by method


def found_places(case: Case, results: Pictures, vae_scene: Image.Image | None) -> dict[str, dict[str, Box]]:
    """The boxes of what appeared in each result, none where nothing did."""
    rows: dict[str, dict[str, Box]] = {}
    for method, picture in results.items():
        place = placement.appeared(picture, case.scene, vae_scene)
        rows[method] = place._asdict() if place else {}
    return rows


def true_box(case: Case, vae_scene: Image.Image | None) -> Box | None:
    """The box of what appeared in the target, by the rule that results go through, so that shadows count in both.

    The mask's box where there is no target, or nothing is found in it.
    """
    box = placement.inserted_box(case.target, case.scene, vae_scene) if case.target else None
    if box is None and case.mask is not None:
        return array_box(case.mask)
    return box


def differences(case: Case, results: Pictures) -> Rows:
    """Each result's pixels and the target's: everywhere, inside and outside the true mask."""
    if case.target is None:
        return {}
    target = pixel_metrics.to_tensor(case.target)
    rows: Rows = {}
    for method, picture in results.items():
        result = pixel_metrics.to_tensor(picture)
        row = {"l1": pixel_metrics.l1(result, target), "l2": pixel_metrics.l2(result, target)}
        if case.mask is not None:
            for side, mask in (("inside", case.mask), ("outside", ~case.mask)):
                row[f"l1_{side}"] = pixel_metrics.l1(result, target, mask)
                row[f"l2_{side}"] = pixel_metrics.l2(result, target, mask)
        rows[method] = row
    return rows


def insertions(case: Case, results: Pictures, places: Places, expected: Box | None) -> Rows:
    """Whether something appeared in each result, where, and whether it is the object picture's own pixels.

    Where the true mask is known the object is compared with it, without its shadow; elsewhere all that appeared with
    what appeared in the target, `expected`.
    """
    rows: Rows = {}
    for method, picture in results.items():
        place = places[method]
        row = {"inclusion": float(place is not None)}
        if case.objects:
            row["copy_paste"] = 0.0
            score = pasted_score(case, picture, place)
            if score is not None:
                row |= {"copy_paste_score": score, "copy_paste": float(score > FLAGGED)}
        if place and case.places:
            row["affordance_found"] = float(in_a_place(place.object_box, case))
        if place and expected:
            box, truth = (place.box, expected) if case.mask is None else (place.object_box, array_box(case.mask))
            row |= {
                "placement_iou": placement.iou(box, truth),
                "placement_distance": placement.distance(box, truth, case.scene.size),
                "placement_area": placement.area(box) / placement.area(truth),
            }
        rows[method] = row
    return rows


def pasted_score(case: Case, result: Image.Image, place: placement.Appeared | None) -> float | None:
    """How well an object picture explains the object that appeared, or what is in the true mask if that is changed.

    What was pasted over something alike is not seen to appear; where there is a mask, it is searched as well. None
    where nothing appeared and nothing is changed there.
    """
    boxes = [place.object_box] if place else []
    if case.mask is not None:
        box = array_box(case.mask)
        changed = result.crop(box).tobytes() != case.scene.crop(box).tobytes()
        if changed and not any(placement.iou(box, other) > SAME_PLACE for other in boxes):
            boxes.append(box)
    scores = [copy_paste_score(result, box, view, mask) for box in boxes for view, mask in case.views()]
    return max(scores, default=None)


def backgrounds(case: Case, results: Pictures, common: np.ndarray) -> Rows:
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
    return rows


def in_a_place(box: Place, case: Case) -> bool:
    """Whether at least half of a box's area lies in one of the places that people marked in the scene."""
    return any(placement.share_inside(box, place) >= IN_PLACE for place in case.places)
