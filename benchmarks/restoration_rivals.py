"""What others do with an edit, written anew from what they publish, to stand beside `restore` in one table.

None of it is their code. Where a description leaves a number open, the number is the best for these very cases. Every
method takes scene and edited picture [H,W,3] float32 in 0..1 and gives an `Outcome`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .restoration_cases import Affine, resized

# The rule that Local Region Paste had at 730a6a8.
SMOOTH = 1 / 64
FAINT = 12 / 255
CLEAR = 36 / 255
SMALLEST = 1 / 16

LUMA_WEIGHT = 0.5  # of lightness in a colour difference, against contrast that an editor raises everywhere
FLOW_DELTA_E = 7.0
MERGE_DELTA_E = 22.0
MATCHES = 12  # of features, from which on a homography is believed


@dataclass(frozen=True)
class Outcome:
    """A method's answer: picture [H,W,3], how much of each pixel is the edit's [H,W], the object alone, geometry."""

    picture: np.ndarray
    effect: np.ndarray
    objects: np.ndarray | None = None
    affine: Affine | None = None


def at_size_of(scene: np.ndarray, edited: np.ndarray) -> np.ndarray:
    height, width = scene.shape[:2]
    return edited if edited.shape == scene.shape else resized(edited, width, height)


def stretched(scene: np.ndarray, edited: np.ndarray) -> Affine:
    """The geometry of those who only resize."""
    by = np.array(edited.shape[1::-1]) / np.array(scene.shape[1::-1])
    return np.column_stack([np.diag(by), by / 2 - 0.5])


def composited(scene: np.ndarray, edited: np.ndarray, share: np.ndarray) -> np.ndarray:
    return np.where(share[..., None] > 0, scene + (edited - scene) * share[..., None], scene).astype(np.float32)


def todays_rule(scene: np.ndarray, edited: np.ndarray) -> Outcome:
    """What Local Region Paste pasted as `changes` at 730a6a8, without its feather: `changed_pixels` as it was."""
    small = at_size_of(scene, edited)
    sigma = SMOOTH * max(scene.shape[:2])
    difference = np.abs(ndimage.gaussian_filter(small - scene, (sigma, sigma, 0))).max(-1)
    labels, count = ndimage.label(difference > FAINT, np.ones((3, 3)))
    kept = np.zeros(count + 1, bool)
    for label, place in enumerate(ndimage.find_objects(labels), 1):
        clear = (labels[place] == label) & (difference[place] > CLEAR)
        kept[label] = max(clear.any(1).sum(), clear.any(0).sum()) >= SMALLEST * min(scene.shape[:2])
    effect = ndimage.binary_fill_holes(kept[labels]).astype(np.float32)
    return Outcome(composited(scene, small, effect), effect, affine=stretched(scene, edited))


def plain_difference(scene: np.ndarray, edited: np.ndarray, truth: np.ndarray) -> Outcome:
    """Where some channel differs by more than a threshold: the one that is best for this case, known afterwards."""
    small = at_size_of(scene, edited)
    difference = np.abs(small - scene).max(-1)
    masks = [difference > level / 255 for level in range(2, 130, 4)]
    overlaps = [(mask & truth).sum() / max(1, (mask | truth).sum()) for mask in masks]
    effect = masks[int(np.argmax(overlaps))].astype(np.float32)
    return Outcome(composited(scene, small, effect), effect, affine=stretched(scene, edited))


def _bytes(picture: np.ndarray) -> np.ndarray:
    return np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def _lab(picture: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.cvtColor(np.ascontiguousarray(np.clip(picture, 0, 1), np.float32), cv2.COLOR_RGB2LAB)


def _homography(scene: np.ndarray, edited: np.ndarray) -> np.ndarray | None:
    """From the scene's px to the edited picture's [3,3], by SIFT features and RANSAC; None where too few agree."""
    import cv2

    detector = cv2.SIFT_create(4000)
    grey = [cv2.cvtColor(_bytes(picture), cv2.COLOR_RGB2GRAY) for picture in (scene, edited)]
    points, descriptors = detector.detectAndCompute(grey[0], None)
    other_points, other_descriptors = detector.detectAndCompute(grey[1], None)
    if descriptors is None or other_descriptors is None or min(len(points), len(other_points)) < MATCHES:
        return None
    pairs = cv2.BFMatcher(cv2.NORM_L2).knnMatch(descriptors, other_descriptors, k=2)
    good = [pair[0] for pair in pairs if len(pair) == 2 and pair[0].distance < 0.75 * pair[1].distance]
    if len(good) < MATCHES:
        return None
    source = np.float32([points[match.queryIdx].pt for match in good])
    target = np.float32([other_points[match.trainIdx].pt for match in good])
    matrix, inliers = cv2.findHomography(source, target, cv2.RANSAC, 3.0)
    return matrix if matrix is not None and inliers.sum() >= MATCHES else None


def _reinhard(edited: np.ndarray, scene: np.ndarray) -> np.ndarray:
    """The edited picture with mean and spread of each Lab channel brought to the scene's (Reinhard et al. 2001)."""
    import cv2

    lab = _lab(edited)
    target = _lab(scene)
    matched = (lab - lab.mean((0, 1))) / (lab.std((0, 1)) + 1e-6) * target.std((0, 1)) + target.mean((0, 1))
    return np.clip(cv2.cvtColor(matched.astype(np.float32), cv2.COLOR_LAB2RGB), 0, 1)


