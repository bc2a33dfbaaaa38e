"""Local regions: where the windows lie, what the model sees, and that nothing else changes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from visual_insertion_pack.pipelines.local_region import windows
from visual_insertion_pack.pipelines.local_region.cutting import cut
from visual_insertion_pack.pipelines.local_region.pasting import colour_match, paste, share_remark
from visual_insertion_pack.pipelines.pictures.boxes import slices

law = settings(deadline=None, database=None, derandomize=True, max_examples=60)


def picture(count=1, height=96, width=120, channels=3, seed=0):
    return torch.rand(count, height, width, channels, generator=torch.Generator().manual_seed(seed))


def painted(*boxes, height=96, width=120, value=1.0):
    """A mask [1,H,W] with these boxes."""
    mask = torch.zeros(1, height, width)
    for x0, y0, x1, y1 in boxes:
        mask[0, y0:y1, x0:x1] = value
    return mask


def boxes(height, width):
    side = lambda length: st.tuples(st.integers(0, length - 1), st.integers(1, length)).map(sorted)  # noqa: E731
    pairs = st.tuples(side(width), side(height)).filter(lambda s: s[0][0] < s[0][1] and s[1][0] < s[1][1])
    return pairs.map(lambda s: (s[0][0], s[1][0], s[0][1], s[1][1]))


# windows


@st.composite
def asked(draw):
    """A picture's size, a box in it, and what is asked of the window."""
    height, width = draw(st.integers(1, 200)), draw(st.integers(1, 200))
    shape = draw(st.sampled_from(["square", "box", "scene"]))
    return height, width, draw(boxes(height, width)), draw(st.floats(0, 3)), draw(st.integers(0, 80)), shape


@law
@given(asked())
def test_a_window_lies_in_the_picture_and_holds_its_box(case):
    height, width, box, expansion, minimum, shape = case
    (window,) = windows.windows([box], height, width, expansion=expansion, minimum=minimum, shape=shape)
    assert 0 <= window.left <= box[0] and box[2] <= window.left + window.width <= width
    assert 0 <= window.top <= box[1] and box[3] <= window.top + window.height <= height


@law
@given(asked())
def test_a_window_is_shifted_before_it_is_shrunk(case):
    height, width, box, expansion, minimum, shape = case
    (window,) = windows.windows([box], height, width, expansion=expansion, minimum=minimum, shape=shape)
    wide, high = windows.window_size(
        box, expansion, minimum, {"square": 1.0, "box": None, "scene": width / height}[shape]
    )
    assert wide % 8 == 0 and high % 8 == 0 and (wide == high or shape != "square")
    assert (window.width, window.height) == (min(wide, width), min(high, height))
    margin = max(round(expansion * max(box[2] - box[0], box[3] - box[1])), minimum)
    for near, far, low, high, side in (
        (box[0], box[2], window.left, window.left + window.width, width),
        (box[1], box[3], window.top, window.top + window.height, height),
    ):
        assert near - low >= margin or low == 0
        assert high - far >= margin or high == side


@pytest.mark.parametrize(
    ("box", "window"),
    [
        ((40, 40, 60, 60), (18, 18, 64, 64)),  # 20 + 2 * 20 px, up to a multiple of 8
        ((0, 40, 20, 60), (0, 18, 64, 64)),  # at the left border
        ((100, 76, 120, 96), (56, 32, 64, 64)),  # in the lower right corner
        ((10, 10, 11, 11), (0, 0, 48, 48)),  # one pixel: the minimum of 20 px
        ((0, 0, 120, 96), (0, 0, 120, 96)),  # all there is
        ((0, 40, 120, 44), (0, 0, 120, 96)),  # wider than high: grows until square, or the picture ends
    ],
)
def test_windows_of_a_picture_of_120_by_96(box, window):
    assert windows.windows([box], 96, 120, expansion=1.0, minimum=20) == [window]


def test_windows_of_several_boxes_have_the_size_of_the_largest():
    found = windows.windows([(0, 0, 4, 4), (60, 40, 90, 60)], 200, 200, expansion=0.5, minimum=8)
    assert [(one.width, one.height) for one in found] == [(64, 64)] * 2
    assert found[0].left == 0 and found[1].left == 43


