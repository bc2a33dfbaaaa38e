"""Pictures of the demo: find a sample, read any photograph, lay out the sheet."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps, UnidentifiedImageError

from .environment import ROOT

SAMPLES = ROOT / "playroom_models" / "samples"
SAMPLE_PREFIX = "visual_insertion_"  # of a sample's copy in the host's input folder


class PictureError(Exception):
    """One sentence for the user: which file, and what is wrong with it."""


def sample_path(name: str) -> Path:
    """The sample behind the name of an input picture; whether there is one is another question."""
    return SAMPLES / Path(name).name.removeprefix(SAMPLE_PREFIX)


def read_picture(path: Path) -> Image.Image:
    """Any picture as upright RGB: EXIF rotation, grey, palette, 16 bit, transparency (on white)."""
    try:
        picture = Image.open(path)
        picture.load()
    except FileNotFoundError:
        raise PictureError(f"there is no picture {path}") from None
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise PictureError(f"{path} is not a picture that can be read: {error}") from None
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I"):  # 16 bit grey
        picture = picture.convert("F").point(lambda value: value / 257).convert("L")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return picture.convert("RGB")


def shrink(picture: Image.Image, longest: int) -> Image.Image:
    """At most this long, in proportion; smaller pictures stay as they are."""
    small = picture.copy()
    small.thumbnail((longest, longest), Image.Resampling.LANCZOS, reducing_gap=None)
    return small


def png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def sheet(pictures: dict[str, Image.Image]) -> Image.Image:
    """The pictures side by side, each with its name below."""
    cell = 320
    line = 28
    page = Image.new("RGB", (cell * len(pictures), cell + line), "white")
    draw = ImageDraw.Draw(page)
    for column, (name, picture) in enumerate(pictures.items()):
        enlarged = ImageOps.contain(picture.convert("RGB"), (cell - 16, cell - 16), Image.Resampling.LANCZOS)
        left = column * cell + (cell - enlarged.width) // 2
        page.paste(enlarged, (left, (cell - enlarged.height) // 2))
        middle = (column * cell + cell // 2, cell + line // 2 - 4)
        draw.text(middle, name, fill="black", anchor="mm", font_size=16)
    return page
