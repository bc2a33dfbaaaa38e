"""Workflows that learn an object from a few pictures of it, and put it into a scene."""

from __future__ import annotations

from .graph import BLUE, GREEN, Node, Workflow
from .painting import PLAYROOM_SAMPLING, paint_tokens, playroom
from .sample_pictures import TREE_ON_THE_TABLE
from .stages import SEED, finish, pictures, show_changes

VIEWS = {"Object": "object2_in_room1", "Second picture": "object2_in_room2", "Third picture": "object2_in_room3"}


def learn(workflow: Workflow, loader: Node, images: list, **where: list) -> Node:
    """The object of some pictures: learned, its loss, and a preview."""
    networks = {"model": loader[0], "vae": loader[1], "clip_vision": loader[2], "exemplar_encoder": loader[3]}
    workflow.group("Learning", BLUE)
    return workflow.add("LearnObject", **networks, images=images, seed=SEED, **where)


def batches(workflow: Workflow, views: list[Node]) -> tuple[list, list]:
    """Pictures and their masks, each as one batch."""
    workflow.group("Object", GREEN)
    images = workflow.add("BatchImagesNode", **{f"images.image{number}": view[0] for number, view in enumerate(views)})
    masks = workflow.add("BatchMasksNode", **{f"masks.mask{number}": view[1] for number, view in enumerate(views)})
    return images[0], masks[0]


def learn_object() -> Workflow:
    workflow = Workflow("learn_object")
    loader = playroom(workflow)
    scene, *views = pictures(workflow, {"Scene": "scene", **VIEWS})
    images, masks = batches(workflow, views)
    learned = learn(workflow, loader, images, mask=masks)
    workflow.add("PreviewImage", "How the loss fell", images=learned[1])
    workflow.group("Mask", GREEN)
    mask = workflow.add("BoxToMask", image=scene[0], **TREE_ON_THE_TABLE)
    applied = workflow.add("ApplyObject", model=loader[0], name="(connected)", learned_object=learned[0])
    result = paint_tokens(
        workflow,
        applied[0],
        loader[1],
        scene=scene,
        tokens=(applied[1], applied[2]),
        mask=mask[0],
        sampling=PLAYROOM_SAMPLING,
    )
    finish(workflow, scene[0], result[0])
    show_changes(workflow, result[1])
    return workflow


WORKFLOWS = (learn_object,)