@pytest.mark.parametrize(("size", "working", "crop"), [
    ((64, 64), 512, (512, 512)), ((100, 60), 512, (512, 304)), ((100, 60), 0, (104, 64)),
    ((1000, 1000), 128, (128, 128)), ((1000, 3), 128, (128, 8)), ((64, 48), 0, (64, 48)),
])  # fmt: skip
def test_a_crop_has_multiples_of_8_and_the_working_size(size, working, crop):
    assert windows.crop_size(windows.Window(3, 5, *size), working) == crop


@pytest.mark.parametrize("wrong", [{"shape": "round"}, {"expansion": -1}, {"expansion": float("nan")}, {"minimum": -1}])
def test_settings_of_a_window_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="window shape|must be 0 or more"):
        windows.windows([(0, 0, 4, 4)], 96, 120, **wrong)


# regions


def test_regions_come_largest_first_each_with_its_own_pixels():
    mask = painted((4, 4, 10, 10), (50, 20, 80, 50), (100, 80, 120, 96))[0]
    found = windows.choose(mask, "each")
    assert [region.box for region in found] == [(50, 20, 80, 50), (100, 80, 120, 96), (4, 4, 10, 10)]
    assert [int(region.mask.sum()) for region in found] == [900, 320, 36]
    assert windows.choose(mask, "one", 2)[0].box == (4, 4, 10, 10)
    assert [region.box for region in windows.choose(mask, "together")] == [(4, 4, 120, 96)]


def test_strokes_a_cell_apart_are_one_region():
    near, far = painted((0, 0, 10, 4), (12, 0, 20, 4))[0], painted((0, 0, 6, 4), (30, 0, 40, 4))[0]
    assert len(windows.choose(near, "each")) == 1 and len(windows.choose(far, "each")) == 2


def test_a_region_does_not_hold_pixels_of_another_that_reaches_into_its_box():
    mask = painted((0, 0, 60, 8), (0, 0, 8, 60), (32, 32, 60, 60))[0]  # an angle around a square
    angle, square = sorted(windows.choose(mask, "each"), key=lambda region: region.box)
    assert angle.box == (0, 0, 60, 60) and int(angle.mask.sum()) == 60 * 8 * 2 - 64
    assert square.box == (32, 32, 60, 60) and bool(square.mask.all())


@law
@given(st.lists(boxes(96, 120), min_size=1, max_size=4), st.floats(0.01, 1))
def test_regions_share_no_pixel_and_miss_none(painted_boxes, value):
    mask = painted(*painted_boxes, value=value)[0]
    whole = torch.zeros_like(mask)
    for region in windows.choose(mask, "each"):
        whole[slices(region.box)] += region.mask
    assert torch.equal(whole, mask)


def test_the_endless_tail_of_a_soft_mask_does_not_count():
    rows, columns = torch.meshgrid(torch.arange(96.0), torch.arange(120.0), indexing="ij")
    blurred = torch.exp(-((rows - 48).square() + (columns - 60).square()) / (2 * 6**2))
    (region,) = windows.choose(blurred, "together")
    assert bool((blurred > 0).all()) and region.box[0] > 35 and region.box[2] < 85


@pytest.mark.parametrize(
    ("index", "error"), [(2, "There is no region 2: the mask has 2, counted from 0"), (-1, "There is no region -1")]
)
def test_a_region_that_is_not_there_is_refused(index, error):
    with pytest.raises(ValueError, match=error):
        windows.choose(painted((0, 0, 4, 4), (60, 60, 70, 70))[0], "one", index)


def test_an_unknown_choice_is_refused():
    with pytest.raises(ValueError, match="Unknown choice of regions"):
        windows.choose(painted((0, 0, 4, 4))[0], "some")


# cutting out


def test_at_its_own_size_a_crop_is_the_scene_s_pixels():
    scene = picture()
    region, mask = cut(scene, painted((40, 40, 60, 60)), working_size=0)
    (number, window), *_ = region.places
    assert number == 0 and region.scene is scene
    assert torch.equal(region.crops[0], scene[0, window.top : window.top + 88, window.left : window.left + 88])
    assert torch.equal(mask[0], painted((40, 40, 60, 60))[0][window.area])


