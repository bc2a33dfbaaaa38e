"""The layer nodes in the real host: what they save is the restored picture, under the host's own names."""

from pathlib import Path

import numpy as np
import pytest
import torch

from visual_insertion_pack.tests.layers.test_matting import disc, inserted, photograph
from visual_insertion_pack.tests.openraster_files import composite, read


@pytest.fixture(scope="module")
def edit():
    """scene, image, object_mask and effect_mask, as Restore Scene gives them."""
    scene = photograph("chelsea.png")
    restored, opacity, _, effect = inserted(scene, photograph("coffee.png"))
    return dict(
        scene=scene[None], image=restored[None], object_mask=(opacity > 0.5).float()[None], effect_mask=effect[None]
    )


def two(edit):
    """The same for two pictures of one scene; the second is the scene itself."""
    image = torch.cat([edit["image"], edit["scene"]])
    return edit | {"image": image, "effect_mask": torch.cat([edit["effect_mask"], edit["effect_mask"] * 0])}


def farthest(picture, image):
    """The largest difference of a picture of 8 bits and an image [H,W,3], in levels."""
    levels = (image * 255).round().numpy()
    return int(np.abs(np.asarray(picture, np.float32) - levels).max())


def test_split_layers_make_the_picture_again(comfy, edit):
    layer, shadow, light = comfy("SplitLayers", **edit)
    shaded = 1 - (1 - edit["scene"] * shadow) * (1 - light)
    alpha = layer[..., 3:]
    recomposed = alpha * layer[..., :3] + (1 - alpha) * shaded
    assert layer.shape == (1, 240, 300, 4)
    assert float((recomposed - edit["image"]).abs().max()) <= 1.5 / 255
    outside = edit["effect_mask"] == 0
    assert (layer[outside] == 0).all() and (shadow[outside] == 1).all() and (light[outside] == 0).all()


def test_a_saved_file_holds_the_restored_picture(comfy, edit):
    (files,) = comfy("SaveLayers", **edit, filename_prefix="portraits/cat", object_name="a <cup>")
    path = Path(files)
    assert path.parent == comfy.base / "output" / "portraits"
    size, layers, merged, _ = read(path)
    assert layers[-1][0]["name"] == "a <cup>"
    assert farthest(merged, edit["image"][0]) == 0
    assert farthest(composite(size, layers), edit["image"][0]) <= 1


def test_files_are_counted_on_and_none_is_written_over(comfy, edit):
    first = comfy("SaveLayers", **two(edit), filename_prefix="counted/%width%_")[0].splitlines()
    before = [Path(file).read_bytes() for file in first]
    second = comfy("SaveLayers", **edit, filename_prefix="counted/%width%_")[0].splitlines()
    names = [Path(file).name for file in (*first, *second)]
    assert names == ["300__00001_.ora", "300__00002_.ora", "300__00003_.ora"]
    assert [Path(file).read_bytes() for file in first] == before


def test_a_batch_is_one_file_each(comfy, edit):
    files = comfy("SaveLayers", **two(edit), filename_prefix="batch")[0].splitlines()
    assert [len(read(file)[1]) for file in files] == [4, 1]  # nothing was done to the second scene


def test_what_was_saved_is_shown_in_the_front_end(server, edit, tmp_path):
    graph = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 48, "batch_size": 1, "color": 0x8090A0}},
        "2": {"class_type": "SolidMask", "inputs": {"width": 64, "height": 48, "value": 0.0}},
        "3": {
            "class_type": "SaveLayers",
            "inputs": {
                "scene": ["1", 0],
                "image": ["1", 0],
                "object_mask": ["2", 0],
                "effect_mask": ["2", 0],
                "filename_prefix": "shown",
            },
        },
    }
    shown = server.run(graph)["outputs"]["3"]
    assert shown["layers"] == [{"filename": "shown_00001_.ora", "subfolder": "", "type": "output"}]
    assert shown["text"][0].endswith("shown_00001_.ora")
    assert len(shown["images"]) == 1


def test_a_full_disk_is_said_and_leaves_no_file(comfy, edit, full_disk):
    folder = comfy.base / "output" / "full"
    with full_disk(20_000), pytest.raises(OSError, match="could not be written"):
        comfy("SaveLayers", **edit, filename_prefix="full/a")
    assert list(folder.iterdir()) == []


def test_a_mask_of_nothing_leaves_everything_to_shadow_and_light(comfy, edit):
    glow = disc(60, 60, 30)[None]
    image = torch.where(glow[..., None] > 0, edit["scene"] * 0.5, edit["scene"])
    layer, shadow, light = comfy(
        "SplitLayers", scene=edit["scene"], image=image, object_mask=glow * 0, effect_mask=glow
    )
    assert (layer == 0).all() and (light == 0).all()
    assert float(shadow[glow > 0].mean()) == pytest.approx(0.5, abs=0.02)
