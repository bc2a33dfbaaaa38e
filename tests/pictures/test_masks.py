"""Masks from a box: the box, and Paint by Example's arbitrary shape around it (arXiv 2211.13227, section 3.3)."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.draw import polygon2mask

from visual_insertion_pack.pipelines.pictures.arbitrary_masks import (
    arbitrary_mask,
    arbitrary_masks,
    extended_box,
    outline,
    polygon_mask,
)
from visual_insertion_pack.pipelines.pictures.boxes import clip_box, corners, moved, shared, slices
from visual_insertion_pack.pipelines.pictures.masks import (
    PAINTED,
    box_mask,
    check_mask,
    mask_box,
    masks_to_boxes,
    without_noise,
)

law = settings(deadline=None, database=None, derandomize=True, max_examples=60)
BOX = (150, 180, 330, 400)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@st.composite
def boxes(draw, height=48, width=40):
    """A box that covers at least one pixel of a picture; it may reach out of it."""
    x0, y0 = draw(st.integers(-9, width - 1)), draw(st.integers(-9, height - 1))
    x1, y1 = draw(st.integers(max(x0, 0) + 1, width + 9)), draw(st.integers(max(y0, 0) + 1, height + 9))
    return (x0, y0, x1, y1)


def test_a_box_is_filled_and_its_far_sides_are_outside():
    mask = box_mask((2, 1, 5, 3), 6, 8)
    assert mask.dtype == torch.bool and mask.shape == (6, 8)
    assert mask.nonzero().tolist() == [[row, column] for row in (1, 2) for column in (2, 3, 4)]


@law
@given(box=boxes())
def test_the_box_of_a_box_mask_is_the_box_inside_the_picture(box):
    assert mask_box(box_mask(box, 48, 40)) == clip_box(box, 48, 40)


@pytest.mark.parametrize("box", [(50, 0, 60, 10), (0, 50, 10, 60), (-9, 0, 0, 9), (5, 5, 5, 9), (5, 5, 9, 5)])
def test_a_box_without_a_pixel_is_refused(box):
    for make in (lambda: box_mask(box, 48, 40), lambda: arbitrary_mask(box, 48, 40, seeded())):
        with pytest.raises(ValueError, match="covers no pixel of the 40x48 px picture. Move it inside"):
            make()


@law
@given(box=boxes(), seed=st.integers(0, 99), jitter=st.integers(0, 9), samples=st.integers(1, 30))
def test_an_arbitrary_mask_is_never_empty_and_stays_near_its_box(box, seed, jitter, samples):
    draw = seeded(seed)
    extended = extended_box(box, 48, 40, draw)
    mask = arbitrary_mask(box, 48, 40, draw, samples=samples, jitter=jitter, extended=extended)
    x0, y0, x1, y1 = mask_box(mask)
    assert mask.dtype == torch.bool and mask.shape == (48, 40)
    assert x0 >= max(extended[0] - jitter, 0) and x1 <= min(extended[2] + jitter, 40)
    assert y0 >= max(extended[1] - jitter, 0) and y1 <= min(extended[3] + jitter, 48)


def test_masks_of_several_boxes_are_drawn_one_after_the_other():
    draw = seeded(3)
    extended = extended_box(BOX, 512, 512, draw, share=0.1)
    first = arbitrary_mask(BOX, 512, 512, draw, samples=9, jitter=2, extended=extended)
    both = arbitrary_masks([[BOX], [BOX]], 512, 512, seed=3, samples=9, jitter=2, extension=0.1)
    assert both.dtype == torch.float32 and both.shape == (2, 512, 512)
    assert torch.equal(both[0], first.float()) and not torch.equal(both[0], both[1])


@law
@given(one=boxes(), other=boxes())
def test_what_two_boxes_share_is_what_both_fill(one, other):
    both = box_mask(one, 48, 40) & box_mask(other, 48, 40)
    x0, y0, x1, y1 = shared(clip_box(one, 48, 40), clip_box(other, 48, 40))
    assert (x1 - x0) * (y1 - y0) == both.sum()
    assert both[slices((x0, y0, x1, y1))].all()


def test_boxes_of_corner_and_size_are_moved_whole():
    assert corners(3, 4, 10, 20) == (3, 4, 13, 24)
    assert moved(corners(3, 4, 10, 20), -3, 1) == corners(0, 5, 10, 20)


@law
@given(box=boxes(), seed=st.integers(0, 99), share=st.floats(0, 1))
def test_an_extended_box_holds_the_box_and_keeps_to_its_share_of_the_room(box, seed, share):
    x0, y0, x1, y1 = clip_box(box, 48, 40)
    left, top, right, bottom = extended_box(box, 48, 40, seeded(seed), share=share)
    assert x0 - share * x0 <= left <= x0 and y0 - share * y0 <= top <= y0
    assert x1 <= right <= x1 + share * (40 - x1) and y1 <= bottom <= y1 + share * (48 - y1)


def test_a_seed_repeats_its_mask_and_another_draws_another():
    first, again, other = (arbitrary_mask(BOX, 512, 512, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_most_of_the_box_belongs_whatever_the_seed():
    box = box_mask(BOX, 512, 512)
    shares = [float(arbitrary_mask(BOX, 512, 512, seeded(seed))[box].float().mean()) for seed in range(20)]
    assert min(shares) > 0.96  # a jitter of 5 px takes at most a rim


def test_the_outline_is_the_reference_s_curve():
    """Written out for one side as the authors' code has it: t from .05 in steps of .05, control on the extended box."""
    extended = (140, 120, 400, 430)
    points = outline(BOX, extended, seeded(), jitter=0).numpy()
    t = np.arange(0.05, 0.91, 0.05)
    start, control, end = np.array([150, 180]), np.array([240, 120]), np.array([330, 180])
    upper = np.outer((1 - t) ** 2, start) + np.outer(2 * t * (1 - t), control) + np.outer(t**2, end)
    assert points.shape == (4 * 18, 2)
    np.testing.assert_allclose(points[:18], upper, atol=1e-3)
    np.testing.assert_allclose(points[18:36, 0].max(), 330 + (400 - 330) / 2, atol=1)  # a curve reaches half way
    np.testing.assert_allclose(points[54:, 0].min(), 150 - (150 - 140) / 2, atol=1)


