"""All metrics of one case, for every method at once: the background is scored outside a mask they have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..pictures.masks import Box, array_box
from ..worker_processes import Call, called
from . import pixel_metrics, placement
from .backbones import Backbones
from .case_pixels import Pictures, Rows, backgrounds, differences, found_places, in_a_place, insertions, true_box
from .cases import Case, Place, object_box, to_size
from .detection import Detect, new_boxes
from .features import GREY, Clip, Features, padded_square
from .masked_crops import masked_similarities
from .measured import TRUTH, CaseStore, digest
from .perceptual_distances import Lpips, PictureDistance

MARGIN = 1 / 32  # of the shorter side, around every box of the common mask
LPIPS_SIDE = 256  # px of a box that LPIPS compares
FEATURES = (  # similarity to the target, to the object, of the mask's contents to the reference, and the backbone
    ("clip_i", "identity_clip", "masked_clip", "clip_b32"),
    ("dino", "", "", "dino"),
    ("", "identity_dinov2", "masked_dinov2", "dinov2"),
)
NO_CHANGE = 1e-5  # distance of two unit vectors in single precision that are one

Boxes = Mapping[str, Box | None]  # of what appeared, by method


def measure_case(
    case: Case,
    results: Pictures,
    backbones: Backbones,
    vae_scene: Image.Image | Callable[[], Image.Image | None] | None = None,
    store: CaseStore | None = None,
    call: Call = called,
) -> Rows:
    """Values by method and metric; `vae_scene` is what a VAE alone makes of the scene, or a call that gives it.

    Results are RGB and of the scene's size. What `store` has is not measured again. What needs no network is measured
    by `call`.
    """
    store = store or CaseStore()
    as_vae = vae_scene if callable(vae_scene) else lambda: vae_scene
    places = {
        method: None if not row else placement.Appeared(tuple(row["box"]), tuple(row["object_box"]))
        for method, row in store.rows(
            "place", results, lambda pending: call(found_places, case, pending, as_vae())
        ).items()
    }
    boxes = {method: place and place.box for method, place in places.items()}
    truth = store.rows("truth", {TRUTH: None}, lambda pending: {TRUTH: {"box": call(true_box, case, as_vae())}})
    expected = truth[TRUTH]["box"] and tuple(truth[TRUTH]["box"])
    common = common_mask(case, boxes, expected)
    outside = digest(np.packbits(common).tobytes())
    nets = backbones.fingerprints
    units: list[tuple[str, Callable[[Pictures], Rows], str]] = [
        ("differences", lambda some: call(differences, case, some), ""),
        ("insertions", lambda some: call(insertions, case, some, places, expected), ""),
        ("backgrounds", lambda some: call(backgrounds, case, some, common), outside),
    ]
    if backbones.lpips:
        lpips = backbones.lpips
        units.append(("lpips", lambda some: perceived(case, some, lpips), nets["lpips"]))
        units.append(
            ("lpips background", lambda some: perceived_backgrounds(case, some, common, lpips), outside + nets["lpips"])
        )
    for prefix, identity, masked, name in FEATURES:
        features = getattr(backbones, name)
        if features and prefix:
            units.append((prefix, partial(similarities, prefix, features, case), nets[name]))
        if features and identity:
            units.append((identity, partial(identities, identity, features, case, boxes=boxes), nets[name]))
        if features and masked:
            units.append((masked, partial(masked_similarities, masked, features, case), nets[name]))
    if backbones.dreamsim:
        dreamsim = backbones.dreamsim
        units.append(("dreamsim", lambda some: dreamsim_identities(dreamsim, case, some, boxes), nets["dreamsim"]))
    if backbones.clip_b32:
        clip = backbones.clip_b32
        units.append(("clip_t", lambda some: caption_similarities(backbones, case, some), nets["clip_b32"]))
        units.append(("clip_dir", lambda some: edit_similarities(clip, case, some), nets["clip_b32"]))
    if backbones.detector and case.subject:
        detect = backbones.detector
        known = store.rows(
            "detected before",
            {TRUTH: None},
            lambda pending: {TRUTH: {"boxes": detect(case.scene, case.subject)}},
            nets["detector"],
        )
        before = known[TRUTH]["boxes"]
        units.append(("detected", lambda some: detections(detect, case, some, before), nets["detector"]))
    rows: Rows = {method: {} for method in results}
    for unit, compute, part in units:
        for method, row in store.rows(unit, results, compute, part).items():
            rows[method] |= row
    return rows


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


def perceived(case: Case, results: Pictures, lpips: Lpips) -> Rows:
    """LPIPS of each result and the target, everywhere and inside the true mask's box."""
    if case.target is None:
        return {}
    target = pixel_metrics.to_tensor(case.target)
    rows: Rows = {}
    for method, picture in results.items():
        rows[method] = {"lpips": lpips(pixel_metrics.to_tensor(picture), target)}
        if case.mask is not None:
            box = array_box(case.mask)
            rows[method]["lpips_inside"] = lpips(_lpips_crop(picture, box), _lpips_crop(case.target, box))
    return rows


