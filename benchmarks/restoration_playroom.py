"""The playroom's scenes restored after the shipped flagship's insertions, and after true pictures' way through its VAE.

Two truths. Of a *true picture* the renderer knows which pixels are the object and which its shadow; the VAE's decoding
of it is what an editor that gets everything right would give back. What the flagship *inserts* nobody drew: its truth
is where its result differs from the VAE's decoding of the scene by a rule of this file, a threshold and an opening: the
oracle's until it went by `restoration.change_map` too, kept here so that restoring is not judged by itself.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from ..pipelines.evaluation.intervals import paired_interval
from ..pipelines.pictures.parts import largest_part
from ..pipelines.playroom.judging import oracle
from ..pipelines.playroom.judging.judge import load_judge
from ..pipelines.playroom.pictures import restored_pictures
from ..pipelines.playroom.world import dataset
from ..pipelines.restoration.restore import Restoration, restore
from ..pipelines.visual_insertion.pipeline import VisualInsertionPipeline
from .restoration_measures import overlap

CHANGE = 22.0  # of 255, mean over the channels, averaged over 3x3
SMALLEST = 150  # px
SHADOW_RESIDUE = 12.0  # of 255
WRONG = 2.0  # px
BATCH = 32
STEPS = 20

Figures = dict[str, float]


def as_tensor(pictures: np.ndarray) -> Tensor:
    """uint8 [N,H,W,3] as float32 in 0..1."""
    return torch.from_numpy(pictures).float() / 255


def as_bytes(pictures: Tensor) -> np.ndarray:
    return (pictures[..., :3].clamp(0, 1) * 255).round().byte().numpy()


def shadow(result: np.ndarray, scene: np.ndarray) -> np.ndarray:
    """Pixels [H,W] bool of a float picture [H,W,3], 0..255, that are the scene, only darker."""
    factor = (result * scene).sum(-1) / np.maximum((scene * scene).sum(-1), 1)
    residue = np.abs(result - factor[..., None] * scene).max(-1)
    return (factor < 1) & (factor > 0.35) & (residue < SHADOW_RESIDUE)


def own_pixels(result: np.ndarray, vae_scene: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """(the toy's pixels, those and its shadow's) [H,W] bool in a result uint8 [H,W,3]; None where there is no toy."""
    edited = result.astype(np.float32)
    original = vae_scene.astype(np.float32)
    changed = np.asarray(ndimage.uniform_filter(np.abs(edited - original).mean(-1), 3)) > CHANGE
    whole = largest_part(changed, corners=False)
    if whole is None:
        return None
    solid = ndimage.binary_opening(changed & ~shadow(edited, original))
    toy = largest_part(np.asarray(solid) & ndimage.binary_dilation(whole, iterations=2), corners=False)
    return None if toy is None or toy.sum() < SMALLEST else (toy, whole | toy)


class Playroom:
    """The test split's first cases, with what the flagship makes of them."""

    def __init__(self, models: Path, count: int, seed: int = 0):
        self.truth = dataset.render_arrays(dataset.TEST_SEEDS[:count], views=1)
        self.judge = load_judge(models / "judge.safetensors")
        self.scenes = as_tensor(self.truth["scene"])
        pipeline = VisualInsertionPipeline.from_folder(models)
        vae = pipeline.pipeline.vae
        self.vae_scenes = restored_pictures(vae, self.truth["scene"])
        self.vae_targets = restored_pictures(vae, self.truth["target"])
        contexts = [pipeline.contexts(picture) for picture in as_tensor(self.truth["objects"][:, 0])]
        results = []
        relevances = []
        for start in range(0, count, BATCH):
            part = slice(start, start + BATCH)
            context = torch.cat([full for full, _ in contexts[part]])
            null = contexts[0][1]
            insertion = pipeline.sample(self.scenes[part], context, null, steps=STEPS, seed=seed * 1000 + start)
            results.append(insertion.images)
            relevances.append(insertion.relevance)
        self.results = torch.cat(results)[..., :3]
        self.relevance = torch.cat(relevances)

    def restored(self, edited: Tensor, relevance: Tensor | None = None, calibrated: bool = True) -> Restoration:
        """All scenes, restored from these edits; `calibrated` says whether the VAE's round trip is known."""
        return restore(
            self.scenes, edited, round_trip=as_tensor(self.vae_scenes) if calibrated else None, relevance=relevance
        )


