"""The playroom's held-out triplets as a benchmark, its oracle's findings as metrics of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from ...evaluation.cases import Benchmark, Case
from ...evaluation.metrics import Metric
from ...evaluation.pixel_metrics import MOST_DECIBELS
from ..world import words
from ..world.dataset import TEST_SEEDS, Arrays, render_arrays
from . import oracle
from .judge import Judge, load_judge

ABOUT = (
    "Toys in rendered rooms that no shipped model was trained on. The object pictures show the toy from another side, "
    "under another light. The oracle's columns compare with the truth of the rendering; it looks for what changed "
    "against the scene and, where a VAE is given, its version of the scene (the command gives the shipped one)."
)
JUDGED = (
    Metric("oracle_inserted", "1 where the oracle finds an object", "higher"),
    Metric("oracle_identity", "mean agreement of shape, pattern and colour, 0 where nothing is found", "higher"),
    Metric("oracle_supported", "1 where what was found stands on floor or table", "higher"),
    Metric("oracle_background", "dB to the scene outside what was found and its shadow", "higher"),
)
ADJECTIVES = {"plain": "plain", "stripes": "striped", "dots": "dotted"}


def name_toy(shape: int, pattern: int, colour: np.ndarray) -> str:
    """Such as "a striped red ball"; the arguments are `words.caption`'s."""
    texture, hue, thing = words.caption(shape, pattern, colour).split()
    return f"a {ADJECTIVES[texture]} {hue} {thing}"


def nearest(result: np.ndarray, scene: np.ndarray, vae_scene: np.ndarray) -> np.ndarray:
    """The scene to look for changes against, uint8 [N,H,W,3] like all: in each pixel what `result` is nearer to.

    A method may leave pixels as they were or send them through the VAE; neither is a change.
    """
    signed = result.astype(int)
    distance = np.abs(signed - scene).sum(-1, keepdims=True)
    vae_distance = np.abs(signed - vae_scene).sum(-1, keepdims=True)
    return np.where(distance <= vae_distance, scene, vae_scene)


def playroom(judge_file: Path, seeds: range = TEST_SEEDS) -> Benchmark:
    """The triplets of these seeds. Raises FileNotFoundError where the trained judge is missing."""
    judge = open_judge(judge_file)
    names = tuple(str(seed) for seed in seeds)

    def read(index: int) -> Case:
        truth = render_arrays(seeds[index : index + 1], views=1)
        toy = name_toy(truth["shape"][0], truth["pattern"][0], truth["colour"][0])
        return Case(
            names[index],
            Image.fromarray(truth["scene"][0]),
            (Image.fromarray(truth["objects"][0, 0]),),
            target=Image.fromarray(truth["target"][0]),
            mask=truth["object_mask"][0],
            instruction=f"add {toy}",
            caption=f"{toy} in a room",
        )

    judged = partial(findings, judge, lambda name: render_arrays(range(int(name), int(name) + 1), views=1))
    return Benchmark("playroom", ABOUT, names, read, judged=JUDGED, judge=judged)


def open_judge(judge_file: Path) -> Judge:
    """The trained judge. Raises FileNotFoundError."""
    if not judge_file.is_file():
        raise FileNotFoundError(f"{judge_file} is missing: the judge of shapes and patterns, part of the pack.")
    return load_judge(judge_file)


def findings(
    judge: Judge, truth_of: Callable[[str], Arrays], case: Case, result: Image.Image, vae_scene: Image.Image | None
) -> dict[str, float]:
    """The values of JUDGED; `truth_of` gives the rendering of a case by its name."""
    pictures = np.asarray(result)[None]
    scenes = np.asarray(case.scene)[None]
    vae_scenes = np.asarray(vae_scene or case.scene)[None]
    table = oracle.score(pictures, nearest(pictures, scenes, vae_scenes), truth_of(case.name), judge)
    return {
        "oracle_inserted": float(table["inserted"][0]),
        "oracle_identity": float(oracle.identity(table)[0]),
        "oracle_supported": float(table["supported"][0]),
        "oracle_background": min(float(table["background"][0]), MOST_DECIBELS),
    }
