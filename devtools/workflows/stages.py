"""The stages that insertion and painting share: weights, pictures, a local region, the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ...pipelines.weights.manifest import Weight, load_manifest
from ..pictures import SAMPLE_PREFIX
from .graph import BROWN, CYAN, VIOLET, Node, Workflow, read_note
from .sample_pictures import PHOTOGRAPHS

SEED = 5

LOADERS = {  # by id in the manifest: the node and the widget that names the file
    "instruct-pix2pix-pruned-fp16": ("CheckpointLoaderSimple", "ckpt_name"),
    "paint-by-example": ("PaintByExampleLoader", "name"),
    "paint-by-inpaint-add-base-unet": ("Pix2PixUNetLoader", "name"),
    "vae-ft-mse": ("VAELoader", "vae_name"),
    "clip-vit-large-patch14": ("CLIPVisionLoader", "clip_name"),
    "embedding-optimizer-original": ("EmbeddingOptimizerLoader", "name"),
}


def load(workflow: Workflow, weights: Sequence[str]) -> list[Node]:
    """Loaders of these weights; the front end offers to download what is missing, the note names them."""
    workflow.group("Models", VIOLET)
    workflow.needs = "your photographs,\nreal weights"
    manifest = load_manifest()
    workflow.note += "\n\n" + fetching([manifest[name] for name in weights])
    loaders = []
    for name in weights:
        kind, widget = LOADERS[name]
        loader = workflow.add(kind, **{widget: manifest[name].file})
        workflow.downloads[loader.number] = download(manifest[name])
        loaders.append(loader)
    return loaders


def fetching(weights: Sequence[Weight]) -> str:
    """How to get weights: a command, each on one line, for every ComfyUI; what to rename when a browser gets them."""
    ids = " ".join(weight.id for weight in weights)
    renamed = [
        f"| `{Path(weight.path).name}` | `{weight.folder}/{weight.file}` |"
        for weight in weights
        if Path(weight.path).name != weight.file
    ]
    return read_note("endings/fetching").format(
        ids=ids,
        gigabytes=f"{sum(weight.size for weight in weights) / 1e9:.1f}",
        renamed="\n".join(renamed),
    )


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
    files = {title: f"{name}.jpg" if name in PHOTOGRAPHS else f"{name}.png" for title, name in samples.items()}
    return [workflow.add("LoadImage", title, image=f"{SAMPLE_PREFIX}{file}") for title, file in files.items()]


def cut_out(workflow: Workflow, scene: Node, **where: list | float) -> Node:
    """The part of a scene around a box or a mask: image, mask, local region."""
    workflow.group("Cut out", VIOLET)
    return workflow.add("LocalRegionCrop", image=scene[0], **where)


def restore(workflow: Workflow, scene: Node, edited: Node, **known: list | str) -> Node:
    """The scene with what our models put into it, all else bit for bit its own: image, effect, object and more.

    They keep every pixel in its place, so there is no geometry to undo.
    """
    return workflow.add("RestoreScene", scene=scene[0], edited=edited[0], align_geometry=False, **known)


def put_back(workflow: Workflow, cut: Node, edited: Node, **how: str) -> Node:
    """The scene with the edited part in it, and how much of each pixel is new."""
    workflow.group("Put back", VIOLET)
    return workflow.add("LocalRegionPaste", local_region=cut[2], image=edited[0], **how)


def show_changes(workflow: Workflow, *effects: list) -> None:
    """A look at where the result is not the scene, after all edits."""
    whole, *others = effects
    for other in others:
        both = {"destination": whole, "source": other, "x": 0, "y": 0, "operation": "add"}
        whole = workflow.add("MaskComposite", "All effects", **both)[0]
    workflow.group("What changed", CYAN)
    workflow.add("MaskPreview", "What changed", mask=whole)


def finish(workflow: Workflow, before: list, after: list, title: str = "Before and after") -> None:
    """Show two pictures in one, with a slider between them, and save the second."""
    workflow.group("Result", CYAN)
    workflow.add("ImageCompare", title, image_a=before, image_b=after)
    workflow.add("SaveImage", "Result", images=after, filename_prefix=f"visual_insertion/{workflow.name}")
