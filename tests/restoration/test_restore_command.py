"""`visual-insertion restore`: files in, the scene's own pixels out, with all that its file says."""

import numpy as np
import pytest
from PIL import Image, ImageCms

from visual_insertion_pack.devtools.pack import ROOT
from visual_insertion_pack.pipelines.__main__ import main
from visual_insertion_pack.pipelines.commands import restore as command
from visual_insertion_pack.pipelines.restoration import restore as restoring
from visual_insertion_pack.tests.restoration_parts import cases, edit
from visual_insertion_pack.tests.small_disks import full_disk

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def picture(pixels):
    return Image.fromarray(np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8))


@pytest.fixture(scope="module")
def case():
    return edit(cases.Drift(zoom=1.03, shift=(0.01, -0.01), colour=True), side=320)


@pytest.fixture
def files(case, tmp_path):
    """The paths of scene.png, with transparency, a profile and dpi, and of edited.png."""
    scene = picture(case.scene[0].numpy())
    scene.putalpha(Image.linear_gradient("L").resize(scene.size))
    scene.save(tmp_path / "scene.png", icc_profile=PROFILE, dpi=(300, 300))
    picture(case.edited[0].numpy()).save(tmp_path / "edited.png")
    return tmp_path


def run(folder, *more, edited=("edited.png",), output="out.png"):
    names = [folder / name for name in edited]
    words = ["restore", "--scene", folder / "scene.png", "--edited", *names, "--output", folder / output, *more]
    return main([str(word) for word in words])


def pixels(path):
    return np.asarray(Image.open(path))


def test_the_scenes_pixels_alpha_profile_and_resolution_stay(files, case, capsys):
    assert run(files, "--effect", files / "effect.png") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[2].startswith("undone: shift +3.") and said[-2:] == [str(files / "out.png"), str(files / "effect.png")]
    out, scene = pixels(files / "out.png"), pixels(files / "scene.png")
    outside = pixels(files / "effect.png") == 0
    assert outside.mean() > 0.7 and np.array_equal(out[outside], scene[outside])
    assert np.array_equal(out[..., 3], scene[..., 3])
    assert np.abs(out[..., :3] / 255.0 - case.ideal[0].numpy())[case.object > 0.9].mean() < 0.06
    written = Image.open(files / "out.png")
    assert written.info["icc_profile"] == PROFILE and written.info["dpi"] == pytest.approx((300, 300), abs=0.1)


def test_masks_and_layer_are_written(files, case):
    names = ["effect.png", "object.png", "layer.png"]
    assert run(files, "--effect", files / names[0], "--object", files / names[1], "--layer", files / names[2]) == 0
    effect, solid, layer = (Image.open(files / name) for name in names)
    assert effect.mode == solid.mode == "L" and layer.mode == "RGBA"
    assert effect.size == solid.size == layer.size == Image.open(files / "scene.png").size
    assert (np.asarray(solid) > 127)[case.object > 0.9].mean() > 0.9
    assert (np.asarray(effect) > 127).sum() > (np.asarray(solid) > 127).sum()
    assert not np.asarray(layer)[np.asarray(effect) == 0].any()


def test_several_edits_are_several_results(files, case, capsys):
    picture(case.edited[0].numpy()).resize((200, 140)).save(files / "small.png")
    assert run(files, "--object", files / "o.png", edited=("edited.png", "small.png")) == 0
    assert {"out_1.png", "out_2.png", "o_1.png", "o_2.png"} < {path.name for path in files.iterdir()}
    assert not (files / "out.png").exists()
    said = capsys.readouterr().out
    assert said.index("edited.png") < said.index("out_1.png") < said.index("small.png") < said.index("out_2.png")
    assert pixels(files / "out_2.png").shape == pixels(files / "scene.png").shape


def refused(files, capsys, *more, **names):
    """What is said where nothing that was there is changed, and nothing new is there."""
    before = {path: path.read_bytes() for path in files.iterdir()}
    assert run(files, *more, **names) == 1
    assert {path: path.read_bytes() for path in files.iterdir()} == before
    return capsys.readouterr().err


