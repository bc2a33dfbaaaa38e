"""The pictures of the nodes that learn an object and apply it, on the playroom's Paint by Example."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image

from ...pipelines.pictures.boxes import to_bounding_boxes
from ...pipelines.playroom.paint_by_example.encoded_exemplars import enclosing_box
from ...pipelines.playroom.world import dataset
from ...pipelines.playroom.world.toys import random_toy
from .layout import sheet
from .workshop import Workshop, framed, picture_of, pixels_of, sample

TOY = 5  # a seed
ROOMS = range(dataset.TEST_SEEDS.start + 40, dataset.TEST_SEEDS.start + 44)
DEFAULTS = dict(name="help", train="low-rank", steps=150, seed=0)


class Learner:
    """An object learned from pictures of it in four rooms, with boxes, once for both pictures."""

    def __init__(self, workshop: Workshop):
        self.workshop = workshop
        pictured = dataset.render_arrays(ROOMS, 1, random_toy(np.random.default_rng(TOY)))
        self.views = torch.from_numpy(pictured["target"]).float() / 255
        self.boxes = [enclosing_box(box) for box in pictured["box"]]
        self.model, self.vae, self.clip_vision, self.encoder = workshop.exemplar_toys

    @cached_property
    def learned(self) -> tuple[Any, ...]:
        """learned_object, loss_curve, preview."""
        networks = dict(model=self.model, vae=self.vae, clip_vision=self.clip_vision, exemplar_encoder=self.encoder)
        boxes = to_bounding_boxes([[box] for box in self.boxes])
        return self.workshop("LearnObject", images=self.views, bounding_box=boxes, **networks, **DEFAULTS)

    def painted(self, strength: float, scene: torch.Tensor, mask: torch.Tensor) -> Image.Image:
        """The learned object in a scene's mask."""
        model, positive, negative = self.workshop(
            "ApplyObject",
            model=self.model,
            name="(connected)",
            learned_object=self.learned[0],
            strength=strength,
        )
        return self.workshop.painted_from(scene, mask, model=model, positive=positive, negative=negative)


def learn(workshop: Workshop) -> Image.Image:
    """The views, how the loss fell, and what was learned."""
    learner = Learner(workshop)
    _, curve, preview = learner.learned
    views = [
        (f"view {number + 1}", framed(picture_of(view[None]), box, width=1))
        for number, (view, box) in enumerate(zip(learner.views, learner.boxes, strict=True))
    ]
    return sheet(views, [("loss", picture_of(curve)), ("as learned", picture_of(preview))])


def apply(workshop: Workshop) -> Image.Image:
    """A hole, and the object in it."""
    learner = Learner(workshop)
    scene = pixels_of(sample("scene"))
    mask = workshop.toy_mask(scene)
    return sheet(
        [("image", sample("scene")), "+", ("mask", picture_of(mask))],
        [(f"strength {strength:g}", learner.painted(strength, scene, mask)) for strength in (0, 1)],
    )


DRAWN = {"LearnObject": learn, "ApplyObject": apply}