def test_jitter_moves_points_by_whole_pixels_within_its_range():
    still = outline(BOX, BOX, seeded(), jitter=0)
    smooth = outline(BOX, BOX, seeded(), samples=90, jitter=0)
    moved = (outline(BOX, BOX, seeded(3), samples=90, jitter=5) - smooth).round()
    assert still.shape == (72, 2)
    assert set(moved.flatten().int().tolist()) == set(range(-5, 6))


@law
@given(st.lists(st.tuples(st.integers(-20, 80), st.integers(-20, 80)), min_size=3, max_size=3, unique=True))
def test_a_triangle_is_filled_as_others_fill_it(corners):
    points = torch.tensor(corners) + torch.tensor([0.2371, 0.1113])  # no edge through a pixel's centre
    expected = polygon2mask((64, 64), points.flip(1).numpy() - 0.5)
    assert (polygon_mask(points, 64, 64).numpy() != expected).sum() == 0


def test_a_polygon_that_crosses_itself_has_no_hole():
    star = [(32 + 28 * np.sin(4 * np.pi * k / 5), 32 - 28 * np.cos(4 * np.pi * k / 5)) for k in range(5)]
    mask = polygon_mask(torch.tensor(star), 64, 64)
    assert mask[32, 32] and not mask[10, 15] and not mask[60, 32]


def test_bounding_boxes_of_masks():
    masks = torch.zeros(2, 48, 40)
    masks[0, 3:7, 5:30], masks[1, 47, 39] = 1, 0.7
    assert masks_to_boxes(masks, [], 48, 40) == [[(5, 3, 30, 7)], [(39, 47, 40, 48)]]
    assert masks_to_boxes(masks[0], [], 48, 40) == [[(5, 3, 30, 7)]]
    assert masks_to_boxes(masks, [[(0, 0, 10, 10)]], 48, 40) == [[(5, 3, 10, 7)], []]
    assert mask_box(torch.zeros(4, 4)) is None


@pytest.mark.parametrize(
    ("mask", "error"),
    [
        (torch.zeros(1, 48, 40), "The mask is empty"),
        (torch.full((1, 48, 40), 0.3), "The mask is too faint for a box"),
        (torch.ones(1, 40, 48), "The mask is 48x40 px, the scene 40x48 px"),
        (torch.full((48, 40), float("nan")), "not finite"),
    ],
)
def test_a_mask_without_a_box_is_refused(mask, error):
    with pytest.raises(ValueError, match=error):
        masks_to_boxes(mask, [], 48, 40)