def _lpips_crop(picture: Image.Image, box: Box) -> Tensor:
    return pixel_metrics.to_tensor(to_size(picture.crop(box), (LPIPS_SIDE, LPIPS_SIDE)))


def perceived_backgrounds(case: Case, results: Pictures, common: np.ndarray, lpips: Lpips) -> Rows:
    """LPIPS of each result and the scene, the common mask [H,W] filled from the scene."""
    if common.all():
        return {}
    scene = pixel_metrics.to_tensor(case.scene)
    rows: Rows = {}
    for method, picture in results.items():
        result = pixel_metrics.filled(pixel_metrics.to_tensor(picture), scene, common)
        rows[method] = {"background_lpips": lpips(result, scene)}
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
    if features is None or not case.objects:
        return {}
    places = [(method, f"{prefix}_found", box) for method in results if (box := boxes[method])]
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
    if dreamsim is None or not case.objects:
        return {}
    references = object_views(case)
    rows: Rows = {}
    for method in results:
        box = boxes[method]
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


def edit_similarities(clip: Clip, case: Case, results: Pictures) -> Rows:
    """Emu Edit's cosines of each result, where the scene has a caption: with the scene, with the target's caption, and
    of the change from scene to result with that from the scene's caption to the target's.

    A change is a difference of unit vectors. The last cosine is 0 where the result is the scene, and has no value where
    the captions say the same. Without a tokenizer there is the first alone.
    """
    if not case.scene_caption:
        return {}
    scene, *vectors = clip.pictures([case.scene, *results.values()])
    rows: Rows = {method: {"clip_im": float(vector @ scene)} for method, vector in zip(results, vectors, strict=True)}
    if clip.tokenizer and case.caption:
        scene_caption, caption = clip.texts([case.scene_caption, case.caption])
        told_change = caption - scene_caption
        for row, vector in zip(rows.values(), vectors, strict=True):
            row["clip_out"] = float(vector @ caption)
            if told_change.norm() > NO_CHANGE:
                change = vector - scene
                cosine = torch.cosine_similarity(change, told_change, dim=0)
                row["clip_dir"] = float(cosine) if change.norm() > NO_CHANGE else 0.0
    return rows


def detections(detect: Detect, case: Case, results: Pictures, before: Sequence[Place]) -> Rows:
    """Whether a detector finds the subject in each result where it did not in the scene, `before`, and which share of
    what it finds lies in a marked place; the share has no value where it finds nothing.
    """
    rows: Rows = {}
    for method, picture in results.items():
        boxes = new_boxes(detect(picture, case.subject), before)[: case.subject_count]
        rows[method] = {"inclusion_detected": float(bool(boxes))}
        if boxes and case.places:
            rows[method]["affordance"] = float(np.mean([in_a_place(box, case) for box in boxes]))
    return rows
