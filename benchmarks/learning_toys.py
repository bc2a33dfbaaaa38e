"""Held-out toys of the playroom to learn from pictures, and the networks that put them into rooms.

Each toy is pictured in four rooms, with its box, and then put into rooms where it never stood.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..pipelines.encoders.views import join_views, null_beside
from ..pipelines.object_representation.learned_object import LearnedObject
from ..pipelines.object_representation.training.examples import LearningModel, view_tokens
from ..pipelines.object_representation.training.of_pipeline import learning_model
from ..pipelines.object_representation.training.views import View
from ..pipelines.paint_by_example.pipeline import PaintByExamplePipeline
from ..pipelines.paint_by_example.training.exemplar_task import preview
from ..pipelines.playroom.judging import oracle
from ..pipelines.playroom.judging.judge import load_judge
from ..pipelines.playroom.models import ShippedNetworks, noise_schedule
from ..pipelines.playroom.paint_by_example.encoded_exemplars import enclosing_box
from ..pipelines.playroom.paint_by_example.painting import GUIDANCE, PaintingCases
from ..pipelines.playroom.pictures import decode_latents, grid, restored_pictures, to_pictures
from ..pipelines.playroom.world import dataset
from ..pipelines.playroom.world.toys import Toy, random_toy
from ..pipelines.visual_insertion.pipeline import VisualInsertionPipeline
from .bench_paint_by_example import score
from .figures import ROOT

MODELS = ROOT / "playroom_models"
VIEWS = 4
TOYS = (
    dataset.HELD_OUT_SEED + 5000
)  # seeds of the toys, of the rooms they are pictured in, and of those they are put into
PICTURED = dataset.HELD_OUT_SEED + 10_000
ROOMS = dataset.HELD_OUT_SEED + 20_000
COLUMNS = ("identity", "shape", "pattern", "colour", "inserted")
JOINED = {"plain": "separate", "average": "average", "concatenate": "concatenate"}  # how pictures are shown, by arm
Rows = dict[str, list[float]]  # by column, of each picture


@dataclass(frozen=True)
class ToyCase:
    """A toy, its pictures, and the rooms to put it into."""

    toy: Toy
    views: list[View]
    truth: dataset.Arrays
    cases: PaintingCases
    restored: np.ndarray

    @classmethod
    def of(cls, index: int, rooms: int, shipped: ShippedNetworks) -> ToyCase:
        toy = random_toy(np.random.default_rng(TOYS + index))
        pictured = dataset.render_arrays(range(PICTURED + 10 * index, PICTURED + 10 * index + VIEWS), 1, toy)
        views = [
            View(torch.from_numpy(picture).movedim(-1, 0), enclosing_box(box))
            for picture, box in zip(pictured["target"], pictured["box"], strict=True)
        ]
        truth = dataset.render_arrays(range(ROOMS + 100 * index, ROOMS + 100 * index + rooms), 1, toy)
        return cls(toy, views, truth, PaintingCases.of(truth, shipped), restored_pictures(shipped.vae, truth["scene"]))


class Workshop(ABC):
    """The networks, and what judges."""

    def __init__(self, model: LearningModel):
        self.model = model
        self.shipped = ShippedNetworks.load(MODELS)
        self.judge = load_judge(MODELS / "judge.safetensors")

    @abstractmethod
    def made(self, case: ToyCase, context: Tensor, null: Tensor, seed: int) -> np.ndarray:
        """uint8 pictures [N,H,W,3] of one object, its contexts [1,T,D], in all rooms of a case."""

    @abstractmethod
    def table(self, case: ToyCase, pictures: np.ndarray) -> dict[str, np.ndarray]:
        """What the oracle says of each picture."""

    def rows(self, case: ToyCase, pictures: np.ndarray) -> Rows:
        table = self.table(case, pictures)
        return {name: np.nan_to_num(table[name].astype(float), nan=-1).tolist() for name in COLUMNS}

    def shown(self, case: ToyCase, arm: str) -> tuple[Tensor, Tensor]:
        """(object, null) contexts of pictures that are shown: the first, or all in one of two ways."""
        tokens = view_tokens(self.model, case.views[:1] if arm == "plain" else case.views)
        context = join_views(tokens, JOINED[arm])
        return context, null_beside(context, self.model.null[0])

    def with_objects(self, case: ToyCase, objects: Sequence[LearnedObject], context, null, seed: int) -> np.ndarray:
        """The pictures under the changes of learned objects, which may be several."""
        with ExitStack() as stack:
            for learned in objects:
                if learned.patch:
                    stack.enter_context(learned.changes(self.model.layers).attached(self.model.layers))
            return self.made(case, context, null, seed)

    def sheet(self, case: ToyCase, pictures: np.ndarray) -> Image.Image:
        """Scenes and results."""
        return grid([case.truth["scene"], case.truth["target"], pictures], across=4)


class PaintWorkshop(Workshop):
    """The shipped Paint by Example, which paints into a hole around the true place."""

    def __init__(self):
        super().__init__(learning_model(PaintByExamplePipeline.from_folder(MODELS / "paint_by_example")))

    @torch.no_grad()
    def made(self, case: ToyCase, context: Tensor, null: Tensor, seed: int) -> np.ndarray:
        cases = case.cases
        latents = preview(
            self.model.unet,
            context.expand(len(cases), -1, -1),
            null,
            cases.masked,
            cases.cells,
            noise_schedule(),
            scale=GUIDANCE,
            seed=seed,
        )
        return to_pictures(decode_latents(self.shipped.vae, latents))

    def table(self, case: ToyCase, pictures: np.ndarray) -> dict[str, np.ndarray]:
        return score(pictures, case.restored, case.truth, holes=case.cases.hole.numpy(), judge=self.judge)


class InsertWorkshop(Workshop):
    """The shipped flagship, which finds the place itself."""

    def __init__(self):
        self.pipeline = VisualInsertionPipeline.from_folder(MODELS)
        super().__init__(learning_model(self.pipeline))

    def made(self, case: ToyCase, context: Tensor, null: Tensor, seed: int) -> np.ndarray:
        scenes = torch.from_numpy(case.truth["scene"]).float() / 255
        count = len(scenes)
        parts: dict[str, Any] = dict(context=context.expand(count, -1, -1), null=null.expand(count, -1, -1))
        images = self.pipeline.sample(scenes, **parts, seed=seed).images
        return (images.clamp(0, 1) * 255).round().byte().numpy()

    def table(self, case: ToyCase, pictures: np.ndarray) -> dict[str, np.ndarray]:
        table = oracle.score(pictures, case.restored, case.truth, self.judge)
        return table | {"identity": oracle.identity(table)}


WORKSHOPS = {"paint": PaintWorkshop, "insert": InsertWorkshop}