def test_a_crop_is_resized_to_the_working_size_without_aliasing():
    stripes = torch.zeros(1, 96, 96, 3)
    stripes[:, :, ::2] = 1
    region, mask = cut(stripes, torch.ones(1, 96, 96), working_size=24)
    assert region.crops.shape == (1, 24, 24, 3) and mask.shape == (1, 24, 24)
    assert (region.crops[:, :, 2:-2] - 0.5).abs().max() < 0.06
    larger, _ = cut(picture(), painted((40, 40, 60, 60)), working_size=512)
    assert larger.crops.shape == (1, 512, 512, 3)
    assert larger.crops.min() >= 0 and larger.crops.max() <= 1


def test_a_box_is_a_mask_of_ones():
    scene = picture()
    by_box, box_mask = cut(scene, box=(40, 40, 60, 60), working_size=64)
    by_mask, mask = cut(scene, painted((40, 40, 60, 60)), working_size=64)
    assert by_box.places == by_mask.places
    assert torch.equal(by_box.crops, by_mask.crops) and torch.equal(box_mask, mask)


def test_with_a_mask_a_box_chooses_from_it():
    mask = painted((4, 4, 10, 10), (60, 40, 90, 60))
    region, _ = cut(picture(), mask, box=(0, 0, 30, 30), minimum=0)
    alone, _ = cut(picture(), painted((4, 4, 10, 10)), minimum=0)
    assert region.places == alone.places and torch.equal(region.masks, alone.masks)


@pytest.mark.parametrize("size", [(96, 120), (64, 64)])
def test_an_unpainted_mask_of_any_size_is_no_mask(size):
    box = (40, 40, 60, 60)
    region, masks = cut(picture(), torch.zeros(1, *size), box)
    alone, alone_masks = cut(picture(), box=box)
    assert region.places == alone.places and torch.equal(masks, alone_masks)


def test_several_boxes_are_regions_together_each_or_one():
    small, large = (10, 10, 20, 18), (18, 10, 60, 50)  # they overlap, and stay two
    together, _ = cut(picture(), box=[[small, large]])
    assert together.boxes == [[(10, 10, 60, 50)]] and together.masks.sum() == 80 + 42 * 40 - 2 * 8
    each, _ = cut(picture(), box=[[small, large]], choice="each")
    assert each.boxes == [[large, small]] and each.masks.flatten(1).sum(1).tolist() == [42 * 40, 80]
    assert cut(picture(), box=[[small, large]], choice="one", index=1)[0].boxes == [[small]]


def test_boxes_of_a_batch_are_each_scene_s_own_and_one_list_serves_all():
    region, _ = cut(picture(3), box=[[(10, 10, 20, 18)], [], [(50, 50, 60, 60)]])
    assert [number for number, _ in region.places] == [0, 2]
    assert region.boxes == [[(10, 10, 20, 18)], [], [(50, 50, 60, 60)]]
    assert cut(picture(2), box=[[(10, 10, 20, 18)]])[0].boxes == [[(10, 10, 20, 18)]] * 2
    masks = torch.cat([painted((0, 0, 30, 30))] * 3)
    assert cut(picture(3), masks, [[(10, 10, 20, 18)], [], [(20, 20, 60, 60)]])[0].boxes == [
        [(10, 10, 20, 18)], [], [(20, 20, 30, 30)]
    ]  # fmt: skip


def test_the_box_of_a_region_is_that_of_what_is_masked():
    region, _ = cut(picture(), painted((4, 4, 10, 10), (60, 40, 90, 60)), choice="each")
    assert region.boxes == [[(60, 40, 90, 60), (4, 4, 10, 10)]]


def test_a_stroke_of_one_pixel_survives_shrinking():
    mask = painted((0, 40, 120, 41))
    _, shrunk = cut(picture(), mask, working_size=16)
    assert shrunk.max() == 1 and (shrunk.amax(1) == 1).all()


def test_a_soft_mask_stays_soft():
    soft = painted((40, 40, 60, 60), value=0.5)
    _, mask = cut(picture(), soft, working_size=256)
    assert mask.max() == 0.5 and 0 < mask[mask > 0].min() < 0.5


def test_each_region_is_a_crop_of_a_batch():
    mask = painted((4, 4, 10, 10), (60, 40, 90, 60))
    region, masks = cut(picture(), mask, choice="each", working_size=64)
    assert region.crops.shape == (2, 64, 64, 3) and masks.shape == (2, 64, 64)
    assert [number for number, _ in region.places] == [0, 0]


