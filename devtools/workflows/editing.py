"""Workflows around edit models of others: a size they work at, their own stock graph, and the scene restored.

The part between Fit for Edit and Undo Fit is what the host's template of that model has, without its subgraph.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from . import editor_weights as files
from .editor_weights import EditorFile
from .graph import BLUE, GREEN, VIOLET, Node, Workflow
from .sample_pictures import ON_THE_TABLE_IN_THE_MIDDLE
from .stages import SEED, finish, pictures, show_changes

PROMPT = "Put the object of image 2 on the table in the middle of image 1. Change nothing else in image 1."
EDITED = "Edited"  # title of the node whose picture comes back from the model

# From the host's templates.
QWEN_STEPS = {"steps": 4, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}  # with Lightning
QWEN_SHIFT = 3.1
KLEIN_STEPS = 4


@dataclass
class Edit:
    """What a model gave back, and the VAE that it went through, if there is one."""

    picture: Node
    vae: Node | None = None


Editor = Callable[[Node, Node], Edit]  # fitted scene and object to what comes back


# stages


def load(workflow: Workflow, file: EditorFile, kind: str, **inputs: list | str | float) -> Node:
    """A stock loader of a file: the front end offers it where it is missing, the note has a row of it."""
    loader = workflow.add(kind, **inputs)
    workflow.downloads[loader.number] = file.offer
    workflow.note += f"\n| `{file.name}` | `{file.folder}` | {file.licence} |"
    return loader


def qwen(workflow: Workflow) -> Editor:
    workflow.group("Models", VIOLET)
    unet = load(workflow, files.QWEN_EDIT, "UNETLoader", unet_name=files.QWEN_EDIT.name, weight_dtype="default")
    clip = load(workflow, files.QWEN_TEXT, "CLIPLoader", clip_name=files.QWEN_TEXT.name, type="qwen_image")
    vae = load(workflow, files.QWEN_VAE, "VAELoader", vae_name=files.QWEN_VAE.name)
    shifted = workflow.add("ModelSamplingAuraFlow", model=unet[0], shift=QWEN_SHIFT)
    fast = {"lora_name": files.QWEN_LIGHTNING.name, "strength_model": 1.0}
    model = load(workflow, files.QWEN_LIGHTNING, "LoraLoaderModelOnly", model=shifted[0], **fast)

    def edit(fitted: Node, picture: Node) -> Edit:
        workflow.group("Prompt and references", GREEN)
        references = {"clip": clip[0], "vae": vae[0], "image1": fitted[0], "image2": picture[0]}
        positive = workflow.add("TextEncodeQwenImageEditPlus", "What to do", **references, prompt=PROMPT)
        negative = workflow.add("TextEncodeQwenImageEditPlus", "Negative", **references, prompt="")
        workflow.group("Edit", BLUE)
        start = workflow.add("VAEEncode", pixels=fitted[0], vae=vae[0])
        conditions = {"positive": positive[0], "negative": negative[0], "latent_image": start[0]}
        latent = workflow.add("KSampler", model=model[0], **conditions, seed=SEED, **QWEN_STEPS)
        return Edit(workflow.add("VAEDecode", EDITED, samples=latent[0], vae=vae[0]), vae)

    return edit


def klein(workflow: Workflow) -> Editor:
    workflow.group("Models", VIOLET)
    unet = load(workflow, files.KLEIN, "UNETLoader", unet_name=files.KLEIN.name, weight_dtype="default")
    clip = load(workflow, files.KLEIN_TEXT, "CLIPLoader", clip_name=files.KLEIN_TEXT.name, type="flux2")
    vae = load(workflow, files.KLEIN_VAE, "VAELoader", vae_name=files.KLEIN_VAE.name)

    def edit(fitted: Node, picture: Node) -> Edit:
        workflow.group("Prompt and references", GREEN)
        positive = workflow.add("CLIPTextEncode", "What to do", clip=clip[0], text=PROMPT)
        negative = workflow.add("ConditioningZeroOut", conditioning=positive[0])
        smaller = {"upscale_method": "lanczos", "megapixels": 1.0}
        reference = workflow.add("ImageScaleToTotalPixels", "Object for the model", image=picture[0], **smaller)
        for image, name in ((fitted, "Scene as reference"), (reference, "Object as reference")):
            latent = workflow.add("VAEEncode", name, pixels=image[0], vae=vae[0])
            positive = workflow.add("ReferenceLatent", conditioning=positive[0], latent=latent[0])
            negative = workflow.add("ReferenceLatent", conditioning=negative[0], latent=latent[0])
        workflow.group("Edit", BLUE)
        size = {"width": fitted[3], "height": fitted[4]}
        start = workflow.add("EmptyFlux2LatentImage", **size, batch_size=1)
        sigmas = workflow.add("Flux2Scheduler", steps=KLEIN_STEPS, **size)
        guider = workflow.add("CFGGuider", model=unet[0], positive=positive[0], negative=negative[0], cfg=1.0)
        latent = workflow.add(
            "SamplerCustomAdvanced",
            noise=workflow.add("RandomNoise", noise_seed=SEED)[0],
            guider=guider[0],
            sampler=workflow.add("KSamplerSelect", sampler_name="euler")[0],
            sigmas=sigmas[0],
            latent_image=start[0],
        )
        return Edit(workflow.add("VAEDecode", EDITED, samples=latent[0], vae=vae[0]), vae)

    return edit


def gemini(workflow: Workflow) -> Editor:
    """The object is padded to the scene's shape: a batch has one size, and nothing may be cut off."""

    def edit(fitted: Node, picture: Node) -> Edit:
        workflow.group("Edit", BLUE)
        size = {"target_width": fitted[3], "target_height": fitted[4]}
        look = {"padding_color": "white", "interpolation": "lanczos"}
        reference = workflow.add("ResizeAndPadImage", "Object at the scene's size", image=picture[0], **size, **look)
        both = workflow.add("BatchImagesNode", **{"images.image0": fitted[0], "images.image1": reference[0]})
        settings = {"model": "gemini-3-pro-image-preview", "aspect_ratio": "auto", "resolution": "1K"}
        return Edit(
            workflow.add(
                "GeminiImage2Node",
                EDITED,
                prompt=PROMPT,
                seed=SEED,
                images=both[0],
                response_modalities="IMAGE",
                **settings,
            )
        )

    return edit


