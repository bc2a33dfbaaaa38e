"""OpenRaster files: by the specification, whole or not there, and other programs see the restored picture."""

import os
import shutil
import subprocess
import zipfile
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from visual_insertion_pack.pipelines.layers.matting import separate
from visual_insertion_pack.pipelines.layers.openraster import write_openraster
from visual_insertion_pack.tests.layers.test_matting import disc, edits, inserted, photograph
from visual_insertion_pack.tests.openraster_files import composite, read

law = settings(deadline=None, database=None, derandomize=True, max_examples=40)


def edit(scene="chelsea.png"):
    """(scene, restored, layers) of a photograph with an object, its shadow and a glow."""
    scene = photograph(scene)
    restored, opacity, _, effect = inserted(scene, photograph("coffee.png"))
    glow = disc(240, 40, 20)[..., None]
    restored = restored + 0.4 * glow * (1 - restored)
    effect = torch.maximum(effect, glow[..., 0])
    return scene, restored, separate(scene, restored, (opacity > 0.5).float(), effect)


def farthest(one, other):
    """The largest difference of two pictures of 8 bits, in levels."""
    return int(np.abs(np.asarray(one, np.int32) - np.asarray(other, np.int32)).max())


def eight_bits(picture):
    return (picture * 255).round().byte().numpy()


def test_the_archive_is_laid_out_by_the_specification(tmp_path):
    write_openraster(tmp_path / "a.ora", edit()[2])
    content = (tmp_path / "a.ora").read_bytes()
    assert content[30:54] == b"mimetypeimage/openraster"  # right after the first entry's header: stored, nothing extra
    with zipfile.ZipFile(tmp_path / "a.ora") as archive:
        assert archive.namelist()[0] == "mimetype"
        assert {"stack.xml", "mergedimage.png", "Thumbnails/thumbnail.png"} <= set(archive.namelist())
        image = ElementTree.fromstring(archive.read("stack.xml"))
    assert (image.tag, image.attrib["w"], image.attrib["h"]) == ("image", "300", "240")
    layers = image.findall("stack/layer")
    assert [layer.attrib["name"] for layer in layers] == ["object", "light", "shadow", "scene"]  # the topmost first
    operations = ["svg:src-over", "svg:screen", "svg:multiply", "svg:src-over"]
    assert [layer.attrib["composite-op"] for layer in layers] == operations


@pytest.mark.parametrize("scene", ["chelsea.png", "coffee.png", "rocket.jpg", "astronaut.png"])
def test_the_files_layers_make_the_restored_picture(scene, tmp_path):
    _, restored, layers = edit(scene)
    write_openraster(tmp_path / "a.ora", layers)
    size, placed, merged, thumbnail = read(tmp_path / "a.ora")
    assert farthest(merged, eight_bits(restored)) == 0
    assert farthest(composite(size, placed), eight_bits(restored)) <= 1
    assert max(thumbnail.size) == 256


@law
@given(edit=edits())
def test_layers_of_any_pictures_make_the_restored_one(edit, tmp_path_factory):
    path = tmp_path_factory.mktemp("ora") / "a.ora"
    write_openraster(path, separate(*edit))
    size, placed, merged, _ = read(path)
    assert farthest(merged, eight_bits(edit[1])) == 0
    assert farthest(composite(size, placed), eight_bits(edit[1])) <= 1


def test_layers_are_as_large_as_what_is_in_them(tmp_path):
    scene = torch.full((90, 120, 3), 0.5)
    mask = torch.zeros(90, 120)
    mask[20:40, 30:70] = 1
    restored = torch.where(mask[..., None] > 0, torch.tensor([0.9, 0.1, 0.1]), scene)
    write_openraster(tmp_path / "a.ora", separate(scene, restored, mask, mask))
    _, placed, *_ = read(tmp_path / "a.ora")
    assert [attributes["name"] for attributes, _ in placed] == ["scene", "object"]  # there is neither shadow nor light
    attributes, picture = placed[1]
    assert (attributes["x"], attributes["y"], picture.size) == ("30", "20", (40, 20))


@pytest.mark.parametrize("name", ['a "mug" & <saucer>', "Tasse für Ärger", "杯子", "a' b"])
def test_names_with_any_characters_come_back(name, tmp_path):
    write_openraster(tmp_path / "a.ora", edit()[2], object_name=name)
    assert read(tmp_path / "a.ora")[1][-1][0]["name"] == name


@given(name=st.text())
@settings(deadline=None, database=None, derandomize=True, max_examples=30)
def test_no_name_breaks_the_file(name, tmp_path_factory):
    path = tmp_path_factory.mktemp("ora") / "a.ora"
    scene = torch.zeros(4, 4, 3)
    write_openraster(path, separate(scene, scene + 1, torch.ones(4, 4), torch.ones(4, 4)), object_name=name)
    assert read(path)[1][-1][0]["name"]