def test_each_scene_of_a_batch_has_its_own_window():
    masks = torch.cat([painted((0, 0, 30, 30)), painted((100, 80, 104, 84))])
    region, _ = cut(picture(2), masks, working_size=64)
    assert [number for number, _ in region.places] == [0, 1]
    assert region.places[0][1] != region.places[1][1]
    same, _ = cut(picture(2), masks[:1], working_size=64)
    assert same.places[0][1] == same.places[1][1]


@pytest.mark.parametrize("channels", [1, 4])
def test_a_crop_has_three_channels(channels):
    scene = picture(channels=channels)
    region, _ = cut(scene, painted((40, 40, 60, 60)), working_size=64)
    assert region.crops.shape[-1] == 3


def test_nan_far_from_the_region_does_not_matter():
    scene = picture(height=200, width=200)
    scene[:, 190:] = float("nan")
    mask = painted((40, 40, 60, 60), height=200, width=200)
    region, _ = cut(scene, mask, working_size=64)
    result, _ = paste(region, region.crops)
    assert torch.isnan(result[:, 190:]).all() and torch.isfinite(result[:, :190]).all()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        (dict(mask=None), "Nothing says where the region is"),
        (dict(mask=painted()), "Nothing says where the region is"),
        (dict(mask=torch.zeros(1, 64, 64)), "Nothing says where the region is"),
        (dict(mask=None, box=[[], []]), "Nothing says where the region is"),
        (dict(mask=None, box=[[(0, 0, 9, 9)]] * 3), "3 pictures with boxes do not pair up with 2 scenes"),
        (dict(mask=None, box=[[(0, 0, 9, 9), (200, 0, 240, 50)]]), "covers no pixel of the 120x96 px picture"),
        (dict(mask=None, box=[[(0, 0, 9, 9)]], choice="one", index=1), "There is no region 1: the mask has 1"),
        (dict(mask=None, box=[[(0, 0, 9, 9)]] * 2, choice="some"), "Unknown choice of regions"),
        (dict(mask=None, box=[[(0, 0, 9, 9)] * 65], choice="each"), "65 regions"),
        (dict(mask=painted((0, 0, 9, 9), value=0.001)), "The mask is too faint"),
        (dict(mask=torch.ones(1, 64, 64)), "The mask is 64x64 px, the scene 120x96 px"),
        (dict(mask=torch.ones(3, 96, 120)), "3 masks do not pair up with 2 scenes"),
        (dict(mask=painted((0, 0, 9, 9)) * float("nan")), "The mask holds values that are not finite"),
        (dict(mask=painted((0, 0, 9, 9)) * float("inf")), "The mask holds values that are not finite"),
        (dict(mask=None, box=(200, 0, 240, 50)), "covers no pixel of the 120x96 px picture"),
        (dict(box=(100, 80, 110, 90)), "The mask is empty inside the box"),
        (dict(scene=picture(2) * float("nan")), "The scene holds values that are not finite"),
        (dict(scene=picture(0)), "The scene is empty"),
        (dict(scene=picture(2, channels=2)), "The scene must be pictures"),
        (dict(scene=picture()[0]), "The scene must be pictures"),
    ],
)
def test_a_cut_that_makes_no_sense_is_refused(changes, error):
    given = dict(scene=picture(2), mask=painted((40, 40, 60, 60))) | changes
    with pytest.raises(ValueError, match=error):
        cut(**given)


def test_a_scene_whose_mask_is_empty_is_not_cut_and_comes_back_as_it_is():
    scenes = picture(3)
    masks = torch.cat([painted((40, 40, 60, 60)), painted(), painted((70, 50, 90, 70))])
    region, crop_masks = cut(scenes, masks)
    assert [number for number, _ in region.places] == [0, 2] and len(region.crops) == len(crop_masks) == 2
    result, changed = paste(region, 1 - region.crops, area="window")
    assert torch.equal(result[1], scenes[1]) and changed.flatten(1).any(1).tolist() == [True, False, True]
    with pytest.raises(ValueError, match="2 regions were cut out, but 3 pictures come back"):
        paste(region, region.crops[:1].repeat(3, 1, 1, 1))
    alone, _ = cut(scenes[:2], masks[:2])
    with pytest.raises(ValueError, match="1 regions were cut out, but 3 pictures come back"):
        paste(alone, alone.crops.repeat(3, 1, 1, 1))
    boxed, _ = cut(scenes, masks, (30, 30, 65, 65))
    assert [number for number, _ in boxed.places] == [0]


