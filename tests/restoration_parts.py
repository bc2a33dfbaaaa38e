"""What the tests of restoring share: small photographs, things put in, and drift, as the benchmark makes them."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from visual_insertion_pack.benchmarks import restoration_cases as cases

STILL = cases.Drift()  # a VAE alone
SIDE = 256  # px, the longer side of a photograph


@dataclass(frozen=True)
class Edit:
    """A scene [1,H,W,3], what an editor made of it [1,h,w,3], and the truth."""

    scene: Tensor
    edited: Tensor
    ideal: Tensor  # [1,H,W,3], the scene with the object before any drift
    object: np.ndarray  # [H,W] in 0..1
    effect: np.ndarray  # [H,W] bool, what is visible of object and shadow
    touched: np.ndarray  # [H,W] bool, all that differs
    affine: np.ndarray  # [2,3], see `cases`


def tensor(picture: np.ndarray) -> Tensor:
    """A picture [H,W,C] as a batch of one."""
    return torch.from_numpy(np.array(picture, np.float32))[None]


def photograph(name: str = "chelsea.png", side: int = SIDE) -> np.ndarray:
    return cases.photograph(name, side)


def turned(degrees: float) -> tuple[float, float, float, float]:
    """The matrix of a turn, clockwise."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return (cosine, -sine, sine, cosine)


def edit(
    drift: cases.Drift = STILL,
    name: str = "chelsea.png",
    *,
    kind: str | None = "blob",
    side: int = SIDE,
    seed: object = 0,
) -> Edit:
    """A photograph with an object of `kind` (None: nothing) and its shadow, drifted."""
    scene = photograph(name, side)
    ideal, alpha, around = scene, np.zeros(scene.shape[:2], np.float32), scene
    if kind:
        ideal, alpha, around = cases.composited(scene, kind, cases.seeded(name, kind, seed))
    edited, affine = cases.drifted(ideal, drift, cases.seeded(name, kind, seed, "drift"))
    return Edit(
        scene=tensor(scene),
        edited=tensor(edited),
        ideal=tensor(ideal),
        object=alpha,
        effect=cases.visible_effect(scene, alpha, around) if kind else alpha > 0,
        touched=np.abs(ideal - scene).max(-1) > cases.TOUCHED,
        affine=affine,
    )


def iou(one, other) -> float:
    """Of two masks [H,W], each at a half."""
    first, second = np.asarray(one) >= 0.5, np.asarray(other) >= 0.5
    return float((first & second).sum() / max(1, (first | second).sum()))


def bit_equal_outside(image: Tensor, scene: Tensor, effect: Tensor) -> bool:
    """Whether pictures [N,H,W,C] are the scene's [1|N,H,W,C] where an effect [N,H,W] is 0, bit for bit."""
    outside = effect == 0
    return torch.equal(image[outside], scene.expand_as(image)[outside])