@pytest.mark.parametrize("name", ["cut.png", "cut.jpg", "cut.webp", "cut.tiff"])
def test_of_several_edits_the_last_is_read_to_its_end_before_the_first_is_restored(files, case, capsys, name):
    picture(case.edited[0].numpy()).save(files / name)
    whole = (files / name).read_bytes()
    for content in (b"<html>", whole[: len(whole) // 2]):
        (files / name).write_bytes(content)
        assert f"{name} is not a readable picture" in refused(files, capsys, edited=("edited.png", name))


def test_a_picture_that_is_read_is_not_written_over(files, capsys):
    for name in ("scene.png", "edited.png"):
        assert f"{files / name} is a file that is read" in refused(files, capsys, output=name)
        assert "is a file that is read" in refused(files, capsys, "--effect", files / name)
    for number in (1, 2):
        (files / f"edit_{number}.png").write_bytes((files / "edited.png").read_bytes())
    said = refused(files, capsys, edited=("edit_1.png", "edit_2.png"), output="edit.png")
    assert f"{files / 'edit_1.png'} is a file that is read" in said
    assert "name the same file" in refused(files, capsys, "--effect", files / "." / ".." / files.name / "out.png")


def test_a_full_disk_leaves_what_was_there(files, capsys, tmp_path):
    with full_disk(tmp_path / "disk", free=8192):
        (tmp_path / "disk" / "out.png").write_bytes(b"mine")
        assert run(files, output="disk/out.png") == 1
        assert "out.png could not be written" in capsys.readouterr().err
        assert {path.name for path in (tmp_path / "disk").iterdir()} == {"ballast", "out.png"}
        assert (tmp_path / "disk" / "out.png").read_bytes() == b"mine"


def test_a_grey_scene_of_16_bits_comes_back_in_8(files):
    """Every pixel outside the effect is what that file is read as, rounded."""
    deep = np.asarray(Image.open(files / "scene.png").convert("L")).astype(np.uint16) * 257 + 100
    Image.fromarray(deep).save(files / "deep.png")
    words = ["restore", "--scene", files / "deep.png", "--edited", files / "edited.png", "--effect", files / "e.png"]
    assert main([str(word) for word in (*words, "--output", files / "out.png")]) == 0
    outside = pixels(files / "e.png") == 0
    assert outside.mean() > 0.5
    assert np.array_equal(pixels(files / "out.png")[outside][:, 0], np.round(deep / 257).astype(np.uint8)[outside])


def test_options_say_what_is_undone_and_where(files, case, capsys):
    mask = np.zeros(case.object.shape)
    mask[:20, :30] = 1
    picture(mask).save(files / "mask.png")
    assert run(files, "--mask", files / "mask.png") == 0
    assert np.array_equal(pixels(files / "out.png"), pixels(files / "scene.png"))
    assert (
        run(files, "--mask", files / "mask.png", "--mask-use", "force", "--feather", 0, "--effect", files / "e.png")
        == 0
    )
    assert (pixels(files / "e.png")[:20, :30] == 255).all()
    capsys.readouterr()
    assert run(files, "--no-align", "--no-colour", "--sensitivity", 0.5) == 0
    assert "shift +0.0, +0.0 px, zoom +0.00%" in capsys.readouterr().out


def test_a_vae_is_read_from_a_folder(files):
    assert run(files, "--vae", ROOT / "playroom_models" / "vae", "--effect", files / "e.png") == 0
    outside = pixels(files / "e.png") == 0
    assert outside.mean() > 0.5
    assert np.array_equal(pixels(files / "out.png")[outside], pixels(files / "scene.png")[outside])


def test_an_object_that_was_pasted_is_told(files, capsys):
    scene = pixels(files / "scene.png")[..., :3].copy()
    pasted = pixels(ROOT / "playroom_models" / "samples" / "object.png")[..., :3]
    pasted = np.asarray(Image.fromarray(pasted).resize((80, 80)))
    scene[60:140, 90:170] = pasted
    Image.fromarray(scene).save(files / "pasted.png")
    Image.fromarray(pasted).save(files / "object.png")
    assert run(files, "--object-picture", files / "object.png", edited=("pasted.png",)) == 0
    assert "copy-paste" in capsys.readouterr().out
    assert run(files, edited=("pasted.png",)) == 0
    assert "copy-paste" not in capsys.readouterr().out


def test_the_scene_itself_comes_back_and_it_is_said(files, capsys):
    assert run(files, edited=("scene.png",)) == 0
    assert "nothing inserted" in capsys.readouterr().out
    assert np.array_equal(pixels(files / "out.png"), pixels(files / "scene.png"))


def test_what_is_spelt_out_in_the_command_is_what_there_is():
    assert command.MASK_USES == restoring.MASK_USES
