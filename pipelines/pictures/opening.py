"""The one reader of pictures: a file or its bytes as an upright picture that is wholly there, or one sentence.

Whatever people hand over goes through it: files of the commands, of training and of benchmarks, and rows of data sets.
Without torch, so that a worker that builds a data set starts quickly.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from PIL import Image, ImageChops, ImageOps, UnidentifiedImageError

# Pillow's others start programs (EPS: Ghostscript), hold no photographs, or take any bytes for theirs (TGA).
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "AVIF")
LARGEST = 178_956_970  # px; twice Pillow's own mark, where it refuses as well
KNOWN = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")  # modes that convert() knows
DEEP = 65535  # the white of a 16-bit picture
ORIENTATION = 0x0112  # in EXIF; from 5 on width and height are exchanged

_filters = Lock()  # Python's warning filters are the process's


class PictureError(ValueError):
    """A picture that cannot be read; `reason` leaves out which."""

    reason = ""


def _error(name: str, reason: str) -> PictureError:
    error = PictureError(f"{name} is not a readable picture: {reason}")
    error.reason = reason
    return error


def _explained(error: Exception) -> str:
    """What Pillow says, where it says something, without what differs from process to process."""
    if isinstance(error, UnidentifiedImageError):
        return f"it is none of {', '.join(FORMATS)}, or damaged"
    return re.sub(r" at 0x[0-9A-Fa-f]+", "", str(error)) or type(error).__name__


def _content(source: Path | bytes, name: str) -> Path | io.BytesIO:
    """What Pillow opens. Raises FileNotFoundError, or PictureError for what is no file or empty."""
    if isinstance(source, Path):
        if not source.exists():
            raise FileNotFoundError(f"{source} does not exist.")
        if not source.is_file():
            raise _error(name, "it is a folder" if source.is_dir() else "it is no regular file")
    if not (source.stat().st_size if isinstance(source, Path) else len(source)):
        raise _error(name, "it is empty")
    return source if isinstance(source, Path) else io.BytesIO(source)


def _pillows(content: Path | io.BytesIO) -> Image.Image:
    """A picture of which the header is read, as Pillow has it."""
    with _filters, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # LARGEST is the rule
        return Image.open(content, formats=[known for known in FORMATS if known in Image.OPEN])


@contextmanager
def _opened(source: Path | bytes, name: str) -> Iterator[Image.Image]:
    """A picture of which the header is read; whatever Pillow raises for it becomes a PictureError that names it."""
    name = name or str(source)
    content = _content(source, name)
    Image.init()
    try:
        with _pillows(content) as picture:
            if picture.width * picture.height > LARGEST:
                raise Image.DecompressionBombError
            yield picture
    except Image.DecompressionBombError as error:
        raise _error(name, f"it has more than {LARGEST:,} pixels; make it smaller") from error
    except (PictureError, MemoryError):  # the second is of this machine, not of the picture
        raise
    except Exception as error:  # of many kinds: struct.error and TypeError for EXIF, RuntimeError for AVIF
        raise _error(name, _explained(error)) from error


def open_picture(source: Path | bytes, name: str = "", *, deep: bool = False) -> Image.Image:
    """The picture in a file or in a file's bytes: the first frame, upright, in 8 bits; `name` is what errors call it.

    `deep` leaves 16-bit grey as it is, for `files.picture_tensor`. Raises FileNotFoundError, or ValueError for anything
    but a picture of FORMATS, for one that is cut off or damaged, too large, or of values whose range nobody knows.
    """
    with _opened(source, name) as picture:
        if picture.format == "PNG":  # Pillow checks the sums of its parts only when asked to, and then cannot load it
            with _pillows(_content(source, name)) as twin:
                twin.verify()
        picture.load()
        if picture.mode not in KNOWN and not is_deep(picture):
            raise ValueError(f"its values are of the kind '{picture.mode}'; save it in 8 or 16 bits, grey or RGB")
        ImageOps.exif_transpose(picture, in_place=True)
        return picture if deep else eight_bits(picture)


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height of the upright picture in a file, from its beginning. Raises what `open_picture` does."""
    with _opened(path, "") as picture:
        told = "exif" in picture.info or picture.format == "TIFF"  # or getexif() might decode all of it
        turned = told and picture.getexif().get(ORIENTATION, 1) >= 5
        return (picture.height, picture.width) if turned else (picture.width, picture.height)


def is_deep(picture: Image.Image) -> bool:
    """Whether a picture is grey in 16 bits; a TIFF in 32 may mean anything by its numbers."""
    return picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format != "TIFF")


def eight_bits(picture: Image.Image) -> Image.Image:
    """A picture as it is, but 16-bit grey rounded to 8 bits: `convert` would cut it off."""
    if not picture.mode.startswith("I"):
        return picture
    grey = np.asarray(picture, dtype=np.float32) * (255 / DEEP)
    return Image.fromarray(grey.round().clip(0, 255).astype(np.uint8))


def mask_picture(picture: Image.Image) -> Image.Image:
    """A mask's picture as grey, white where it is on: its brightness, or its alpha where brightness says nothing.

    That is so for one colour on transparent ground, and for a coloured picture that is cut out. Grey that is partly
    transparent is as dark as over black.
    """
    picture = eight_bits(picture)
    brightness = picture.convert("L")
    if not picture.has_transparency_data:
        return brightness
    pixels = np.asarray(picture.convert("RGBA"))
    alpha = pixels[..., 3]
    if alpha.min() == 255:
        return brightness
    visible = pixels[alpha > 0][:, :3]
    of_one_colour = (visible == visible[:1]).all()
    grey = (visible == visible[:, :1]).all()
    opacity = Image.fromarray(alpha)
    return ImageChops.multiply(brightness, opacity) if grey and not of_one_colour else opacity


def with_bytes(stored: Any, folder: Path) -> Any:
    """A picture as Hugging Face datasets store it, {"bytes", "path"}, its file read where only the path is stored.

    A relative path is one below `folder`. What is stored otherwise stays as it is. Raises FileNotFoundError.
    """
    if not isinstance(stored, dict) or stored.get("bytes") or not stored.get("path"):
        return stored
    file = folder / stored["path"]
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist, and the data set stores only its path.")
    return {"bytes": file.read_bytes(), "path": file.name}