def test_a_mask_of_specks_is_refused_before_its_regions_are_cut():
    specks = torch.zeros(1, 600, 600)
    specks[:, 4::24, 4::24] = 1
    with pytest.raises(ValueError, match="The mask has 625 regions, and each would be a picture to sample; at most 64"):
        cut(torch.zeros(1, 600, 600, 3), specks, choice="each")
    assert len(cut(torch.zeros(1, 600, 600, 3), specks, choice="one", index=3)[0].places) == 1
    specks[:, 192:] = specks[:, :, 192:] = 0
    assert len(cut(torch.zeros(1, 600, 600, 3), specks, choice="each")[0].places) == 64


# pasting back


@st.composite
def edits(draw):
    """A scene of any size, masks of any kind, and every setting."""
    height, width = draw(st.integers(1, 90)), draw(st.integers(1, 90))
    count = draw(st.integers(1, 2))
    scene = picture(count, height, width, draw(st.sampled_from([3, 4])), seed=draw(st.integers(0, 9)))
    of = [
        draw(st.lists(boxes(height, width), min_size=1, max_size=3)) for _ in range(draw(st.sampled_from([1, count])))
    ]
    value = draw(st.sampled_from([1.0, 0.5]))
    masks = torch.cat([painted(*some, height=height, width=width, value=value) for some in of])
    cutting = dict(
        expansion=draw(st.sampled_from([0.0, 0.5, 2.0])),
        minimum=draw(st.sampled_from([0, 5, 32])),
        shape=draw(st.sampled_from(["square", "box", "scene"])),
        working_size=draw(st.sampled_from([0, 8, 40, 64])),
        choice=draw(st.sampled_from(["together", "each", "one"])),
    )
    pasting = dict(
        feather=draw(st.sampled_from([0, 1, 7, 32])),
        match=draw(st.sampled_from([0.0, 0.5, 1.0])),
        area=draw(st.sampled_from(["changes", "window", "mask"])),
    )
    return scene, masks, cutting, pasting


@law
@given(edits())
def test_what_is_not_new_is_the_scene_bit_for_bit(case):
    scene, masks, cutting, pasting = case
    before = scene.clone()
    region, crop_masks = cut(scene, masks, **cutting)
    assert region.crops.shape[:3] == crop_masks.shape
    assert region.crops.shape[1] % 8 == 0 and region.crops.shape[2] % 8 == 0
    edited = picture(len(region.crops), region.crops.shape[1], region.crops.shape[2], seed=77)
    result, changed = paste(region, edited, **pasting)
    assert torch.equal(scene, before)
    assert result.shape == scene.shape and changed.shape == scene.shape[:3]
    assert torch.equal(result[changed == 0], scene[changed == 0])
    assert torch.equal(result[..., 3:], scene[..., 3:])
    inside = torch.zeros(changed.shape, dtype=torch.bool)
    for number, window in region.places:
        inside[number][window.area] = True
        if not pasting["feather"]:
            continue
        rows, columns = window.area
        for border, at_end in (
            (changed[number, rows.start, columns], window.top == 0),
            (changed[number, rows.stop - 1, columns], rows.stop == scene.shape[1]),
            (changed[number, rows, columns.start], window.left == 0),
            (changed[number, rows, columns.stop - 1], columns.stop == scene.shape[2]),
        ):
            if len(region.places) == 1:
                assert at_end or not border.any()
    assert not changed[~inside].any()
    if pasting["area"] == "mask":
        assert not changed[(masks == 0).expand(len(scene), -1, -1)].any()
    assert not ((changed > 0) & (changed < 1 / 255)).any()  # what 8 bits show as unchanged is
    assert torch.isfinite(result).all() and result.min() >= 0 and result.max() <= 1


@law
@given(edits())
def test_an_untouched_crop_of_the_scene_s_own_size_changes_nothing(case):
    scene, masks, cutting, pasting = case
    region, _ = cut(scene, masks, **cutting | {"working_size": 0})
    _, window = region.places[0]
    if region.crops.shape[1:3] == (window.height, window.width):
        result, _ = paste(region, region.crops, **pasting | {"match": 0.0})
        assert torch.equal(result, scene)