def edited_scene(name: str, needs: str, family: str, model: Callable[[Workflow], Editor]) -> Workflow:
    """Scene and object through an editor; what comes back restored, and saved as a picture and as layers."""
    workflow = Workflow(name)
    workflow.needs = needs
    editor = model(workflow)
    scene, picture = pictures(workflow, {"Scene": "dollhouse", "Object": "object"})
    workflow.group("A size the model likes", VIOLET)
    fitted = workflow.add("FitForEdit", image=scene[0], model=family, method="pad")
    edit = editor(fitted, picture)
    workflow.group("Scene restored", VIOLET)
    unfitted = workflow.add("UndoFit", fit=fitted[2], image=edit.picture[0])
    through = {} if edit.vae is None else {"vae": edit.vae[0]}
    restored = workflow.add("RestoreScene", scene=scene[0], edited=unfitted[0], **through)
    keep(workflow, scene, image=restored[0], effect=restored[1], object_mask=restored[2])
    return workflow


def keep(workflow: Workflow, scene: Node, *, image: list, effect: list, object_mask: list) -> None:
    """The layered file, the picture, and a look at what changed."""
    workflow.group("Layers", VIOLET)
    layers = {"scene": scene[0], "image": image, "object_mask": object_mask, "effect_mask": effect}
    workflow.add("SaveLayers", "Layers", **layers, filename_prefix=f"visual_insertion/{workflow.name}")
    finish(workflow, scene[0], image)
    show_changes(workflow, effect)


# workflows


def edit_with_qwen() -> Workflow:
    return edited_scene("edit_with_qwen", "your photographs,\nQwen-Image-Edit", "Qwen-Image-Edit 2509, 2511", qwen)


def edit_with_flux2_klein() -> Workflow:
    return edited_scene("edit_with_flux2_klein", "your photographs,\nFLUX.2 klein", "FLUX.2 klein", klein)


def edit_with_api() -> Workflow:
    return edited_scene("edit_with_api", "your photographs,\nNano Banana Pro", "Gemini (Nano Banana)", gemini)


def place_object() -> Workflow:
    """No model at all: a cut-out with a shadow and the scene's light."""
    workflow = Workflow("place_object")
    scene, picture = pictures(workflow, {"Scene": "dollhouse", "Object": "object_cutout"})
    workflow.group("Placed", BLUE)
    cutout = workflow.add("InvertMask", "Object is white", mask=picture[1])
    inputs = {"scene": scene[0], "object_image": picture[0], "object_mask": cutout[0]}
    placed = workflow.add("PlaceObject", **inputs, **ON_THE_TABLE_IN_THE_MIDDLE)
    keep(workflow, scene, image=placed[0], effect=placed[2], object_mask=placed[1])
    return workflow


WORKFLOWS = (edit_with_qwen, edit_with_flux2_klein, edit_with_api, place_object)
