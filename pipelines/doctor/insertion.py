"""One small insertion from end to end with what ships: the toy models, a scene and an object."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..pictures.files import picture_tensor
from ..pictures.opening import open_picture
from ..restoration.restore import Restoration, restore
from ..sampling.guidance import Guidance
from ..weights.configs import read_json
from .check import OK, PROBLEM, Check
from .installation import PACK, Installation

MODELS = PACK / "playroom_models"
SEED = 5
STEPS = 20
LEAST = 0.01  # share of the picture that the object's box may cover; the sample's covers 13 %
MOST = 0.5
ANOTHER_PRECISION = "Start ComfyUI with --force-fp32, the command with --device cpu: if that helps, report it."


@dataclass(frozen=True)
class Sample:
    """A scene [1,128,128,3] and a picture of an object [1,64,64,3], in 0..1, and the guidance that the toys want."""

    scene: Tensor
    object_picture: Tensor
    guidance: Guidance


@dataclass(frozen=True)
class Edit:
    """What a model made of the scene, and what the VAE alone makes of it: [1,H,W,3]; relevance is [1,H,W]."""

    images: Tensor
    round_trip: Tensor
    relevance: Tensor


def sample() -> Sample:
    """What ships. Raises FileNotFoundError, ValueError for an incomplete pack."""
    scene, object_picture = (open_picture(MODELS / "samples" / name) for name in ("scene.png", "object.png"))
    guidance = Guidance(**read_json(MODELS / "playroom.json")["guidance"])
    return Sample(picture_tensor(scene)[..., :3], picture_tensor(object_picture)[..., :3], guidance)


def tried(name: str, insert: Callable[[Sample], Edit]) -> tuple[Check, Tensor]:
    """What is to be said of an insertion into the sample scene, restored and timed, and its picture [1,H,W,3]."""
    started = time.monotonic()
    pictures = sample()
    edit = insert(pictures)
    restored = restore(
        pictures.scene, edit.images, align_geometry=False, round_trip=edit.round_trip, relevance=edit.relevance
    )
    return judged(name, pictures.scene, restored, time.monotonic() - started), restored.images


def judged(name: str, scene: Tensor, restored: Restoration, seconds: float) -> Check:
    """Whether an insertion into a scene [1,H,W,3], restored, is there and has left the rest alone, bit for bit."""
    image = restored.images[0]
    outside = restored.effect[0] == 0
    box = restored.boxes[0]
    if not torch.isfinite(image).all():
        return Check(name, PROBLEM, "the picture holds values that are not finite", ANOTHER_PRECISION)
    if not torch.equal(image[outside], scene[0][outside]):
        return Check(name, PROBLEM, "pixels outside of the reported effect are not the scene's")
    if box is None:
        return Check(name, PROBLEM, "nothing was inserted", ANOTHER_PRECISION)
    left, top, right, bottom = box
    share = (right - left) * (bottom - top) / outside.numel()
    where = f"{right - left}x{bottom - top} px at {left}, {top}"
    if not LEAST < share < MOST:
        found = f"what was inserted covers {share:.1%} of the picture, {where}, which is no object's size"
        return Check(name, PROBLEM, found, ANOTHER_PRECISION)
    kept = f"{outside.float().mean():.1%} of the pixels are the scene's, bit for bit"
    return Check(name, OK, f"an object of {where} in {seconds:.1f} s; {kept}")


def by_commands(name: str, installation: Installation) -> Iterator[Check]:
    """The insertion as the command `insert` makes it, on diffusers. Raises ImportError without that."""
    from transformers.utils.logging import disable_progress_bar

    from ..sampling.latents import round_trip
    from ..visual_insertion.pipeline import VisualInsertionPipeline

    disable_progress_bar()
    device = torch.device(installation.device or ("cuda" if torch.cuda.is_available() else "cpu"))  # as `insert` does
    dtype = torch.float32 if device.type == "cpu" else torch.float16
    pipeline = VisualInsertionPipeline.from_folder(MODELS, device=device, dtype=dtype)

    def insert(pictures: Sample) -> Edit:
        made = pipeline(pictures.scene, pictures.object_picture, guidance=pictures.guidance, seed=SEED, steps=STEPS)
        return Edit(made.images, round_trip(pipeline.pipeline.vae, pictures.scene), made.relevance)

    check, _ = tried(name, insert)
    yield check