def cut_and_paint(box=(40, 30, 60, 50), value=1.0, scene=None, mask=None, **settings):
    """A window that was painted over with one value."""
    cutting = {name: settings.pop(name) for name in ("choice", "working_size", "expansion") if name in settings}
    region, _ = cut(picture() if scene is None else scene, painted(box) if mask is None else mask, **cutting)
    return region, paste(region, torch.full_like(region.crops, value), **{"area": "window"} | settings)


def test_the_edge_rises_from_nothing_to_everything():
    _, (result, changed) = cut_and_paint(feather=16)
    row = changed[0, 40]
    start, end = int(row.nonzero()[0]), int(row.nonzero()[-1])
    assert row[start - 1] == 0 and row[start] < 0.02
    assert (row[start : start + 16].diff() > 0).all() and (row[start + 16 : end - 15] == 1).all()
    assert (result[0, 40, start + 16 : end - 15] == 1).all()


def test_there_is_no_soft_edge_along_the_scene_s_own_border():
    region, (_, changed) = cut_and_paint(box=(0, 0, 20, 20), feather=16)
    ((_, window),) = region.places
    assert window.left == 0 and window.top == 0
    assert (changed[0, :20, :20] == 1).all() and changed[0, 0, window.width - 1] == 0


def test_a_window_over_the_whole_scene_replaces_it():
    _, (result, changed) = cut_and_paint(mask=torch.ones(1, 96, 120), feather=32)
    assert (changed == 1).all() and (result == 1).all()


def test_without_feather_the_window_is_hard():
    region, (_, changed) = cut_and_paint(feather=0)
    assert set(changed.unique().tolist()) == {0, 1}
    assert int(changed.sum()) == region.places[0][1].width * region.places[0][1].height


def test_the_feather_leaves_the_middle_of_a_small_window():
    _, (_, changed) = cut_and_paint(box=(50, 40, 51, 41), feather=1000)
    assert changed[0, 40, 50] == 1


def test_by_its_mask_only_what_is_masked_is_pasted_with_a_soft_rim_inside():
    _, (result, changed) = cut_and_paint(box=(20, 10, 100, 90), area="mask", feather=8)
    assert torch.equal(changed > 0, painted((20, 10, 100, 90)) > 0)
    assert torch.equal(result[changed == 0], picture()[changed == 0])
    row = changed[0, 50]
    assert (row[19:28].diff() > 0).all() and (row[27:93] == 1).all() and (row[92:101].diff() < 0).all()


def test_the_rim_of_a_mask_takes_a_quarter_of_a_part_at_most_and_leaves_a_thin_stroke():
    mask = painted((20, 10, 100, 11), (20, 40, 40, 60))
    _, (_, changed) = cut_and_paint(mask=mask, area="mask", feather=1000)
    assert (changed[0, 10, 20:100] == 1).all()
    assert (changed[0, 45:55, 25:35] == 1).all() and 0 < changed[0, 50, 20] < 0.2
    assert torch.equal(changed > 0, mask > 0)


def test_a_mask_of_the_whole_scene_has_no_rim_and_none_along_the_scene_s_border():
    _, (_, changed) = cut_and_paint(mask=torch.ones(1, 96, 120), area="mask", feather=32)
    assert (changed == 1).all()
    _, (_, changed) = cut_and_paint(mask=painted((0, 0, 60, 96)), area="mask", feather=8)
    assert (changed[0, :, :50] == 1).all() and (changed[0, 10, 52:61].diff() < 0).all()


def test_a_soft_mask_is_pasted_softly():
    _, (_, changed) = cut_and_paint(mask=painted((40, 30, 60, 50), value=0.5), area="mask", feather=0)
    assert set(changed.unique().tolist()) == {0, 0.5}


def test_a_window_does_not_paste_over_another_region():
    mask = painted((20, 40, 40, 60), (70, 40, 90, 60))
    region, _ = cut(picture(), mask, choice="each", expansion=1.5)
    edited = torch.stack([torch.full_like(region.crops[0], value) for value in (0.0, 1.0)])
    result, _ = paste(region, edited, feather=8, area="window")
    (_, first), (_, second) = region.places
    assert first.left < second.left < first.left + first.width  # they overlap
    assert (result[0, 40:60, 20:40] == 0).all() and (result[0, 40:60, 70:90] == 1).all()