def against(result: Restoration, objects: list[np.ndarray | None], effects: list[np.ndarray | None]) -> Figures:
    """Mean IoU with true masks, over the cases that have them."""
    of_object = []
    of_effect = []
    for number, (toy, effect) in enumerate(zip(objects, effects, strict=True)):
        if toy is None or effect is None:
            continue
        of_object.append(overlap(result.objects[number].numpy() >= 0.5, toy))
        of_effect.append(overlap(result.effect[number].numpy() >= 0.5, effect))
    return {
        "object_iou": float(np.mean(of_object)),
        "object_iou_median": float(np.median(of_object)),
        "effect_iou": float(np.mean(of_effect)),
        "cases": float(len(of_object)),
    }


def wrong_geometries(result: Restoration, side: int) -> float:
    """How many pictures were moved by more than 2 px somewhere: the playroom's models never move a scene."""
    moved = [
        max(abs(report.shift[0]), abs(report.shift[1])) + abs(report.zoom - 1) * side / 2 for report in result.reports
    ]
    return float(sum(one > WRONG for one in moved))


def bit_equal(result: Restoration, scenes: Tensor) -> float:
    """The share of pictures that are their scene bit for bit wherever no effect is reported."""
    untouched = result.effect == 0
    equal = [torch.equal(result.images[i][untouched[i]], scenes[i][untouched[i]]) for i in range(len(scenes))]
    return float(np.mean(equal))


def judged(
    playroom: Playroom, pictures: np.ndarray, originals: np.ndarray, before: np.ndarray | None = None
) -> tuple[Figures, np.ndarray]:
    """(identity and inclusion of pictures against what their background is taken from, both uint8; identity [N]).

    With the identity `before` [N] also how much it has changed, with the 95 % interval over the cases.
    """
    table = oracle.score(pictures, originals, playroom.truth, playroom.judge)
    identity = oracle.identity(table)
    row = {
        "identity": float(identity.mean()),
        "inserted": float(table["inserted"].mean()),
        "background_db": float(np.nanmean(table["background"])),
    }
    change = None if before is None else paired_interval(identity, before)
    if change is not None and change.low is not None and change.high is not None:
        row |= {"identity_change": change.value, "identity_change_low": change.low, "identity_change_high": change.high}
    return row, identity


def measure(models: Path, count: int) -> dict[str, Figures]:
    """All figures of the playroom, by what was restored."""
    playroom = Playroom(models, count)
    pairs = zip(as_bytes(playroom.results), playroom.vae_scenes, strict=True)
    own = [own_pixels(result, vae_scene) for result, vae_scene in pairs]
    toys = [None if pixels is None else pixels[0] for pixels in own]
    effects = [None if pixels is None else pixels[1] for pixels in own]
    true_toys = list(playroom.truth["object_mask"])
    at_true_place = [
        true if toy is not None and overlap(toy, true) > 0.5 else None
        for toy, true in zip(toys, true_toys, strict=True)
    ]
    as_it_comes, identity = judged(playroom, as_bytes(playroom.results), playroom.vae_scenes)
    rows = {"as it comes": as_it_comes}

    ways: dict[str, tuple[Tensor | None, bool]] = {
        "restored": (playroom.relevance, True),  # as `insert` and the templates of the flagship do
        "without the VAE known": (playroom.relevance, False),
        "without relevance": (None, True),
        "without relevance, without the VAE known": (None, False),
    }
    for name, (relevance, calibrated) in ways.items():
        result = playroom.restored(playroom.results, relevance, calibrated)
        kept, _ = judged(playroom, as_bytes(result.images), playroom.truth["scene"], identity)
        row = against(result, toys, effects) | kept
        row["bit_equal"] = bit_equal(result, playroom.scenes)
        row["wrong_geometry"] = wrong_geometries(result, playroom.scenes.shape[2])
        row["identical"] = float((result.images == playroom.scenes).all(-1).float().mean())
        if any(true is not None for true in at_true_place):
            there = against(result, at_true_place, at_true_place)
            row |= {"true_place_object_iou": there["object_iou"], "true_place_cases": there["cases"]}
        rows[name] = row

    true_effects = list(playroom.truth["effect_mask"])
    pairs = zip(playroom.vae_targets, playroom.vae_scenes, true_toys, strict=True)
    by_rule = [(own_pixels(target, vae_scene), true) for target, vae_scene, true in pairs]
    seen_iou = float(np.mean([0.0 if pixels is None else overlap(pixels[0], true) for pixels, true in by_rule]))
    for name, calibrated in (("true pictures", True), ("true pictures, without the VAE known", False)):
        result = playroom.restored(as_tensor(playroom.vae_targets), None, calibrated)
        row = against(result, true_toys, true_effects)
        row["bit_equal"] = bit_equal(result, playroom.scenes)
        row["wrong_geometry"] = wrong_geometries(result, playroom.scenes.shape[2])
        row["seen_iou"] = seen_iou
        rows[name] = row
    return rows
