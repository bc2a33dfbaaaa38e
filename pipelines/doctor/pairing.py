"""Which embedding optimizer, vision encoder and UNet belong together, by what the files say of themselves.

Of all but the embedding optimizers, which are small, only names and shapes are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..visual_insertion import optimizer_files
from ..weights.configs import read_json
from ..weights.reading import Shapes
from ..weights.tensors import open_tensors
from ..weights.unets import FIRST, open_unet
from .check import OK, PROBLEM, SKIPPED, WARNING, Check, reason
from .installation import DIFFUSERS, Installation
from .model_files import WHICH, files_in

SMALLEST = {  # what completes a set of parts, by the part
    "UNet": "instruct-pix2pix-pruned-fp16",
    "vision encoder": "clip-vit-large-patch14",
    "embedding optimizer": "embedding-optimizer-original",
}
SCENE_AND_NOISE = 8  # input channels of an InstructPix2Pix UNet
OPTIMIZERS = (".safetensors", ".sft", ".pt")
SAFETENSORS = (".safetensors", ".sft")  # of which shapes can be read without the rest

UNREADABLE = (OSError, ValueError, RuntimeError)  # the last for what is too large to be mapped


@dataclass(frozen=True)
class Part:
    """A file or folder and the widths by which it is joined to others; 0 where it has no such side."""

    name: str  # as loaders list it
    path: Path
    encoder_width: int = 0  # of vision tokens
    context_width: int = 0  # of what cross-attention reads


def pairings(installation: Installation) -> Iterator[Check]:
    """For every embedding optimizer a vision encoder and a UNet of its widths, by what the files say of themselves."""
    optimizers = []
    for name, path in files_in(installation.folders.get("embedding_optimizers", ()), OPTIMIZERS):
        try:
            optimizers.append(optimizer_part(name, path))
        except (OSError, ValueError) as error:
            yield Check("pairing", PROBLEM, reason(error))
    encoders = list(vision_encoders(installation))
    unets = list(pix2pix_unets(installation))
    if not optimizers and not encoders and not unets:
        yield Check("pairing", SKIPPED, "no embedding optimizer, vision encoder or InstructPix2Pix UNet is there")
        return
    if not optimizers:
        found = f"no embedding optimizer for {names_of([*encoders, *unets])}"
        yield Check("pairing", WARNING, found, _fetching(installation, ["embedding optimizer"]))
    for optimizer in optimizers:
        yield paired_with(optimizer, encoders, unets, installation)


def paired_with(optimizer: Part, encoders: list[Part], unets: list[Part], installation: Installation) -> Check:
    """What an embedding optimizer works with, or what it lacks."""
    fitting = {
        "vision encoder": [part for part in encoders if part.encoder_width == optimizer.encoder_width],
        "UNet": [part for part in unets if part.context_width == optimizer.context_width],
    }
    widths = f"{optimizer.name} joins vision tokens of width {optimizer.encoder_width} to contexts of width "
    widths += str(optimizer.context_width)
    lacking = [kind for kind, parts in fitting.items() if not parts]
    if lacking:
        strangers = [part for part in [*encoders, *unets] if part not in sum(fitting.values(), [])]
        found = f"{widths}: no {' and no '.join(lacking)} fits"
        if strangers:
            found += f"; of another width: {names_of(strangers)}"
        return Check("pairing", WARNING, found, _fetching(installation, lacking))
    return Check("pairing", OK, f"{widths}: {names_of([*fitting['vision encoder'], *fitting['UNet']])}")


def _fetching(installation: Installation, kinds: list[str]) -> str:
    ids = " ".join(SMALLEST[kind] for kind in kinds)
    return f"Fetch what is missing ({WHICH}): {installation.program} weights fetch {ids}"


def names_of(parts: Iterable[Part], most: int = 6) -> str:
    """The names of parts; of many only the first."""
    names = [part.name for part in parts]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def optimizer_part(name: str, path: Path) -> Part:
    """An embedding optimizer's widths. It is read whole, a few MB. Raises OSError, ValueError for an unusable one."""
    settings = optimizer_files.load(path).settings
    return Part(name, path, settings.encoder_width, settings.context_width)


def vision_encoders(installation: Installation) -> Iterator[Part]:
    """The vision encoders in clip_vision whose width their own tensors say."""
    for name, path in files_in(installation.folders.get("clip_vision", ()), SAFETENSORS):
        with suppress(*UNREADABLE):  # `weights` complains of those that are known
            shapes = open_tensors(path).shapes
            widths = [shapes[tensor][-1] for tensor in shapes if tensor.endswith(("class_embedding", "cls_token"))]
            if widths:
                yield Part(name, path, encoder_width=widths[0])


def pix2pix_unets(installation: Installation) -> Iterator[Part]:
    """The InstructPix2Pix UNets in files and in diffusers folders, named as Load Pix2Pix UNet names them."""
    for key in ("diffusion_models", "checkpoints"):
        for name, path in files_in(installation.folders.get(key, ()), SAFETENSORS):
            with suppress(*UNREADABLE):  # another kind of model
                shapes = open_unet(path).shapes
                if shapes[FIRST][1] == SCENE_AND_NOISE:
                    yield Part(name, path, context_width=context_width(shapes))
    for name, path in files_in(installation.folders.get(DIFFUSERS, ()), ("/config.json",)):
        with suppress(*UNREADABLE):
            config = read_json(path)
            if config.get("in_channels") == SCENE_AND_NOISE:
                above = 1 if path.parent.name == "unet" else 0  # a pipeline's, or a folder that is a UNet
                folder = PurePosixPath(name).parents[above].as_posix()
                yield Part(folder, path.parents[above], context_width=config.get("cross_attention_dim", 0))


def context_width(shapes: Shapes) -> int:
    """The width of the contexts that a UNet's cross-attention reads; 0 if it has none."""
    return next((shape[1] for name, shape in shapes.items() if name.endswith("attn2.to_k.weight")), 0)