def test_an_enlarged_crop_is_brought_back():
    region, _ = cut(picture(), painted((40, 40, 60, 60)), working_size=64)
    large = torch.nn.functional.interpolate(region.crops.movedim(-1, 1), scale_factor=4, mode="bicubic").movedim(1, -1)
    result, _ = paste(region, large.clamp(0, 1), area="window")
    assert (result - paste(region, region.crops, area="window")[0]).abs().max() < 0.15


def test_several_pictures_for_one_region_are_several_results():
    region, _ = cut(picture(), painted((40, 40, 60, 60)), working_size=64)
    results, changed = paste(region, torch.cat([region.crops * 0, region.crops * 0 + 1]))
    assert results.shape == (2, 96, 120, 3) and changed.shape == (2, 96, 120)
    assert (results[0, 50, 50] == 0).all() and (results[1, 50, 50] > 0.999).all()
    assert torch.equal(results[:, :2], picture()[:, :2].expand(2, -1, -1, -1))


def test_one_result_can_be_the_scene_of_another_region():
    scene, mask = picture(height=300, width=300), painted((20, 20, 40, 40), (250, 250, 270, 260), height=300, width=300)
    result = None
    for index in (0, 1):
        region, _ = cut(scene, mask, choice="one", index=index)
        result, _ = paste(region, torch.full_like(region.crops, float(index)), scene=result)
    assert (result[0, 30, 30] == 0).all() and (result[0, 255, 260] == 1).all()


def test_a_grey_scene_comes_back_in_colour_where_it_was_edited():
    scene = picture(channels=1)
    _, (result, changed) = cut_and_paint(scene=scene)
    assert result.shape == (1, 96, 120, 3)
    assert torch.equal(result[changed == 0], scene.expand(-1, -1, -1, 3)[changed == 0])


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16, torch.float64])
def test_a_scene_keeps_its_precision(precision):
    scene = picture().to(precision)
    _, (result, changed) = cut_and_paint(scene=scene)
    assert result.dtype == precision
    assert torch.equal(result[changed == 0], scene[changed == 0])


# what an edit changed


def with_square(crops, box=(20, 30, 45, 60), value=0.95):
    edited = crops.clone()
    edited[:, box[1] : box[3], box[0] : box[2]] = value
    return edited


def blurred(pictures):
    """What a VAE does, roughly: soft edges."""
    planes = torch.nn.functional.avg_pool2d(pictures.movedim(-1, 1), 3, 1, 1, count_include_pad=False)
    return planes.movedim(1, -1)


