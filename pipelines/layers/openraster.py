"""OpenRaster files (.ora): layers in an open format that Krita, GIMP and MyPaint read.

By the baseline specification (openraster.org/baseline): a zip with `mimetype` first and not compressed, `stack.xml`
with the topmost layer first, the layers as PNG, what they make together, and a thumbnail.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from PIL import Image
from torch import Tensor

from ..pictures.boxes import slices
from ..pictures.files import colour_facts, pil_pictures
from ..pictures.masks import mask_box
from ..whole_files import whole
from .matting import Layers

MIMETYPE = "image/openraster"
SUFFIX = ".ora"
VERSION = "0.0.3"  # of the specification; later ones only add what is not used here
THUMBNAIL = (256, 256)  # px at most
NORMAL, MULTIPLY, SCREEN = "svg:src-over", "svg:multiply", "svg:screen"
OBJECT = "object"  # the name of its layer, where there is no better one
READABLE = 0o644 << 16  # the permissions of what is unpacked, where ZIP keeps them


@dataclass(frozen=True)
class PlacedLayer:
    """A layer of a file: its pixels, where their upper left corner lies, and how they meet what is below."""

    name: str
    picture: Image.Image
    x: int
    y: int
    operation: str


def check_layered_output(path: Path) -> None:
    """Raise ValueError for a path that names no OpenRaster file, FileNotFoundError for a folder that is not there."""
    if path.suffix.lower() != SUFFIX:
        raise ValueError(f"{path} names no OpenRaster file; end its name in {SUFFIX}.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"The folder of {path} does not exist.")
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name a file in it.")


def placed_layers(layers: Layers, object_name: str = OBJECT) -> list[PlacedLayer]:
    """The layers from the bottom to the top, cropped to what is in them; those of nothing are left out."""
    scene = PlacedLayer("scene", pil_pictures(layers.scene[None])[0], 0, 0, NORMAL)
    others = (
        _cropped("shadow", layers.shadow, (layers.shadow < 1).any(-1), MULTIPLY),
        _cropped("light", layers.light, (layers.light > 0).any(-1), SCREEN),
        _cropped(_one_line(object_name) or OBJECT, layers.object, layers.object[..., 3] > 0, NORMAL),
    )
    return [scene, *(layer for layer in others if layer)]


def write_openraster(path: Path, layers: Layers, *, object_name: str = OBJECT, like: Image.Image | None = None) -> None:
    """Write layers, whole or not at all. The pictures have the colour profile of `like`.

    Raises OSError for what cannot be written.
    """
    facts = colour_facts(like) if like else {}
    placed = placed_layers(layers, object_name)
    merged = pil_pictures(layers.recompose()[None])[0]
    thumbnail = merged.copy()
    thumbnail.thumbnail(THUMBNAIL)
    files = {f"data/layer{number}.png": layer.picture for number, layer in enumerate(placed)}
    files |= {"mergedimage.png": merged, "Thumbnails/thumbnail.png": thumbnail}
    with whole(path) as part, zipfile.ZipFile(part, "w") as archive:
        archive.writestr(_entry("mimetype"), MIMETYPE)
        archive.writestr(_entry("stack.xml"), _stack(merged.size, dict(zip(files, placed, strict=False))))
        for name, picture in files.items():
            content = io.BytesIO()
            picture.save(content, format="PNG", **facts)
            archive.writestr(_entry(name), content.getvalue())


def write_batch(
    folder: Path, name: str, counter: int, layers: Sequence[Layers], *, object_name: str = OBJECT
) -> list[Path]:
    """Write one file each, named as the host's Save Image names them from `counter` on; their paths."""
    paths = []
    for number, one in enumerate(layers):
        stem = name.replace("%batch_num%", str(number))
        paths.append(folder / f"{stem}_{counter + number:05}_{SUFFIX}")
        write_openraster(paths[-1], one, object_name=object_name)
    return paths


def _cropped(name: str, picture: Tensor, something: Tensor, operation: str) -> PlacedLayer | None:
    """A layer [H,W,C] as large as what is in it, where `something` [H,W] is true; None where it is nowhere."""
    box = mask_box(something)
    return box and PlacedLayer(name, pil_pictures(picture[slices(box)][None])[0], box[0], box[1], operation)


def _one_line(name: str) -> str:
    """A name without the characters that XML cannot hold."""
    return "".join(character for character in name if character.isprintable()).strip()


def _stack(size: tuple[int, int], placed: dict[str, PlacedLayer]) -> bytes:
    """stack.xml of layers, from the bottom to the top, by their files."""
    image = ElementTree.Element("image", version=VERSION, w=str(size[0]), h=str(size[1]))
    stack = ElementTree.SubElement(image, "stack")
    for file, layer in reversed(placed.items()):
        facts = dict(name=layer.name, src=file, x=str(layer.x), y=str(layer.y), visibility="visible", opacity="1.0")
        ElementTree.SubElement(stack, "layer", {**facts, "composite-op": layer.operation})
    return ElementTree.tostring(image, "UTF-8", xml_declaration=True)


def _entry(name: str) -> zipfile.ZipInfo:
    """An entry that is not compressed, as a PNG cannot be; without the time, so that equal layers are equal files."""
    entry = zipfile.ZipInfo(name)
    entry.external_attr = READABLE
    return entry
