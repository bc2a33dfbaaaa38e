"""`visual-insertion layers`: an edit of a scene as an OpenRaster file, with masks and without."""

import numpy as np
import pytest
from PIL import Image

from visual_insertion_pack.pipelines.__main__ import main
from visual_insertion_pack.pipelines.commands import layers as command
from visual_insertion_pack.pipelines.layers import openraster
from visual_insertion_pack.tests.layers.test_matting import inserted, photograph
from visual_insertion_pack.tests.openraster_files import composite, read


@pytest.fixture
def files(tmp_path):
    """The paths of scene, result, object mask and effect mask, as PNG."""
    scene = photograph("chelsea.png")
    restored, opacity, _, effect = inserted(scene, photograph("coffee.png"))
    pictures = dict(scene=scene, result=restored, object=(opacity > 0.5).float(), effect=effect)
    paths = {name: tmp_path / f"{name}.png" for name in pictures}
    for name, picture in pictures.items():
        Image.fromarray((picture * 255).round().byte().numpy()).save(paths[name])
    return paths


def farthest(one, other):
    return int(np.abs(np.asarray(one, np.int32) - np.asarray(other, np.int32)).max())


def test_with_masks_the_layers_make_the_result_as_it_is(files, tmp_path, capsys):
    masks = ["--object-mask", files["object"], "--effect-mask", files["effect"], "--object-name", "mug"]
    output = tmp_path / "a.ora"
    arguments = ["layers", files["scene"], files["result"], *masks, "--output", output]
    assert main([str(word) for word in arguments]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(output)
    size, layers, merged, _ = read(output)
    assert farthest(merged, Image.open(files["result"])) == 0
    assert farthest(composite(size, layers), Image.open(files["result"])) <= 1
    assert farthest(layers[0][1], Image.open(files["scene"])) == 0
    assert layers[-1][0]["name"] == "mug"


def test_without_masks_the_edit_is_restored_and_found(files, tmp_path):
    output = tmp_path / "a.ora"
    assert main(["layers", str(files["scene"]), str(files["result"]), "--output", str(output)]) == 0
    size, layers, merged, _ = read(output)
    assert [attributes["name"] for attributes, _ in layers][0] == "scene"
    assert layers[-1][0]["name"] == "object"
    assert farthest(composite(size, layers), merged) <= 1
    object_box = Image.open(files["object"]).getbbox()
    attributes, picture = layers[-1]
    left, top = int(attributes["x"]), int(attributes["y"])
    found = (left, top, left + picture.width, top + picture.height)
    assert max(abs(one - other) for one, other in zip(found, object_box, strict=True)) <= 16
    difference = np.abs(np.asarray(merged, np.int32) - np.asarray(Image.open(files["scene"]), np.int32)).max(-1)
    assert (difference == 0).mean() > 0.6


def test_what_is_spelt_out_in_the_command_is_what_there_is():
    assert command.OBJECT == openraster.OBJECT