def striped(width=96):
    """A scene full of edges, dark enough for a bright object."""
    stripes = 0.2 + 0.4 * (torch.arange(width) // 8 % 2).float()
    return stripes[None, None, :, None].expand(1, 96, width, 3).contiguous()


def test_what_changed_is_found_among_blurred_edges():
    region, _ = cut(striped(), torch.ones(1, 96, 96), working_size=0)
    _, changed = paste(region, blurred(with_square(region.crops)), feather=0)
    assert (changed[0, 31:59, 21:44] == 1).all()
    assert int(changed.sum()) < 1.5 * 25 * 30
    nothing, unchanged = paste(region, blurred(region.crops), feather=0)
    assert not unchanged.any() and torch.equal(nothing, region.scene)


def test_what_changed_is_found_at_any_resolution():
    scene = torch.nn.functional.interpolate(striped().movedim(-1, 1), scale_factor=4).movedim(1, -1)
    region, _ = cut(scene, torch.ones(1, 384, 384), working_size=96)
    result, changed = paste(region, blurred(with_square(region.crops)), feather=8)
    assert (changed[0, 124:236, 84:176] > 0.97).all() and (result[0, 132:228, 92:168] > 0.9).all()
    assert torch.equal(result[changed == 0], scene[changed == 0])
    assert (changed == 0).float().mean() > 0.8


def test_a_hole_in_what_changed_belongs_to_it():
    region, _ = cut(striped(), torch.ones(1, 96, 96), working_size=0)
    ring = with_square(with_square(region.crops, (20, 20, 70, 70)), (38, 38, 52, 52), 0.4)
    _, changed = paste(region, ring, feather=0)
    assert (changed[0, 22:68, 22:68] == 1).all()


def test_a_speck_is_no_change():
    region, _ = cut(striped(), torch.ones(1, 96, 96), working_size=0)
    _, changed = paste(region, blurred(with_square(region.crops, (40, 40, 41, 41))), feather=0)
    assert not changed.any()


# colours


@law
@given(gain=st.floats(0.6, 1.6), offset=st.floats(-0.1, 0.1))
def test_colour_match_undoes_a_linear_change(gain, offset):
    scene = 0.35 + 0.3 * picture()
    region, _ = cut(scene, painted((40, 40, 60, 60)), working_size=0)
    shifted = (region.crops - 0.5) * gain + 0.5 + offset
    result, _ = paste(region, shifted, match=1.0, area="window")
    assert (result - scene).abs().max() < 0.02


def test_colour_match_looks_outside_the_mask_only():
    scene = 0.35 + 0.3 * picture()
    region, mask = cut(scene, painted((40, 40, 60, 60)), working_size=0)
    edited = torch.where(mask[..., None] > 0, torch.zeros(()), region.crops)
    result, _ = paste(region, edited, match=1.0, area="window")
    outside = painted((40, 40, 60, 60)) == 0
    assert torch.allclose(result[outside], scene[outside], atol=1e-5)
    assert result[~outside].max() < 0.01


def test_a_mask_without_outside_leaves_the_colours():
    region, _ = cut(picture(), torch.ones(1, 96, 120))
    edited = region.crops * 0.5
    plain, _ = paste(region, edited, area="window")
    assert torch.equal(paste(region, edited, match=1.0, area="window")[0], plain)


def test_a_flat_picture_is_shifted_not_stretched():
    gain, offset = colour_match(torch.full((1, 32, 32, 3), 0.4), torch.full((1, 32, 32, 3), 0.6), torch.ones(1, 32, 32))
    assert (gain - 1).abs().max() < 1e-3 and (offset - 0.2).abs().max() < 1e-3


@pytest.mark.parametrize(
    ("edited", "settings", "error"),
    [
        (picture(1, 64, 64) * float("nan"), {}, "What is pasted holds values that are not finite"),
        (picture(1, 64, 96), {}, "What is pasted is 96x64 px, but the crop was 64x64 px"),
        (picture(0, 64, 64), {}, "What is pasted is empty"),
        (picture(1, 64, 64, 2), {}, "What is pasted must be pictures"),
        (picture(1, 64, 64), {"feather": -1}, "feather must be 0 px or more"),
        (picture(1, 64, 64), {"area": "all"}, "Unknown area 'all'; use changes, window, mask."),
        (picture(1, 64, 64), {"scene": picture(1, 80, 80)}, "The scene to paste into is"),
    ],
)
def test_a_paste_that_makes_no_sense_is_refused(edited, settings, error):
    region, _ = cut(picture(), painted((40, 40, 60, 60)), working_size=64)
    with pytest.raises(ValueError, match=error):
        paste(region, edited, **settings)


def test_a_batch_that_does_not_pair_up_is_refused():
    mask = painted((0, 0, 9, 9), (90, 80, 99, 90))
    region, _ = cut(picture(), mask, choice="each")
    with pytest.raises(ValueError, match="2 regions were cut out, but 3 pictures come back. Paste one for each."):
        paste(region, region.crops[:1].repeat(3, 1, 1, 1))


def test_memory_grows_with_the_window_not_with_the_scene():
    """Cutting a large scene makes nothing of the scene's size; pasting one copy and one mask."""
    scene = torch.zeros(1, 3072, 3072, 3)
    box = (1000, 1000, 1100, 1100)
    allocated = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            made = function(*args, **(kwargs or {}))
            if isinstance(made, torch.Tensor) and not any(
                isinstance(a, torch.Tensor) and a.untyped_storage().data_ptr() == made.untyped_storage().data_ptr()
                for a in args
            ):
                allocated.append(made.untyped_storage().nbytes())
            return made

    with Watch():
        region, _ = cut(scene, box=box)
    cutting, large = max(allocated), scene.untyped_storage().nbytes()
    allocated.clear()
    with Watch():
        paste(region, region.crops)
    assert cutting < large / 10
    assert sorted(size for size in allocated if size >= large / 10) == [large // 3, large]


def test_the_share_of_new_pixels_is_said_in_words():
    mask = painted((0, 0, 12, 96), value=0.3)
    assert share_remark(mask) == "10.0% of the pixels are new, the others are the scene's own"
    assert share_remark(torch.zeros_like(mask)).startswith("0.0% of the pixels are new")
