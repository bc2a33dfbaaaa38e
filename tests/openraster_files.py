"""A reader of OpenRaster files that shares nothing with the writer: the standard library, and Pillow's compositing."""

import io
import zipfile
from xml.etree import ElementTree

from PIL import Image, ImageChops


def read(path):
    """(size, layers from the bottom to the top as (attributes, picture), mergedimage, thumbnail)."""
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        picture = lambda name: Image.open(io.BytesIO(archive.read(name)))  # noqa: E731
        image = ElementTree.fromstring(archive.read("stack.xml"))
        layers = [(layer.attrib, picture(layer.attrib["src"])) for layer in reversed(image.findall("stack/layer"))]
        size = (int(image.attrib["w"]), int(image.attrib["h"]))
        return size, layers, picture("mergedimage.png"), picture("Thumbnails/thumbnail.png")


def composite(size, layers):
    """What the layers make, RGB, by Pillow."""
    result = Image.new("RGBA", size)
    for attributes, picture in layers:
        place = (int(attributes["x"]), int(attributes["y"]))
        operation = attributes["composite-op"]
        if operation == "svg:src-over":
            result.alpha_composite(picture.convert("RGBA"), place)
            continue
        blend = {"svg:multiply": ImageChops.multiply, "svg:screen": ImageChops.screen}[operation]
        assert picture.mode == "RGB"
        below = result.crop((*place, place[0] + picture.width, place[1] + picture.height))
        assert below.getchannel("A").getextrema() == (255, 255)
        result.paste(blend(below.convert("RGB"), picture), place)
    assert result.getchannel("A").getextrema() == (255, 255)
    return result.convert("RGB")
