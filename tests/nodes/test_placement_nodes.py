"""Place Object in the real host: cut-outs as Load Image and others hand them over, boxes from the host's own nodes."""

import pytest
import torch
from PIL import Image

from visual_insertion_pack.tests.layers.test_matting import photograph
from visual_insertion_pack.tests.placement.test_place import RED, square

SCENE = photograph("coffee.png")[None]
BOX = dict(x=100, y=60, width=80, height=80)


@pytest.fixture
def cut_out(comfy):
    """The name of a transparent PNG in the input folder: RED, green where nobody sees it."""
    Image.fromarray((RED[0] * 255).round().byte().numpy()).save(comfy.base / "input" / "red.png")
    return "red.png"


def test_a_cut_out_of_load_image_is_placed_right_both_ways(comfy, cut_out):
    image, mask = comfy("LoadImage", image=cut_out)
    (inverted,) = comfy("InvertMask", mask=mask)
    (joined,) = comfy("JoinImageWithAlpha", image=image, alpha=mask)
    by_mask = comfy("PlaceObject", scene=SCENE, object_image=image[..., :3], object_mask=inverted, **BOX)
    by_alpha = comfy("PlaceObject", scene=SCENE, object_image=joined, **BOX)
    expected = comfy("PlaceObject", scene=SCENE, object_image=RED, **BOX)
    for placed in (by_mask, by_alpha):
        assert torch.allclose(placed[0], expected[0], atol=1 / 255)
        assert placed[3] == dict(x=100, y=60, width=80, height=80)


def test_load_images_mask_as_it_comes_is_told(comfy, cut_out):
    image, mask = comfy("LoadImage", image=cut_out)
    with pytest.raises(ValueError, match="Put Invert Mask between"):
        comfy("PlaceObject", scene=SCENE, object_image=image[..., :3], object_mask=mask, **BOX)


def test_outside_the_effect_the_scene_stays_bit_for_bit(comfy):
    image, layer, effect, _ = comfy("PlaceObject", scene=SCENE, object_image=RED, **BOX)
    assert torch.equal(image[effect == 0], SCENE[effect == 0])
    assert effect.any() and (effect >= layer - 1e-6).all()


def test_a_bounding_box_replaces_the_widgets(comfy):
    box = dict(x=20, y=30, width=50, height=50)
    by_box = comfy("PlaceObject", scene=SCENE, object_image=RED, bounding_box=box, **BOX)
    assert torch.equal(by_box[0], comfy("PlaceObject", scene=SCENE, object_image=RED, **box)[0])
    assert by_box[3] == box


def test_a_painted_mask_says_where(comfy):
    mask = torch.zeros(1, 240, 300)
    mask[:, 30:80, 20:70] = 1
    painted = comfy("PlaceObject", scene=SCENE, object_image=RED, mask=mask, **BOX)
    assert painted[3] == dict(x=20, y=30, width=50, height=50)
    unpainted = comfy("PlaceObject", scene=SCENE, object_image=RED, mask=mask * 0, **BOX)
    assert unpainted[3] == BOX


def test_on_a_point_the_object_stands_instead_of_in_the_widgets_box(comfy):
    """40 of 60 px are visible of the cut-out."""
    sized = comfy("PlaceObject", scene=SCENE, object_image=RED, foot_x=150, foot_y=199, object_height=50, **BOX)
    assert sized[3] == dict(x=125, y=150, width=50, height=50)
    automatic = comfy("PlaceObject", scene=SCENE, object_image=RED, foot_x=150, foot_y=239, **BOX)
    assert automatic[3] == dict(x=90, y=120, width=120, height=120)


def test_a_mask_and_boxes_replace_a_point(comfy):
    point = dict(foot_x=150, foot_y=199)
    box = dict(x=20, y=30, width=50, height=50)
    mask = torch.zeros(1, 240, 300)
    by_box = comfy("PlaceObject", scene=SCENE, object_image=RED, bounding_box=box, **point)
    mask[:, 30:80, 20:70] = 1
    by_mask = comfy("PlaceObject", scene=SCENE, object_image=RED, mask=mask, **point)
    assert by_box[3] == by_mask[3] == box
    unpainted = comfy("PlaceObject", scene=SCENE, object_image=RED, mask=mask * 0, **point)
    assert unpainted[0].equal(comfy("PlaceObject", scene=SCENE, object_image=RED, **point)[0])


def test_the_box_chains_into_the_packs_other_nodes(comfy):
    box = comfy("PlaceObject", scene=SCENE, object_image=RED, **BOX)[3]
    (mask,) = comfy("BoxToMask", image=SCENE, bounding_box=box)
    assert mask.sum() == 80 * 80


def test_what_was_placed_comes_apart_again(comfy):
    """The object placed and then split from the scene is the object, in the scene's light, without its shadow."""
    image, layer, effect, _ = comfy("PlaceObject", scene=SCENE, object_image=RED, light=0.0, **BOX)
    apart, shadow, light = comfy("SplitLayers", scene=SCENE, image=image, object_mask=layer, effect_mask=effect)
    assert float((apart[..., 3] - layer).abs().sum()) < 0.02 * float(layer.sum())
    inside = layer[0] == 1
    assert torch.allclose(apart[0][inside][:, :3], torch.tensor([0.9, 0.1, 0.1]), atol=1 / 255)
    beside = (effect[0] > 0.2) & (layer[0] == 0)
    shaded = beside & (apart[0, ..., 3] == 0)
    assert shaded.sum() > 0.9 * beside.sum()
    assert float((shadow[0].mean(-1) - 1 + effect[0])[shaded].abs().mean()) < 0.02


def test_batches_of_objects_and_scenes_pair_up(comfy):
    objects = torch.cat([RED, RED.roll(1, -1)])
    boxes = comfy("PlaceObject", scene=SCENE, object_image=objects, **BOX)
    assert len(boxes[0]) == 2 and len(boxes[3]) == 2
    masked = comfy(
        "PlaceObject",
        scene=SCENE.repeat(2, 1, 1, 1),
        object_image=RED[..., :3],
        object_mask=square(60, 40)[None],
        **BOX,
    )
    assert torch.equal(masked[0][0], masked[0][1])
