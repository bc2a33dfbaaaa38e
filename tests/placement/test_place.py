"""Cut-outs in scenes: where they stand, what stays as it is, what their light and shadow are."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from visual_insertion_pack.pipelines.pictures.masks import mask_box
from visual_insertion_pack.pipelines.placement.cutouts import cut_outs, resized
from visual_insertion_pack.pipelines.placement.ground import Foot, longer_side, optional_foot
from visual_insertion_pack.pipelines.placement.light import light_gain
from visual_insertion_pack.pipelines.placement.place import place
from visual_insertion_pack.pipelines.placement.shadows import ground_shadow
from visual_insertion_pack.tests.layers.test_matting import disc, photograph

law = settings(deadline=None, database=None, derandomize=True, max_examples=60)
PLAIN = dict(shadow=0.0, light=0.0)


def rgba(colour, mask):
    """A picture [1,H,W,4] of one colour inside a mask [H,W]; green where it is transparent."""
    green = torch.tensor([0.0, 1.0, 0.0])
    pixels = torch.where(mask[..., None] > 0, torch.tensor(colour), green)
    return torch.cat([pixels, mask[..., None]], -1)[None]


def square(size, inner):
    """A mask [size,size] of a square in the middle."""
    mask = torch.zeros(size, size)
    start = (size - inner) // 2
    mask[start : start + inner, start : start + inner] = 1
    return mask


RED = rgba([0.9, 0.1, 0.1], square(60, 40))
SCENE = photograph("coffee.png")[None]


@law
@given(
    box=st.tuples(st.integers(-40, 280), st.integers(-40, 220), st.integers(1, 200), st.integers(1, 200)),
    shadow=st.floats(0, 1),
    light=st.floats(0, 1),
)
def test_outside_the_effect_every_pixel_is_the_scenes(box, shadow, light):
    x, y, width, height = box
    try:
        placed = place(SCENE, RED, None, [[(x, y, x + width, y + height)]], shadow=shadow, light=light)
    except ValueError as error:
        assert "covers no pixel" in str(error)
        return
    outside = placed.effects == 0
    assert torch.equal(placed.images[outside], SCENE[outside])
    assert (placed.objects <= placed.effects + 1e-6).all()
    assert placed.images.min() >= 0 and placed.images.max() <= 1


def test_the_object_stands_on_the_boxs_lower_side_and_keeps_its_shape():
    wide = rgba([0.9, 0.1, 0.1], torch.ones(20, 40))
    placed = place(SCENE, wide, None, [[(100, 50, 180, 150)]], **PLAIN)
    assert mask_box(placed.objects[0]) == (100, 110, 180, 150) == placed.boxes[0][0]
    assert torch.allclose(placed.images[0, 130, 140], torch.tensor([0.9, 0.1, 0.1]), atol=1e-5)


@law
@given(
    x=st.integers(0, 299),
    y=st.integers(0, 239),
    height=st.none() | st.integers(1, 300),
    shape=st.tuples(st.integers(1, 60), st.integers(1, 60)),
)
def test_on_a_point_the_lowest_row_is_the_points_and_the_height_the_one_that_was_given(x, y, height, shape):
    solid = rgba([0.9, 0.1, 0.1], torch.ones(60, 60))
    solid[:, shape[0] :, :, 3] = 0
    solid[:, :, shape[1] :, 3] = 0
    placed = place(SCENE, solid, None, Foot(x, y, height), **PLAIN)
    ((left, top, right, bottom),) = placed.boxes[0]
    assert bottom == y + 1 and left <= x < right
    whole_height = height or longer_side(y, 240, 300) * shape[0] / max(shape)
    assert bottom - top == min(y + 1, max(1, round(whole_height)))


def test_on_a_point_a_leaning_object_stands_on_its_base():
    lamp = torch.zeros(80, 60)
    lamp[:, 5:15] = 1
    lamp[:10, 5:] = 1
    placed = place(SCENE, rgba([0.9, 0.1, 0.1], lamp), None, Foot(100, 180, 80), **PLAIN)
    base = placed.objects[0, 180].nonzero()[:, 0].float()
    assert float(base.mean()) == pytest.approx(100, abs=1)
    assert placed.boxes[0][0][2] > 140  # the arm reaches out to the right


def test_an_object_is_smaller_the_higher_its_point_lies_and_no_smaller_above_the_horizon():
    sides = [longer_side(y, 240, 300) for y in (0, 79, 110, 159, 239)]
    assert sides[0] == sides[1] == 240 / 12
    assert sides[1] < sides[2] < sides[3] < sides[4]
    assert sides[3:] == pytest.approx([60, 120])  # half way below the horizon, and on the lower edge
    assert longer_side(299, 300, 240) == pytest.approx(120)  # of the shorter side


def test_objects_of_a_batch_each_stand_on_the_point():
    wide = rgba([0.9, 0.1, 0.1], torch.ones(60, 60))
    wide[:, :30, :, 3] = 0
    placed = place(SCENE, torch.cat([RED, wide]), None, Foot(150, 199, 40), **PLAIN)
    assert placed.boxes == [[(130, 160, 170, 200)], [(110, 160, 190, 200)]]
    scenes = place(torch.cat([SCENE, SCENE]), RED, None, Foot(150, 199, 40), **PLAIN)
    assert scenes.boxes == [[(130, 160, 170, 200)]] * 2


@pytest.mark.parametrize("point", [(300, 10), (10, 240), (-1, 10), (10, -1)])
def test_a_point_outside_the_scene_is_refused(point):
    with pytest.raises(ValueError, match=r"lies outside the 300x240 px scene. Give one from \(0, 0\) to \(299, 239\)"):
        place(SCENE, RED, None, Foot(*point))


@pytest.mark.parametrize("height", [0, -5])
def test_an_object_on_a_point_has_a_height(height):
    with pytest.raises(ValueError, match=f"The object's height must be 1 px or more; got {height}"):
        place(SCENE, RED, None, Foot(10, 10, height))


def test_a_point_is_two_numbers_or_none():
    assert optional_foot(-1, -1, 50) is None
    assert optional_foot(0, 0, 0) == Foot(0, 0)
    assert optional_foot(3, 4, 50) == Foot(3, 4, 50)
    for x, y in ((-1, 0), (0, -1)):
        with pytest.raises(ValueError, match=f"foot_x and foot_y belong together; got {x} and {y}"):
            optional_foot(x, y, 0)


def test_a_cut_out_is_trimmed_to_what_is_visible():
    placed = place(SCENE, RED, None, [[(100, 50, 150, 100)]], **PLAIN)
    assert mask_box(placed.objects[0]) == (100, 50, 150, 100)


def test_what_lies_outside_the_scene_is_cut_off():
    placed = place(SCENE, RED, None, [[(280, 200, 320, 240)]], **PLAIN)
    assert placed.boxes == [[(280, 200, 300, 240)]]


@pytest.mark.parametrize("size", [7, 33, 80, 150])
def test_no_fringe_comes_from_transparent_pixels(size):
    """Green lies under the transparent pixels: whatever the size, red over black must stay free of it."""
    black = torch.zeros(1, 200, 200, 3)
    cut_out = rgba([1.0, 0.0, 0.0], disc(30, 30, 22, 60, 60))
    placed = place(black, cut_out, None, [[(20, 20, 20 + size, 20 + size)]], **PLAIN)
    assert float(placed.images[..., 1].max()) == 0
    white = place(black + 1, cut_out, None, [[(20, 20, 20 + size, 20 + size)]], **PLAIN)
    assert float(white.images[..., 0].min()) > 1 - 1e-5  # and no dark one


def test_a_mask_and_an_alpha_channel_say_the_same():
    mask = square(60, 40)[None]
    by_alpha = place(SCENE, RED, None, [[(50, 50, 120, 120)]])
    by_mask = place(SCENE, RED[..., :3], mask, [[(50, 50, 120, 120)]])
    assert torch.equal(by_alpha.images, by_mask.images)


def test_the_shadow_darkens_the_ground_below_and_nothing_above():
    grey = torch.full((1, 240, 300, 3), 0.5)
    placed = place(grey, RED, None, [[(100, 60, 180, 140)]], light=0.0)
    shadow = placed.images[0, ..., 0] / 0.5
    assert (shadow <= 1 + 1e-6)[placed.objects[0] == 0].all()
    assert float(shadow[142, 140]) < 0.7
    assert float(shadow[165, 140]) > 0.97
    assert (shadow[:80, :98] == 1).all() and (shadow[:80, 182:] == 1).all()
    assert torch.allclose(shadow[140:, 100:140], shadow[140:, 140:180].flip(1), atol=1e-5)  # light from straight above


def test_a_stronger_shadow_is_darker_and_a_softer_one_wider():
    opacity = torch.ones(60, 80)
    faint, *_ = ground_shadow(opacity, strength=0.3, softness=0.5)
    strong, *_ = ground_shadow(opacity, strength=0.9, softness=0.5)
    hard, *_ = ground_shadow(opacity, strength=0.9, softness=0.0)
    soft, *_ = ground_shadow(opacity, strength=0.9, softness=1.0)
    assert (strong >= faint).all() and float(strong.max()) > float(faint.max())
    assert (soft > 0).sum() > (hard > 0).sum()
    assert not ground_shadow(opacity, strength=0.0, softness=0.5)[0].any()


def test_the_light_darkens_in_the_dark_and_tints_in_coloured_light():
    white = torch.ones(20, 20, 4)
    dark = torch.full((30, 30, 3), 0.1)
    warm = torch.tensor([0.8, 0.6, 0.4]).expand(30, 30, 3)
    assert (light_gain(dark, dark, white, 0.5) < 1).all()
    red, _, blue = light_gain(warm, warm, white, 0.5)
    assert red > blue
    assert torch.equal(light_gain(warm, dark, white, 0.0), torch.ones(3))
    grey = torch.full((20, 20, 4), 0.5)
    grey[..., 3] = 1
    assert torch.allclose(light_gain(grey[..., :3], grey[..., :3], grey, 1.0), torch.ones(3), atol=1e-3)


def test_the_light_is_bounded():
    black = torch.zeros(30, 30, 3)
    gain = light_gain(black, black, torch.ones(20, 20, 4), 1.0)
    assert (gain > 0.4).all()
    blue = torch.tensor([0.0, 0.0, 1.0]).expand(30, 30, 3)
    gain = light_gain(blue, blue, torch.ones(20, 20, 4), 1.0)
    assert torch.isfinite(gain).all() and float(gain.max() / gain.min()) < 2


def test_batches_pair_up_and_one_serves_several():
    scenes = torch.cat([SCENE, SCENE * 0.5])
    box = [[(50, 50, 120, 120)]]
    assert len(place(scenes, RED, None, box).images) == 2
    assert len(place(SCENE, RED.repeat(3, 1, 1, 1), None, box).images) == 3
    two_places = place(SCENE, RED, None, [box[0], [(150, 50, 220, 120)]])
    assert [boxes[0][0] for boxes in two_places.boxes] == [50, 150]
    with pytest.raises(ValueError, match="The batches do not pair up: 2 scenes, 3 objects"):
        place(scenes, RED.repeat(3, 1, 1, 1), None, box)
    with pytest.raises(ValueError, match="There are no pictures with boxes: their batch is empty"):
        place(SCENE, RED, None, [])


@pytest.mark.parametrize("name", ["shadow", "softness", "light"])
@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_a_strength_out_of_range_is_refused(name, strength):
    with pytest.raises(ValueError, match=f"{name} must be from 0 to 1; got"):
        place(SCENE, RED, None, [[(50, 50, 120, 120)]], **{name: strength})


def test_of_several_boxes_the_lower_one_is_in_front():
    boxes = [[(100, 60, 160, 120), (80, 30, 140, 90)]]
    placed = place(SCENE, RED, None, boxes, **PLAIN)
    assert placed.boxes == [[(80, 30, 140, 90), (100, 60, 160, 120)]]
    assert place(SCENE, RED, None, [boxes[0][::-1]], **PLAIN).images.equal(placed.images)


def test_a_picture_without_a_box_stays_as_it_is():
    placed = place(torch.cat([SCENE, SCENE]), RED, None, [[(50, 50, 120, 120)], []])
    assert torch.equal(placed.images[1], SCENE[0])
    assert not placed.effects[1].any()


def test_a_scenes_alpha_stays_and_grey_becomes_rgb():
    alpha = torch.cat([SCENE, SCENE[..., :1]], -1)
    placed = place(alpha, RED, None, [[(50, 50, 120, 120)]])
    assert torch.equal(placed.images[..., 3], alpha[..., 3])
    assert place(SCENE[..., :1], RED, None, [[(50, 50, 120, 120)]]).images.shape == SCENE.shape


def test_an_inverted_mask_is_told():
    with pytest.raises(ValueError, match="Put Invert Mask between"):
        cut_outs(RED[..., :3], 1 - square(60, 40)[None])


def test_a_mask_of_a_whole_picture_is_fine():
    (cut_out,) = cut_outs(RED[..., :3], torch.ones(1, 60, 60))
    assert cut_out.shape == (60, 60, 4)


def test_a_larger_cut_out_never_has_a_colour_above_its_opacity():
    generator = np.random.default_rng(0)
    cut_out = torch.from_numpy(generator.random((9, 7, 4), np.float32))
    cut_out[..., :3] *= cut_out[..., 3:]
    larger = resized(cut_out, 40, 31)
    assert (larger[..., :3] <= larger[..., 3:]).all()
    assert larger.shape == (31, 40, 4)


def test_a_large_objects_shadow_is_the_small_ones_enlarged():
    small, left, top = ground_shadow(torch.ones(300, 400), strength=0.8, softness=0.5)
    large, large_left, large_top = ground_shadow(torch.ones(1200, 1600), strength=0.8, softness=0.5)
    assert (large_left, large_top) == (4 * left, 4 * top)
    assert torch.allclose(large[2::4, 2::4], small, atol=0.02)
