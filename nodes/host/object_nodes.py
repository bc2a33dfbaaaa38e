"""What the nodes of learned objects ask of the host: learning with progress and cancel, and patches of a MODEL."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.utils
import folder_paths
import torch
from torch import Tensor

from ...pipelines.object_representation import learned_object
from ...pipelines.object_representation.learned_object import LearnedObject
from ...pipelines.object_representation.training.facts import facts_of, sha256_of_pixels
from ...pipelines.object_representation.training.learn import Learning, LearningSettings, Look, learn
from ...pipelines.object_representation.training.loss_curve import draw_curve
from ...pipelines.object_representation.training.previews import PreviewScene, preview
from ...pipelines.object_representation.training.views import View, make_views
from ...pipelines.pictures.boxes import from_bounding_boxes
from ...pipelines.pictures.files import picture_tensor, pil_pictures
from .conditionings import EMBEDDING_OPTIMIZER, PAINT_BY_EXAMPLE, check_makers, made_by
from .object_learning import (
    Shown,
    base_weights,
    is_paint_by_example,
    learning_model,
    shown_by_exemplar,
    shown_by_optimizer,
)
from .patched_models import patched

FOLDER = "learned_objects"  # below the first folder of LoRAs: stock loaders see the files as well
SHOWN = 512  # px, the longer side of a preview
CLEAN = set(' <>:"/\\|?*')


def views_of(pictures: Tensor, masks: Tensor | None, boxes: Any, what: str = "picture") -> list[View]:
    """The views of a batch [B,H,W,C], where masks [B,H,W] or a BOUNDING_BOX say where the object is.

    Raises what `make_views` does, and ValueError for numbers that do not pair up.
    """
    count, height, width = pictures.shape[:3]
    own = None if masks is None or not masks.any() else masks.reshape(-1, *masks.shape[-2:])
    if own is not None and len(own) not in (1, count):
        raise ValueError(f"{len(own)} masks do not pair up with {count} pictures of the object.")
    listed = [] if boxes is None else from_bounding_boxes(boxes, height, width)
    if len(listed) not in (0, 1, count):
        raise ValueError(f"Boxes for {len(listed)} pictures do not pair up with {count} pictures of the object.")
    return make_views(
        [pictures[n : n + 1] for n in range(count)],
        [None if own is None else own[min(n, len(own) - 1)][None] for n in range(count)],
        [next(iter(listed[min(n, len(listed) - 1)]), None) if listed else None for n in range(count)],
        [f"{what} {n}" for n in range(count)],
    )


def what_shows(clip_vision, exemplar_encoder, embedding_optimizer) -> Shown:
    """What tells the model about the object: one of the two. Raises ValueError for none and for both."""
    if (exemplar_encoder is None) == (embedding_optimizer is None):
        raise ValueError(
            "Connect either an exemplar encoder (Paint by Example, which paints under a mask) or an embedding "
            "optimizer (an InstructPix2Pix model, which needs none): it says how the model is told about the object."
        )
    if exemplar_encoder is not None:
        return shown_by_exemplar(clip_vision, exemplar_encoder)
    return shown_by_optimizer(clip_vision, embedding_optimizer)


def learn_object(
    model,
    vae,
    shown: Shown,
    exemplar_size: int,
    *,
    views: Sequence[View],
    others: Sequence[View],
    settings: LearningSettings,
    name: str,
    licence: str,
) -> tuple[LearnedObject, Path, Learning, Tensor]:
    """(object, its file, what came of it, preview [1,H,W,3]), with progress and previews on the node.

    A cancelled run writes the best so far into the file, and then raises what the host's cancel raises.
    """
    path = free_path(name)
    waiting = Waiting(settings.steps)
    pictures: list[Tensor] = []
    hashes = [sha256_of_pixels(view.pixels) for view in [*views, *others]]
    facts = facts_of(settings, [], base_name="the model of its node", licence=licence, hashes=hashes)
    with torch.inference_mode(False), learning_model(model, vae, shown, exemplar_size) as parts:
        scene = PreviewScene.of_view(parts, views[0])

        def look(look: Look) -> None:
            if look.best or not pictures:
                pictures[:] = [preview(parts, look.learned, scene)]
            waiting.show(look.step, settings.steps, ("JPEG", pil_pictures(pictures[0])[0], SHOWN))

        learning = learn(
            parts,
            views,
            settings,
            others=others,
            facts=facts,
            progress=waiting.show,
            look=look,
            stop=waiting.is_cancelled,
        )
        if not pictures:
            pictures.append(preview(parts, learning.learned, scene))
    path.parent.mkdir(parents=True, exist_ok=True)
    learned_object.save(learning.learned, path)
    waiting.leave()
    return learning.learned, path, learning, pictures[0]


class Waiting:
    """A node's progress, whose cancel waits until what was learned is kept: the host's own raises at once."""

    def __init__(self, total: int):
        self.bar = comfy.utils.ProgressBar(max(total, 1))
        self.cancelled = False

    def show(self, done: int, total: int, preview: Any = None) -> None:
        """Move the bar, with a preview as the host has it or without."""
        try:
            self.bar.update_absolute(done, max(total, 1), preview)
        except comfy.model_management.InterruptProcessingException:
            self.cancelled = True

    def is_cancelled(self) -> bool:
        """Whether the user cancelled."""
        return self.cancelled or comfy.model_management.processing_interrupted()

    def leave(self) -> None:
        """Raise what a cancel raises, if there was one."""
        if self.cancelled:
            raise comfy.model_management.InterruptProcessingException
        comfy.model_management.throw_exception_if_processing_interrupted()


def curve_of(learning: Learning) -> Tensor:
    """The losses as an IMAGE."""
    return picture_tensor(draw_curve(learning.losses, learning.looks))


def free_path(name: str) -> Path:
    """A file that is not there yet, NAME_00001.safetensors, below the first folder of LoRAs.

    Raises ValueError for what is no plain file name.
    """
    plain = name.strip()
    if not plain or plain.startswith(".") or CLEAN & set(plain.replace(" ", "")):
        raise ValueError(f"'{name}' is no plain name for a file: leave out folders and signs such as / \\ : * ?.")
    folder = Path(folder_paths.get_folder_paths("loras")[0]) / FOLDER
    number = 1
    while (path := folder / f"{plain}_{number:05}.safetensors").exists():
        number += 1
    return path


def apply_object(
    model, learned: LearnedObject, *, strength: float, positive=None, negative=None, name: str = "the learned object"
):
    """(MODEL, positive, negative) with a learned object, behind the tokens of `positive` or the stored exemplar's.

    `negative` takes the place of the stored null. Patches are the host's own, as a LoRA's: they add to others. Raises
    ValueError for another base model, and for a `positive` beside an object that takes none.
    """
    learned_object.check_strength(strength)
    maker = PAINT_BY_EXAMPLE if is_paint_by_example(model) else EMBEDDING_OPTIMIZER
    check_makers("this model", maker, positive=positive or [], negative=negative or [])
    try:
        learned_object.check_width(learned, model.model.model_config.unet_config.get("context_dim"))
        learned.check_base(base_weights(model))
        shown = [(None, {})] if positive is None else positive
        null = negative[0][0][0, : len(learned.null)] if negative else None
        contexts = [learned.contexts(strength, context, null) for context, _ in shown]
    except ValueError as error:
        raise ValueError(f"{name}: {error}.") from error
    if strength and learned.patch:
        model = patched(model, learned.patch, strength, name)
    made = [made_by(maker, "object", context)[0] for context, _ in contexts]
    told = [[context, {**settings, **own}] for (context, own), (_, settings) in zip(made, shown, strict=True)]
    return model, told, made_by(maker, "no object", contexts[0][1])
