"""Workflows around edit models of others: a size they work at, their own stock graph, and the scene restored.

The part between Fit for Edit and Undo Fit is what the host's template of that model has, without its subgraph.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from . import editor_weights as files
from .editor_weights import EditorFile
from .graph import BLUE, CYAN, GREEN, VIOLET, Node, Workflow
from .sample_pictures import IN_THE_MIDDLE_ROOM
from .stages import SEED, finish, pictures

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


Editor = Callable[[Workflow, Node, Node], Edit]  # fitted scene and object to what comes back


# stages


def load(workflow: Workflow, *editor_files: EditorFile, loaders: tuple[tuple[str, str, dict], ...]) -> list[Node]:
    """The stock loaders of these files: class, the widget that names the file, and what else it takes."""
    nodes = []
    for file, (kind, widget, more) in zip(editor_files, loaders, strict=True):
        node = workflow.add(kind, **{widget: file.name}, **more)
        workflow.downloads[node.number] = file.offer
        nodes.append(node)
    rows = (f"| `{file.name}` | `{file.folder}` | {file.licence} |" for file in editor_files)
    workflow.note = workflow.note.replace(
        "{weights}", "\n".join(["| file | folder | licence |", "|---|---|---|", *rows])
    )
    return nodes


def qwen(workflow: Workflow, fitted: Node, picture: Node) -> Edit:
    workflow.group("Models", VIOLET, below=True)
    unet, clip, vae = load(
        workflow,
        *(files.QWEN_EDIT, files.QWEN_TEXT, files.QWEN_VAE),
        loaders=(
            ("UNETLoader", "unet_name", {"weight_dtype": "default"}),
            ("CLIPLoader", "clip_name", {"type": "qwen_image", "device": "default"}),
            ("VAELoader", "vae_name", {}),
        ),
    )
    shifted = workflow.add("ModelSamplingAuraFlow", model=unet[0], shift=QWEN_SHIFT)
    normed = workflow.add("CFGNorm", model=shifted[0], strength=1.0)
    lora = files.QWEN_LIGHTNING
    model = workflow.add("LoraLoaderModelOnly", model=normed[0], lora_name=lora.name, strength_model=1.0)
    workflow.downloads[model.number] = lora.offer
    workflow.group("Edit", BLUE)
    shown = {"clip": clip[0], "vae": vae[0], "image1": fitted[0], "image2": picture[0]}
    positive = workflow.add("TextEncodeQwenImageEditPlus", "What to do", **shown, prompt=PROMPT)
    negative = workflow.add("TextEncodeQwenImageEditPlus", "Negative", **shown, prompt="")
    start = workflow.add("VAEEncode", pixels=fitted[0], vae=vae[0])
    conditions = {"positive": positive[0], "negative": negative[0], "latent_image": start[0]}
    latent = workflow.add("KSampler", model=model[0], **conditions, seed=SEED, **QWEN_STEPS)
    return Edit(workflow.add("VAEDecode", EDITED, samples=latent[0], vae=vae[0]), vae)


def klein(workflow: Workflow, fitted: Node, picture: Node) -> Edit:
    workflow.group("Models", VIOLET, below=True)
    unet, clip, vae = load(
        workflow,
        *(files.KLEIN, files.KLEIN_TEXT, files.KLEIN_VAE),
        loaders=(
            ("UNETLoader", "unet_name", {"weight_dtype": "default"}),
            ("CLIPLoader", "clip_name", {"type": "flux2", "device": "default"}),
            ("VAELoader", "vae_name", {}),
        ),
    )
    workflow.group("Prompt and references", GREEN)
    positive = workflow.add("CLIPTextEncode", "What to do", clip=clip[0], text=PROMPT)
    negative = workflow.add("ConditioningZeroOut", conditioning=positive[0])
    smaller = {"upscale_method": "lanczos", "megapixels": 1.0}
    reference = workflow.add("ImageScaleToTotalPixels", "Object for the model", image=picture[0], **smaller)
    for image, name in ((fitted, "Scene"), (reference, "Object")):
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


def gemini(workflow: Workflow, fitted: Node, picture: Node) -> Edit:
    """The object is padded to the scene's shape: a batch has one size, and nothing may be cut off."""
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


def edited_scene(name: str, needs: str, family: str, editor: Editor) -> Workflow:
    """Scene and object through an editor; what comes back restored, and saved as a picture and as layers."""
    workflow = Workflow(name)
    workflow.needs = needs
    scene, picture = pictures(workflow, {"Scene": "dollhouse", "Object": "object"})
    workflow.group("A size the model likes", VIOLET, below=True)
    fitted = workflow.add("FitForEdit", image=scene[0], model=family, method="pad")
    edit = editor(workflow, fitted, picture)
    workflow.group("Scene restored", VIOLET)
    unfitted = workflow.add("UndoFit", fit=fitted[2], image=edit.picture[0])
    through = {} if edit.vae is None else {"vae": edit.vae[0]}
    restored = workflow.add("RestoreScene", scene=scene[0], edited=unfitted[0], **through)
    keep(workflow, scene, restored)
    return workflow


def keep(workflow: Workflow, scene: Node, restored: Node) -> None:
    """A look at what changed, the layered file, and the picture."""
    workflow.group("What changed", CYAN)
    workflow.add("MaskPreview", "What changed", mask=restored[1])
    layers = {"scene": scene[0], "image": restored[0], "object_mask": restored[2], "effect_mask": restored[1]}
    workflow.add("SaveLayers", "Layers", **layers, filename_prefix=f"visual_insertion/{workflow.name}")
    finish(workflow, scene, restored, enlarge=1.0)


# workflows


def edit_with_qwen() -> Workflow:
    return edited_scene("edit_with_qwen", "your photographs,\nQwen-Image-Edit", "Qwen-Image-Edit 2509, 2511", qwen)


def edit_with_flux2_klein() -> Workflow:
    return edited_scene("edit_with_flux2_klein", "your photographs,\nFLUX.2 klein", "FLUX.2 klein", klein)


def edit_with_api() -> Workflow:
    return edited_scene("edit_with_api", "your photographs,\nNano Banana Pro", "Gemini (Nano Banana)", gemini)


def place_and_restore() -> Workflow:
    """No model at all: a cut-out placed by hand, and its layers."""
    workflow = Workflow("place_and_restore")
    scene, picture = pictures(workflow, {"Scene": "dollhouse", "Object": "object"})
    return workflow


WORKFLOWS = (edit_with_qwen, edit_with_flux2_klein, edit_with_api)