def test_the_same_layers_are_the_same_bytes(tmp_path):
    for name in ("a.ora", "b.ora"):
        write_openraster(tmp_path / name, edit()[2])
    assert (tmp_path / "a.ora").read_bytes() == (tmp_path / "b.ora").read_bytes()


def test_the_scenes_colour_profile_stays(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    scene = Image.new("RGB", (4, 4))
    scene.info["icc_profile"] = profile
    write_openraster(tmp_path / "a.ora", edit()[2], like=scene)
    _, placed, merged, _ = read(tmp_path / "a.ora")
    assert all(picture.info["icc_profile"] == profile for picture in [merged, *(picture for _, picture in placed)])


def test_a_full_disk_leaves_the_file_before_and_nothing_else(tmp_path, full_disk):
    (tmp_path / "a.ora").write_bytes(b"before")
    layers = edit()[2]
    with full_disk(20_000), pytest.raises(OSError, match=r"a.ora could not be written .*Free some space there"):
        write_openraster(tmp_path / "a.ora", layers)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.ora": b"before"}


@pytest.mark.skipif(not shutil.which("krita"), reason="Krita is not installed")
@pytest.mark.skipif(
    not (shutil.which("xvfb-run") and shutil.which("xauth")),
    reason="Krita draws on a display: xvfb-run and xauth are not both installed",
)
def test_krita_sees_the_restored_picture(tmp_path):
    _, restored, layers = edit()
    write_openraster(tmp_path / "a.ora", layers)
    (tmp_path / "home").mkdir()
    home = {"HOME": str(tmp_path / "home"), "XDG_RUNTIME_DIR": str(tmp_path / "home")}
    export = ["--export", "--export-filename", str(tmp_path / "out.png"), str(tmp_path / "a.ora")]
    subprocess.run(
        ["xvfb-run", "-a", "krita", *export], env=os.environ | home, check=True, capture_output=True, timeout=500
    )
    assert farthest(Image.open(tmp_path / "out.png").convert("RGB"), eight_bits(restored)) <= 1


GIMPS = {"svg:multiply": "LAYER-MODE-MULTIPLY-LEGACY", "svg:screen": "LAYER-MODE-SCREEN-LEGACY"}


def gimp_version():
    """What GIMP says of itself; nothing without it."""
    if not shutil.which("gimp-console"):
        return ""
    return subprocess.run(["gimp-console", "--version"], capture_output=True, text=True, timeout=60).stdout


@pytest.mark.skipif(" 2.10" not in gimp_version(), reason="GIMP 2.10, whose scripts this speaks, is not installed")
@pytest.mark.parametrize("normal", ["LAYER-MODE-NORMAL", "LAYER-MODE-NORMAL-LEGACY"])
def test_gimp_sees_the_restored_picture_and_mixes_soft_edges_by_its_mode_for_them(normal, tmp_path):
    """GIMP 2.10 of some systems lacks its plug-in for OpenRaster, so its script does here what the plug-in does.

    GIMP's Normal mixes in linear light, also in files that say otherwise: half opaque pixels differ until the layer's
    mode is Normal (legacy), or its composite space perceptual.
    """
    _, restored, layers = edit()
    write_openraster(tmp_path / "a.ora", layers)
    size, placed, *_ = read(tmp_path / "a.ora")
    steps = [f"(let* ((image (car (gimp-image-new {size[0]} {size[1]} RGB))) (layer 0))"]
    for number, (attributes, picture) in enumerate(placed):
        picture.save(tmp_path / f"{number}.png")
        file = (tmp_path / f"{number}.png").as_posix()
        mode = GIMPS.get(attributes["composite-op"], normal)
        steps += [
            f'(set! layer (car (gimp-file-load-layer RUN-NONINTERACTIVE image "{file}")))',
            f"(gimp-layer-set-mode layer {mode})",
            f"(gimp-layer-set-offsets layer {attributes['x']} {attributes['y']})",
            "(gimp-image-insert-layer image layer 0 0)",
        ]
    result = (tmp_path / "out.png").as_posix()
    steps.append("(set! layer (car (gimp-image-flatten image)))")
    steps.append(f'(file-png-save RUN-NONINTERACTIVE image layer "{result}" "out.png" 0 9 0 0 0 0 0))')
    command = ["gimp-console", "-i", "-d", "-f", "-b", " ".join(steps), "-b", "(gimp-quit 0)"]
    home = os.environ | {"HOME": str(tmp_path)}
    subprocess.run(command, env=home, check=True, capture_output=True, timeout=500)
    opacity = layers.object[..., 3]
    mixed = ((opacity > 0) & (opacity < 1)).numpy() & (normal == "LAYER-MODE-NORMAL")
    seen = np.asarray(Image.open(result).convert("RGB"))
    assert farthest(seen[~mixed], eight_bits(restored)[~mixed]) <= 1