def _flow(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    import cv2

    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return dis.calc(*[cv2.cvtColor(_bytes(picture), cv2.COLOR_RGB2GRAY) for picture in (one, other)], None)


def _sampled(picture: np.ndarray, flow: np.ndarray) -> np.ndarray:
    import cv2

    y, x = np.mgrid[: flow.shape[0], : flow.shape[1]].astype(np.float32)
    return cv2.remap(picture, x + flow[..., 0], y + flow[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def flow_composite(scene: np.ndarray, edited: np.ndarray, threshold: float = FLOW_DELTA_E) -> Outcome:
    """The published steps of comfyui-klein-edit-composite.

    A homography by features; Reinhard's colours; dense DIS flow in both directions, with what they disagree about
    counted as changed; both pictures blurred a little; the distance of colours in Lab with lightness at less weight,
    smoothed; a threshold; holes closed, small parts dropped; a feathered composite.
    """
    aligned, distance, disagreement, affine = flow_distances(scene, edited)
    share = flow_share(distance, disagreement, threshold)
    return Outcome(composited(scene, aligned, share), share, affine=affine)


def flow_distances(scene: np.ndarray, edited: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, Affine]:
    """(the edit laid over the scene, its distance in colour [H,W], what the flows disagree by [H,W], the geometry)."""
    import cv2

    small = at_size_of(scene, edited)
    height, width = scene.shape[:2]
    matrix = _homography(scene, small)
    if matrix is not None:
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        small = cv2.warpPerspective(small, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT)
    small = _reinhard(np.clip(small, 0, 1), scene)
    forward = _flow(scene, small)
    backward = _flow(small, scene)
    disagreement = np.linalg.norm(forward + _sampled(backward, forward), axis=-1)
    # A flow that follows the object would pull background over it: only small steps are taken.
    steady = np.where(np.linalg.norm(forward, axis=-1, keepdims=True) < 2.0, forward, 0).astype(np.float32)
    aligned = np.clip(_sampled(small, steady), 0, 1)
    blurred = [cv2.GaussianBlur(picture, (0, 0), 1.5) for picture in (scene, aligned)]
    apart = (_lab(blurred[1]) - _lab(blurred[0])) * (LUMA_WEIGHT, 1, 1)
    distance = np.linalg.norm(apart, axis=-1)
    distance = cv2.GaussianBlur(distance.astype(np.float32), (0, 0), 0.004 * max(height, width))
    base = stretched(scene, edited)
    affine = base if matrix is None else base @ np.vstack([(matrix / matrix[2, 2])[:2], [0, 0, 1]])
    return aligned, distance, disagreement, affine


def flow_share(distance: np.ndarray, disagreement: np.ndarray, threshold: float) -> np.ndarray:
    """How much of each pixel [H,W] is the edit's."""
    side = max(distance.shape)
    changed = (distance > threshold) | ((disagreement > 8) & (distance > threshold / 2))
    changed = _cleaned(changed, closing=0.01 * side, smallest=0.001 * distance.size)
    return _feathered(changed, 0.006 * side)


def _cleaned(changed: np.ndarray, closing: float, smallest: float) -> np.ndarray:
    import cv2

    side = 2 * round(closing) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    closed = cv2.morphologyEx(changed.astype(np.uint8), cv2.MORPH_CLOSE, kernel)
    labels, count = ndimage.label(ndimage.binary_fill_holes(closed))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    kept = sizes >= smallest
    kept[0] = False
    return kept[labels]


def _feathered(changed: np.ndarray, width: float) -> np.ndarray:
    distance = ndimage.distance_transform_edt(~changed) if changed.any() else np.full(changed.shape, np.inf)
    return np.clip(1 - distance / (width + 1), 0, 1).astype(np.float32)


def difference_merge(scene: np.ndarray, edited: np.ndarray, threshold: float = MERGE_DELTA_E) -> Outcome:
    """The published steps of flux-kontext-diff-merge, with its defaults for lengths in px.

    The distance of colours in Lab less its median, which is what the model does everywhere; a threshold; parts under
    250 px dropped; 8 px grown; blurred and feathered by 15; blended by Poisson's equation.
    """
    small = at_size_of(scene, edited)
    share = merge_share(merge_distance(scene, small), threshold)
    return Outcome(_poisson(scene, small, share > 0.5), share, affine=stretched(scene, edited))


def merge_distance(scene: np.ndarray, edited: np.ndarray) -> np.ndarray:
    """By how much colours are further apart [H,W] than in the middle."""
    distance = np.linalg.norm(_lab(edited) - _lab(scene), axis=-1)
    return distance - np.median(distance)


def merge_share(distance: np.ndarray, threshold: float) -> np.ndarray:
    """How much of each pixel [H,W] is the edit's."""
    import cv2

    changed = cv2.morphologyEx((distance > threshold).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    changed = _cleaned(changed, closing=2, smallest=250)
    grown = cv2.dilate(changed.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (17, 17)))
    return cv2.GaussianBlur(cv2.GaussianBlur(grown.astype(np.float32), (15, 15), 0), (15, 15), 0)


def _poisson(scene: np.ndarray, edited: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The edit's gradients in the mask, the scene's values around it; padded, as the mask may touch the border."""
    import cv2

    if not mask.any():
        return scene
    margin = 8
    pad = ((margin, margin), (margin, margin), (0, 0))
    source = np.pad(_bytes(edited), pad, mode="reflect")
    target = np.pad(_bytes(scene), pad, mode="reflect")
    stencil = np.pad(mask.astype(np.uint8) * 255, margin)
    x, y, width, height = cv2.boundingRect(stencil)
    blended = cv2.seamlessClone(source, target, stencil, (x + width // 2, y + height // 2), cv2.NORMAL_CLONE)
    return blended[margin:-margin, margin:-margin].astype(np.float32) / 255
