"""The stages that insertion and painting share: weights, pictures, a local region, the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...pipelines.weights.manifest import Weight, load_manifest
from ..pictures import SAMPLE_PREFIX
from .graph import BROWN, CYAN, VIOLET, Node, Workflow

SEED = 5

LOADERS = {  # by id in the manifest: the node and the widget that names the file
    "instruct-pix2pix": ("CheckpointLoaderSimple", "ckpt_name"),
    "paint-by-example": ("PaintByExampleLoader", "name"),
    "paint-by-inpaint-add-base-unet": ("Pix2PixUNetLoader", "name"),
    "vae-ft-mse": ("VAELoader", "vae_name"),
    "clip-vit-large-patch14": ("CLIPVisionLoader", "clip_name"),
    "embedding-optimizer-original": ("EmbeddingOptimizerLoader", "name"),
}


def load(workflow: Workflow, weights: Sequence[str]) -> list[Node]:
    """Loaders of these weights; the front end offers to download what is missing, the note names them."""
    workflow.group("Models", VIOLET, below=True)
    workflow.note = workflow.note.replace("{weights}", "\n  ".join(weights))
    workflow.needs = "your photographs,\nreal weights"
    manifest = load_manifest()
    loaders = []
    for name in weights:
        kind, widget = LOADERS[name]
        loader = workflow.add(kind, **{widget: manifest[name].file})
        workflow.downloads[loader.number] = download(manifest[name])
        loaders.append(loader)
    return loaders


def download(weight: Weight) -> dict[str, str]:
    """A weight of the manifest as the front end wants it in `properties.models`."""
    url = f"https://huggingface.co/{weight.repository}/resolve/{weight.revision}/{weight.path}"
    offer = {"name": weight.file, "url": url, "directory": weight.folder}
    if weight.sha256:
        offer.update(hash=weight.sha256, hash_type="SHA256")
    return offer


def pictures(workflow: Workflow, samples: Mapping[str, str]) -> list[Node]:
    """A Load Image for each title, with the sample of this name in it."""
    workflow.group("Pictures", BROWN)
    return [workflow.add("LoadImage", title, image=f"{SAMPLE_PREFIX}{sample}.png") for title, sample in samples.items()]


def cut_out(workflow: Workflow, scene: Node, below: bool = False, **where: list | float) -> Node:
    """The part of a scene around a box or a mask: image, mask, local region."""
    workflow.group("Cut out", VIOLET, below=below)
    return workflow.add("LocalRegionCrop", image=scene[0], **where)


def restore(workflow: Workflow, scene: Node, edited: Node, **known: list | str) -> Node:
    """The scene with what our models put into it, all else bit for bit its own: image, effect, object and more.

    They keep every pixel in its place, so there is no geometry to undo.
    """
    return workflow.add("RestoreScene", scene=scene[0], edited=edited[0], align_geometry=False, **known)


def put_back(workflow: Workflow, cut: Node, edited: Node, **how: str) -> Node:
    """The scene with the edited part in it, and how much of each pixel is new."""
    workflow.group("Put back", VIOLET, below=True)
    return workflow.add("LocalRegionPaste", local_region=cut[2], image=edited[0], **how)


def show_changes(workflow: Workflow, *effects: list) -> None:
    """A look at where the result is not the scene, after all edits."""
    workflow.group("What changed", CYAN, below=True)
    whole, *others = effects
    for other in others:
        both = {"destination": whole, "source": other, "x": 0, "y": 0, "operation": "add"}
        whole = workflow.add("MaskComposite", "All effects", **both)[0]
    workflow.add("MaskPreview", "What changed", mask=whole)


def finish(workflow: Workflow, before: Node, after: list, enlarge: float = 3.0, below: bool = False) -> None:
    """Save the result; show scene and result, one above the other and enlarged, for toys are small."""
    workflow.group("Result", CYAN, below=below)
    save(workflow, after)
    both = workflow.add("ImageStitch", image1=before[0], image2=after, direction="down")
    if enlarge != 1:
        look = {"upscale_method": "lanczos", "scale_by": enlarge}
        both = workflow.add("ImageScaleBy", "Enlarge to look at it", image=both[0], **look)
    workflow.group("Before and after", CYAN)
    workflow.add("PreviewImage", "Before and after", images=both[0])


def save(workflow: Workflow, result: list) -> None:
    workflow.add("SaveImage", "Result", images=result, filename_prefix=f"visual_insertion/{workflow.name}")
