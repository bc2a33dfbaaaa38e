"""Workflows of Paint by Example: the object is painted into a mask."""

from __future__ import annotations

from collections.abc import Mapping

from .graph import BLUE, GREEN, VIOLET, Node, Workflow, read_note
from .sample_pictures import BALL_ON_THE_TABLE, BESIDE_THE_CUP, IN_THE_ROOM_BELOW
from .stages import SEED, cut_out, finish, load, pictures, put_back, restore, show_changes

DDIM = {"sampler_name": "ddim", "scheduler": "ddim_uniform", "denoise": 1.0}
PLAYROOM_SAMPLING = {**DDIM, "steps": 20, "cfg": 3.0}
REAL_SAMPLING = {**DDIM, "steps": 50, "cfg": 5.0}  # as published
REAL_WEIGHTS = ("paint-by-example",)  # ids in the manifest


# stages


def playroom(workflow: Workflow) -> Node:
    """The toys, with the outputs of the loader for real weights; the note says what to take for photographs."""
    workflow.note += "\n\n" + read_note("endings/painting_toys")
    workflow.group("Models", VIOLET)
    return workflow.add("PaintByExamplePlayroomModels")


def real(workflow: Workflow) -> Node:
    (loader,) = load(workflow, REAL_WEIGHTS)
    return loader


def jagged_mask(workflow: Workflow, scene: Node, box: Mapping[str, int], **settings: float) -> Node:
    """The shape around a box, and a look at it."""
    workflow.group("Mask", GREEN)
    filled = workflow.add("BoxToMask", image=scene[0], **box)
    mask = workflow.add("ArbitraryMask", image=scene[0], seed=SEED, mask=filled[0], **settings)
    workflow.add("MaskPreview", "Mask", mask=mask[0])
    return mask


def paint(
    workflow: Workflow, loader: Node, *, scene: Node, exemplar: Node, mask: list, sampling: Mapping[str, str | float]
) -> Node:
    """The object in the mask, by the host's own sampler, and restored: outside of the mask all is the scene's."""
    workflow.group("Object", GREEN)
    encoders = {"clip_vision": loader[2], "exemplar_encoder": loader[3]}
    encoded = workflow.add("PaintByExampleEncode", **encoders, image=exemplar[0])
    tokens = (encoded[0], encoded[1])
    return paint_tokens(workflow, loader[0], loader[1], scene=scene, tokens=tokens, mask=mask, sampling=sampling)


def paint_tokens(
    workflow: Workflow,
    model: list,
    vae: list,
    *,
    scene: Node,
    tokens: tuple[list, list],
    mask: list,
    sampling: Mapping[str, str | float],
) -> Node:
    """The same for a positive and a negative conditioning."""
    workflow.group("Scene with a hole", GREEN)
    conditions = {"positive": tokens[0], "negative": tokens[1], "vae": vae, "image": scene[0], "mask": mask}
    conditioned = workflow.add("PaintByExampleConditioning", **conditions)
    workflow.group("Painting", BLUE)
    inputs = {"model": model, "positive": conditioned[0], "negative": conditioned[1], "latent_image": conditioned[2]}
    latent = workflow.add("KSampler", **inputs, seed=SEED, **sampling)
    edited = workflow.add("SceneDecode", latent=latent[0], vae=vae, scene=scene[0])
    return restore(workflow, scene, edited, vae=vae, mask=mask)


# workflows


def paint_by_example() -> Workflow:
    workflow = Workflow("paint_by_example")
    loader = playroom(workflow)
    scene, exemplar = pictures(workflow, {"Scene": "scene", "Object": "ball"})
    mask = jagged_mask(workflow, scene, BALL_ON_THE_TABLE, jitter=1)
    result = paint(workflow, loader, scene=scene, exemplar=exemplar, mask=mask[0], sampling=PLAYROOM_SAMPLING)
    finish(workflow, scene[0], result[0])
    show_changes(workflow, result[1])
    return workflow


def paint_by_example_local_region() -> Workflow:
    workflow = Workflow("paint_by_example_local_region")
    loader = playroom(workflow)
    samples = {"Scene": "dollhouse", "Object": "ball"}
    return paint_locally(
        workflow, loader, samples, box=IN_THE_ROOM_BELOW, jitter=2, working_size=128, sampling=PLAYROOM_SAMPLING
    )


def paint_by_example_real() -> Workflow:
    workflow = Workflow("paint_by_example_real")
    loader = real(workflow)
    samples = {"Scene": "photo_scene", "Object": "photo_object"}
    return paint_locally(
        workflow, loader, samples, box=BESIDE_THE_CUP, jitter=3, working_size=512, sampling=REAL_SAMPLING
    )


def paint_locally(
    workflow: Workflow,
    loader: Node,
    samples: Mapping[str, str],
    *,
    box: Mapping[str, int],
    jitter: int,
    working_size: int,
    sampling: Mapping[str, str | float],
) -> Workflow:
    scene, exemplar = pictures(workflow, samples)
    mask = jagged_mask(workflow, scene, box, extension=0.1, jitter=jitter)
    cut = cut_out(workflow, scene, expansion=0.5, working_size=working_size, mask=mask[0])
    painted = paint(workflow, loader, scene=cut, exemplar=exemplar, mask=cut[1], sampling=sampling)
    result = put_back(workflow, cut, painted, area="mask")
    finish(workflow, scene[0], result[0])
    show_changes(workflow, result[1])
    return workflow


WORKFLOWS = (paint_by_example, paint_by_example_local_region, paint_by_example_real)