@pytest.mark.parametrize("wrong", [{"samples": 0}, {"jitter": -1}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="samples must be 1 or more and jitter 0 or more"):
        arbitrary_mask(BOX, 512, 512, seeded(), **wrong)


def painted(*boxes, height=96, width=120):
    mask = torch.zeros(height, width)
    for box in boxes:
        mask[slices(box)] = 1
    return mask


def blurred(mask, sigma):
    from torchvision.transforms.functional import gaussian_blur

    return gaussian_blur(mask[None], 6 * sigma + 1, float(sigma))[0]


FORMS = {
    "[H,W]": lambda mask: mask[0],
    "[B,1,H,W]": lambda mask: mask[:, None],
    "[B,H,W,1]": lambda mask: mask[..., None],
    "bool": lambda mask: mask.bool(),
    "float16": lambda mask: mask.half(),
    "uint8": lambda mask: mask.byte(),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_mask_in_any_form_that_packs_hand_over_is_the_same_mask(form):
    mask = painted((9, 9, 30, 40))[None]
    checked = check_mask(FORMS[form](mask), 96, 120)
    assert checked.dtype == torch.float32 and torch.equal(checked, mask)


@pytest.mark.parametrize("shape", [(96,), (1, 3, 96, 120), (1, 1, 1, 96, 120)])
def test_a_mask_of_another_shape_is_named_by_it(shape):
    with pytest.raises(ValueError, match=r"A mask must be \[H,W\], .* got \(" + str(shape[0])):
        check_mask(torch.ones(shape), 96, 120)


def noisy(mask, values):
    """A mask whose black is not black."""
    return torch.maximum(mask, values / 255)


@pytest.mark.parametrize(
    "values",
    [
        torch.tensor(1.0),
        torch.tensor(3.0),
        torch.randint(0, 4, (96, 120), generator=seeded()).float(),
        (torch.rand(96, 120, generator=seeded()) < 0.3).float(),
    ],
    ids=["black of 1", "black of 3", "black of 0 to 3", "a third of it 1"],
)
@pytest.mark.parametrize("box", [(40, 30, 60, 50), (2, 2, 110, 90)])
def test_a_black_that_is_not_quite_black_is_no_part_of_a_mask(values, box):
    clean = without_noise(noisy(painted(box), values))
    assert torch.equal(clean, painted(box))


@pytest.mark.parametrize("value", [1 / 255, 0.05])
def test_a_faint_stray_pixel_is_no_part_of_a_mask(value):
    mask = painted((40, 30, 60, 50))
    mask[2, 3] = value
    assert torch.equal(without_noise(mask), painted((40, 30, 60, 50)))


@pytest.mark.parametrize("sigma", [2, 5, 12])
@pytest.mark.parametrize("bits", [8, 32])
def test_a_soft_rim_belongs_to_its_mask(sigma, bits):
    mask = blurred(painted((150, 100, 250, 180), height=300, width=400), sigma)
    mask = (mask * 255).round() / 255 if bits == 8 else mask
    assert ((mask > 0) & (mask < 3 / 255)).any()
    assert torch.equal(without_noise(mask), mask)


def test_a_second_part_that_is_soft_belongs_to_a_mask():
    mask = painted((40, 30, 60, 50))
    mask[80:90, 100:110] = 0.1
    assert torch.equal(without_noise(mask), mask)


@pytest.mark.parametrize("value", [PAINTED / 9, 1 / 255, 3 / 255])
def test_a_mask_of_nothing_but_noise_is_too_faint(value):
    with pytest.raises(ValueError, match="The mask is too faint: no pixel of it would survive the noise of a file"):
        check_mask(torch.full((1, 96, 120), value), 96, 120)


def test_what_is_below_0_counts_as_0():
    mask = painted((9, 9, 30, 40))
    assert torch.equal(
        check_mask(torch.stack([2 * mask - 1, -mask]), 96, 120), torch.stack([mask, torch.zeros(96, 120)])
    )
    assert masks_to_boxes(torch.stack([2 * mask - 1, -mask]), [], 96, 120) == [[(9, 9, 30, 40)], []]
    with pytest.raises(ValueError, match="The mask is empty"):
        check_mask(-mask, 96, 120)


def test_an_empty_mask_of_a_batch_stays_and_is_named_in_the_log(caplog):
    masks = torch.stack([painted((9, 9, 30, 40)), painted(), painted((50, 50, 60, 60))])
    assert torch.equal(check_mask(masks, 96, 120), masks)
    assert "mask 1 of 0 to 2 is empty; its picture stays as it is" in caplog.text
    boxes = masks_to_boxes(masks, [], 96, 120)
    assert boxes == [[(9, 9, 30, 40)], [], [(50, 50, 60, 60)]]
    drawn = arbitrary_masks(boxes, 96, 120, seed=0)
    assert drawn.flatten(1).any(1).tolist() == [True, False, True]
