"""One node for what takes a graph: an object put in, an object painted in, a scene restored."""

from __future__ import annotations

from .graph import BLUE, GREEN, VIOLET, Node, Workflow
from .insertion import Models, encode, sample_pix2pix
from .learning import learn
from .painting import PLAYROOM_SAMPLING, REAL_SAMPLING, REAL_WEIGHTS, paint
from .stages import cut_out, load, pictures, put_back, restore
from .subgraphs import Blueprint

WORDS = ("add object", "place object", "put object", "paste object", "visual insertion", "ip adapter")  # of artists


def insert_object_toys() -> Blueprint:
    return insert_object("toys", "In drawn rooms, by the models that ship with the pack: nothing to download.")


def insert_object_photographs() -> Blueprint:
    return insert_object("photographs", "In photographs of any size; needs three files, and an error says which.")


def insert_object(preset: str, where: str) -> Blueprint:
    workflow = Workflow(f"Insert Object ({preset})", note="")
    scene, picture = pictures(workflow, {"Scene": "scene", "Object": "object"})
    workflow.group("Models", VIOLET)
    loader = workflow.add("InsertionModels", preset=preset)
    models = Models(model=loader[0], vae=loader[1], clip_vision=loader[2], embedding_optimizer=loader[3])
    workflow.group("A size the model likes", VIOLET)
    size = {"multiple": 8, "megapixels": loader[5]}
    fitted = workflow.add("FitForEdit", image=scene[0], model="custom", method="pad", **size)
    workflow.group("Object", GREEN)
    tokens = encode(workflow, models, picture)
    workflow.group("Insertion", BLUE)
    latent, edited = sample_pix2pix(workflow, models, scene=fitted, tokens=tokens, guidance=loader[4])
    workflow.group("Scene restored", VIOLET)
    unfitted = workflow.add("UndoFit", fit=fitted[2], image=edited[0])
    result = restore(workflow, scene, unfitted, vae=models.vae)
    return Blueprint(
        title=workflow.name,
        description="Puts a pictured object into a scene where it makes sense, without a mask or a prompt; all else "
        f"stays, bit for bit. {where}",
        aliases=(*WORDS, "insert image"),
        workflow=workflow,
        inputs=(("scene", scene[0]), ("object", picture[0])),
        outputs=(("image", result[0]), ("changed", result[1]), ("object", result[2]), ("layer", result[3])),
        widgets=((latent, "seed"), (latent, "steps")),
    )


def paint_object_here_toys() -> Blueprint:
    workflow = Workflow("Paint Object Here (toys)", note="")
    workflow.group("Models", VIOLET)
    loader = workflow.add("PaintByExamplePlayroomModels")
    where = "In drawn rooms, by the models that ship with the pack: nothing to download."
    return paint_object_here(workflow, loader, where, working_size=128, sampling=PLAYROOM_SAMPLING)


def paint_object_here_photographs() -> Blueprint:
    workflow = Workflow("Paint Object Here (photographs)", note="")
    (loader,) = load(workflow, REAL_WEIGHTS)
    where = "In photographs of any size, by the published Paint by Example."
    return paint_object_here(workflow, loader, where, working_size=512, sampling=REAL_SAMPLING)


def paint_object_here(
    workflow: Workflow, loader: Node, where: str, *, working_size: int, sampling: dict[str, str | float]
) -> Blueprint:
    scene, picture = pictures(workflow, {"Scene": "scene", "Object": "object"})
    cut = cut_out(workflow, scene, expansion=0.5, working_size=working_size, mask=scene[1])
    painted = paint(workflow, loader, scene=cut, exemplar=picture, mask=cut[1], sampling=sampling)
    result = put_back(workflow, cut, painted, area="mask")
    (sampler,) = (number for number, node in workflow.graph.items() if node["class_type"] == "KSampler")
    return Blueprint(
        title=workflow.name,
        description="Paints a pictured object where the scene is masked; all else stays, bit for bit. Paint the mask "
        f"in the scene's Load Image, with Open in MaskEditor. {where}",
        aliases=(*WORDS, "inpaint reference", "replace object"),
        workflow=workflow,
        inputs=(("scene", scene[0]), ("object", picture[0]), ("mask", scene[1])),
        outputs=(("image", result[0]), ("changed", result[1])),
        widgets=((Node(sampler), "seed"), (Node(sampler), "cfg")),
    )


def restore_scene() -> Blueprint:
    workflow = Workflow("Restore Scene (after any edit)", note="")
    scene, edited = pictures(workflow, {"Scene": "scene", "Edited": "object"})
    workflow.group("Scene restored", VIOLET)
    result = workflow.add("RestoreScene", scene=scene[0], edited=edited[0])
    workflow.add("PreviewAny", "Report", source=result[5])
    return Blueprint(
        title=workflow.name,
        description="Keeps of an edit by any model the object and its shadow; every other pixel is the scene's again. "
        "Shift, zoom and colour are undone.",
        aliases=("keep background", "undo drift", "visual insertion"),
        workflow=workflow,
        inputs=(("scene", scene[0]), ("edited", edited[0])),
        outputs=(
            *(("image", result[0]), ("changed", result[1]), ("object", result[2]), ("layer", result[3])),
            ("report", result[5]),
        ),
        widgets=((result, "align_geometry"), (result, "match_colour"), (result, "sensitivity")),
    )


def learn_an_object_toys() -> Blueprint:
    workflow = Workflow("Learn an Object (toys)", note="")
    workflow.group("Models", VIOLET)
    loader = workflow.add("PaintByExamplePlayroomModels")
    return learn_an_object(workflow, loader, "By the models that ship with the pack: nothing to download.")


def learn_an_object_photographs() -> Blueprint:
    workflow = Workflow("Learn an Object (photographs)", note="")
    (loader,) = load(workflow, REAL_WEIGHTS)
    return learn_an_object(workflow, loader, "For the published Paint by Example; wants a GPU.")


def learn_an_object(workflow: Workflow, loader: Node, where: str) -> Blueprint:
    (view,) = pictures(workflow, {"Pictures": "object"})
    result = learn(workflow, loader, view[0], mask=view[1])
    return Blueprint(
        title=workflow.name,
        description="Learns one object from three to five pictures of it, into a small file that Apply Object uses in "
        f"any workflow. {where}",
        aliases=("train object", "train lora", "dreambooth", "teach object", "visual insertion"),
        workflow=workflow,
        inputs=(("images", view[0]), ("mask", view[1])),
        outputs=(("learned_object", result[0]), ("loss_curve", result[1]), ("preview", result[2])),
        widgets=((result, "name"), (result, "train"), (result, "steps"), (result, "seed")),
    )


BLUEPRINTS = (
    insert_object_toys,
    insert_object_photographs,
    paint_object_here_toys,
    paint_object_here_photographs,
    learn_an_object_toys,
    learn_an_object_photographs,
    restore_scene,
)
