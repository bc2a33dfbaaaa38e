"""The one reader of pictures: what it reads right, what it refuses, and that nothing else opens a file."""

import ast
import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visual_insertion_pack.pipelines.evaluation.benchmarks import files as benchmark_files
from visual_insertion_pack.pipelines.paint_by_example.training import box_folder
from visual_insertion_pack.pipelines.pictures.files import mask_tensor, picture_tensor
from visual_insertion_pack.pipelines.pictures.opening import (
    FORMATS,
    LARGEST,
    PictureError,
    mask_picture,
    open_picture,
    picture_size,
)
from visual_insertion_pack.pipelines.triplets import folder as triplet_folder
from visual_insertion_pack.pipelines.triplets import row as triplet_row

PIPELINES = Path(__file__).resolve().parents[2] / "pipelines"


def noise(*size):
    return np.random.default_rng(0).integers(0, 256, size, np.uint8)


def file_of(picture, kind, **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def empty_png(width, height):
    """A PNG's beginning that claims a size, and pixels that compress to nearly nothing."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_pictures_are_opened_at_one_place():
    calls = []
    for path in sorted(PIPELINES.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("Image.open", "PIL.Image.open"):
                calls.append(path.relative_to(PIPELINES).as_posix())
    assert calls == ["pictures/opening.py"]


@pytest.mark.parametrize(("kind", "options"), [
    ("PNG", {}), ("WEBP", dict(lossless=True)), ("TIFF", {}), ("BMP", {}), ("PPM", {}), ("JPEG2000", {}),
])  # fmt: skip
def test_lossless_formats_are_read_to_the_bit(tmp_path, kind, options):
    pixels = noise(9, 13, 3)
    content = file_of(Image.fromarray(pixels), kind, **options)
    (tmp_path / "picture").write_bytes(content)
    assert np.array_equal(np.asarray(open_picture(content)), pixels)
    assert np.array_equal(np.asarray(open_picture(tmp_path / "picture")), pixels)
    assert picture_size(tmp_path / "picture") == (13, 9)
    (tmp_path / "picture").unlink()  # nothing keeps it open


def test_no_program_is_started_for_a_picture(tmp_path, monkeypatch):
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_: pytest.fail("Ghostscript was started"))
    content = file_of(Image.new("RGB", (9, 9)), "EPS")
    with pytest.raises(PictureError, match="scene is not a readable picture: it is none of PNG, JPEG"):
        open_picture(content, "scene")
    with pytest.raises(triplet_row.RowError, match="unreadable scene"):
        triplet_row.decode({"bytes": content}, "scene")


@pytest.mark.parametrize("size", [(14000, 14000), (2**31 - 1, 2**31 - 1), (2**31 - 1, 1)])
def test_a_picture_that_would_fill_the_memory_is_refused_by_its_header(tmp_path, size):
    (tmp_path / "bomb.png").write_bytes(empty_png(*size))
    for read in (open_picture, picture_size):
        with pytest.raises(PictureError, match=r"bomb\.png is not a readable picture: it has more than 178,956,970"):
            read(tmp_path / "bomb.png")


def test_a_large_photograph_is_no_bomb(tmp_path):
    (tmp_path / "large.png").write_bytes(empty_png(10000, LARGEST // 10000))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert picture_size(tmp_path / "large.png") == (10000, 17895)


def test_what_is_there_is_not_said_to_be_missing(tmp_path):
    (tmp_path / "empty.png").touch()
    with pytest.raises(FileNotFoundError, match=r"gone\.png does not exist\."):
        open_picture(tmp_path / "gone.png")
    with pytest.raises(PictureError, match="it is a folder"):
        open_picture(tmp_path)
    with pytest.raises(PictureError, match=r"empty\.png is not a readable picture: it is empty"):
        open_picture(tmp_path / "empty.png")
    if Path(os.devnull).exists():
        with pytest.raises(PictureError, match="it is no regular file"):
            open_picture(Path(os.devnull))


def sixteen_bits(kind):
    pixels = np.random.default_rng(0).integers(0, 65536, (9, 13), np.uint16)
    return pixels, file_of(Image.fromarray(pixels), kind)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_is_right_for_every_reader(tmp_path, kind):
    pixels, content = sixteen_bits(kind)
    (tmp_path / "deep.png").write_bytes(content)
    rounded = np.round(pixels / 257).astype(np.uint8)
    grey = np.repeat(rounded[..., None], 3, 2)
    half = rounded > rounded.max() / 2
    triplet = triplet_folder.read_picture(tmp_path / "deep.png")
    assert np.array_equal(np.asarray(open_picture(content)), rounded)
    assert np.allclose(picture_tensor(open_picture(content, deep=True))[0, ..., 0], pixels / 65535)
    assert np.allclose(mask_tensor(open_picture(content, deep=True))[0], rounded / 255)
    assert np.array_equal((triplet.movedim(0, -1).numpy() * 255).round(), grey)
    assert np.array_equal((triplet_folder.read_picture(tmp_path / "deep.png", "L")[0].numpy() * 255).round(), rounded)
    assert np.array_equal(np.asarray(triplet_row.decode({"bytes": content}, "scene").convert("RGB")), grey)
    assert np.array_equal(triplet_row.scale_mask(triplet_row.decode({"bytes": content}, "mask"), (13, 9)), half)
    assert np.array_equal(np.asarray(benchmark_files.decode_rgb({"scene": content}, "scene", "row 1")), grey)
    assert np.array_equal(benchmark_files.to_mask(open_picture(content), (13, 9), "mask"), half)
    boxed = box_folder.BoxedPicture(tmp_path / "deep.png", np.zeros((0, 4), np.int32))
    assert np.array_equal(boxed.pixels().movedim(0, -1).numpy(), grey)


@pytest.mark.parametrize(("mode", "values"), [("F", np.float32), ("I", np.int32)])
def test_values_of_unknown_range_are_refused(mode, values):
    content = file_of(Image.fromarray(noise(9, 9).astype(values)), "TIFF")
    with pytest.raises(PictureError, match=f"its values are of the kind '{mode}'; save it in 8 or 16 bits"):
        open_picture(content, "scene")


def test_palettes_cmyk_and_transparency_are_read_right():
    rgb = Image.new("RGB", (4, 2), (200, 30, 30))
    rgb.paste((0, 0, 255), (2, 0, 4, 2))
    palette = rgb.quantize(2)
    hole = palette.getpixel((0, 0))
    for content in (file_of(palette, "PNG", transparency=hole), file_of(palette, "GIF", transparency=hole)):
        pixels = (picture_tensor(open_picture(content))[0] * 255).round().int()
        assert pixels[0, 0, 3] == 0 and pixels[0, 3].tolist() == [0, 0, 255, 255]
    assert open_picture(file_of(palette, "PNG")).convert("RGB").getpixel((0, 0)) == (200, 30, 30)
    cmyk = picture_tensor(open_picture(file_of(rgb.convert("CMYK"), "TIFF")))[0] * 255
    assert cmyk[0, 0].round().tolist() == [200, 30, 30]
    grey = Image.merge("LA", (Image.new("L", (4, 2), 99), Image.new("L", (4, 2), 50)))
    assert (picture_tensor(open_picture(file_of(grey, "PNG")))[0, 0, 0] * 255).round().tolist() == [99, 99, 99, 50]


def shape():
    mask = Image.new("L", (8, 8))
    mask.paste(255, (2, 2, 6, 6))
    return mask


def with_alpha(picture, alpha):
    picture.putalpha(alpha)
    return picture


@pytest.mark.parametrize(
    "picture",
    [
        shape(),
        shape().convert("1"),
        shape().convert("RGB"),
        with_alpha(Image.new("RGB", (8, 8), "white"), shape()),
        with_alpha(Image.new("RGB", (8, 8)), shape()),  # black paint on transparent ground
        with_alpha(Image.fromarray(noise(8, 8, 3)), shape()),  # a cut-out
        with_alpha(shape().convert("RGB"), Image.new("L", (8, 8), 255)),
        Image.fromarray(np.asarray(shape()).astype(np.uint16) * 257),
    ],
    ids=["L", "1", "RGB", "white on nothing", "black on nothing", "cut-out", "opaque", "16 bit"],
)
def test_a_mask_is_found_in_brightness_or_in_alpha(picture):
    assert np.array_equal(np.asarray(mask_picture(open_picture(file_of(picture, "PNG")))), np.asarray(shape()))


def test_a_mask_that_is_grey_and_partly_transparent_is_as_dark_as_over_black():
    grey = Image.fromarray(np.array([[255, 255, 0], [255, 128, 0]], np.uint8)).convert("RGB")
    alpha = Image.fromarray(np.array([[255, 128, 255], [0, 128, 0]], np.uint8))
    assert np.asarray(mask_picture(with_alpha(grey, alpha))).tolist() == [[255, 128, 0], [0, 64, 0]]


def test_a_photograph_is_upright_whatever_reads_it(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(9, 13, 3)).save(tmp_path / "turned.jpg", exif=exif)
    assert open_picture(tmp_path / "turned.jpg").size == picture_size(tmp_path / "turned.jpg") == (9, 13)


Image.init()
SEEDS = {
    kind: file_of(Image.fromarray(noise(12, 17, 3)), kind)
    for kind in (*FORMATS, "TGA", "ICO", "EPS", "PCX", "SGI", "DDS")
    if kind in Image.SAVE  # AVIF is not in every Pillow
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", SEEDS)
def test_whatever_the_bytes_are_a_picture_or_one_sentence_comes_back(kind):
    random = np.random.default_rng(1)
    for _ in range(150):
        content = np.frombuffer(SEEDS[kind], np.uint8).copy()
        if random.random() < 0.4:
            content = content[: random.integers(len(content))]
        else:
            reach = len(content) if random.random() < 0.4 else min(len(content), 80)
            content[random.integers(0, reach, random.choice([1, 2, 8]))] ^= np.uint8(1 << random.integers(8))
        try:
            picture = open_picture(content.tobytes(), "row 7")
        except PictureError as error:
            assert str(error).startswith("row 7 is not a readable picture: ") and "\n" not in str(error)
        else:
            assert picture.convert("RGB").size == picture.size
