"""The one writer of pictures: what a file keeps, and which names it refuses before anything is sampled."""

import numpy as np
import pytest
from PIL import Image, ImageCms

from visual_insertion_pack.pipelines.pictures.files import OUTPUTS, check_output, save_picture
from visual_insertion_pack.pipelines.pictures.opening import open_picture

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def noise(*size):
    return np.random.default_rng(0).integers(0, 256, size, np.uint8)


def transparent():
    """Colours under transparency are colours."""
    return Image.fromarray(noise(20, 30, 4))


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".TIFF"])
def test_a_lossless_file_keeps_every_bit_and_transparency(tmp_path, suffix):
    save_picture(transparent(), tmp_path / f"r{suffix}")
    assert np.array_equal(np.asarray(open_picture(tmp_path / f"r{suffix}")), np.asarray(transparent()))


def test_a_jpeg_is_close_in_every_colour(tmp_path):
    pixels = noise(40, 40, 3)
    save_picture(Image.fromarray(pixels), tmp_path / "r.jpg")
    assert np.abs(np.asarray(open_picture(tmp_path / "r.jpg")).astype(int) - pixels).mean() < 2


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tiff", ".bmp"])
def test_resolution_is_the_scene_s(tmp_path, suffix):
    Image.new("RGB", (9, 9)).save(tmp_path / "scene.png", dpi=(300, 150))
    save_picture(Image.new("RGB", (9, 9)), tmp_path / f"r{suffix}", like=open_picture(tmp_path / "scene.png"))
    assert [round(side) for side in open_picture(tmp_path / f"r{suffix}").info["dpi"]] == [300, 150]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tiff"])
def test_the_colour_profile_is_the_scene_s(tmp_path, suffix):
    Image.new("RGB", (9, 9)).save(tmp_path / "scene.png", icc_profile=PROFILE)
    save_picture(Image.new("RGB", (9, 9)), tmp_path / f"r{suffix}", like=open_picture(tmp_path / "scene.png"))
    assert open_picture(tmp_path / f"r{suffix}").info["icc_profile"] == PROFILE


@pytest.mark.parametrize("space", [b"CMYK", b"GRAY"])
def test_a_profile_of_other_colours_is_left_out(tmp_path, space):
    scene = Image.new("RGB", (9, 9))
    scene.info = {"icc_profile": PROFILE[:16] + space + PROFILE[20:], "dpi": (float("nan"), 0)}
    save_picture(Image.new("RGB", (9, 9)), tmp_path / "r.png", like=scene)
    assert {"icc_profile", "dpi"}.isdisjoint(open_picture(tmp_path / "r.png").info)


def test_an_opaque_picture_is_written_without_alpha(tmp_path):
    scene = Image.new("RGBA", (9, 9), (1, 2, 3, 255))
    for suffix in OUTPUTS:
        check_output(tmp_path / f"r{suffix}", scene)
        save_picture(scene, tmp_path / f"r{suffix}")
        assert open_picture(tmp_path / f"r{suffix}").mode == "RGB"


@pytest.mark.parametrize(
    ("name", "scene", "error"),
    [
        ("r.psd", Image.new("RGB", (9, 9)), "names no picture format that can be written; use .png"),
        ("r.cur", Image.new("RGB", (9, 9)), "names no picture format that can be written"),
        ("r.fits", Image.new("RGB", (9, 9)), "names no picture format that can be written"),
        ("r.eps", Image.new("RGB", (9, 9)), "names no picture format that can be written"),
        ("r", Image.new("RGB", (9, 9)), "names no picture format that can be written"),
        ("r.jpg", transparent(), "would lose the scene's transparency, which JPEG cannot keep"),
        ("r.bmp", transparent(), "would lose the scene's transparency, which BMP cannot keep"),
        ("r.webp", Image.new("L", (16384, 1)), "cannot be as large as the scene: WEBP ends at 16383 px"),
        ("folder.png", Image.new("RGB", (9, 9)), "is a folder; name a file in it"),
    ],
)
def test_a_name_that_cannot_hold_the_result_is_refused(tmp_path, name, scene, error):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ValueError, match=error):
        check_output(tmp_path / name, scene)
    with pytest.raises(FileNotFoundError, match="folder of .* does not exist"):
        check_output(tmp_path / "nowhere" / "r.png", scene)
