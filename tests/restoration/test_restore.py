"""Restoring: outside the effect the scene's own pixels, bit for bit, whatever comes in; and a report that is so."""

import pytest
import torch

from visual_insertion_pack.pipelines.pictures.boxes import slices
from visual_insertion_pack.pipelines.pictures.masks import array_box
from visual_insertion_pack.pipelines.restoration.geometry import stretched
from visual_insertion_pack.pipelines.restoration.report import (
    BLANK,
    EVERYTHING,
    NOTHING,
    UNMATCHED,
    Report,
    motion,
)
from visual_insertion_pack.pipelines.restoration.restore import restore
from visual_insertion_pack.tests.restoration_parts import (
    bit_equal_outside,
    cases,
    edit,
    iou,
    photograph,
    tensor,
    turned,
)

EVERY_WAY = cases.Drift(zoom=0.96, shift=(0.02, -0.01), colour=True)


@pytest.fixture(scope="module")
def still():
    """An object and a shadow, through a VAE."""
    return edit()


@pytest.fixture(scope="module")
def free(still):
    """That edit restored at the defaults."""
    return restore(still.scene, still.edited)


@pytest.fixture(scope="module")
def drifted():
    """An object and a shadow, and all else that an editor does."""
    return edit(EVERY_WAY, side=320)


@pytest.fixture(scope="module")
def undrifted(drifted):
    """That edit restored at the defaults."""
    return restore(drifted.scene, drifted.edited)


def random(*size, seed=0):
    return torch.rand(*size, generator=torch.Generator().manual_seed(seed))


def square(height, width, side):
    mask = torch.zeros(1, height, width)
    mask[:, :side, :side] = 1
    return mask


# What is kept, and what is put in.


@pytest.mark.parametrize("name", ["still", "drifted"])
def test_object_and_shadow_are_put_in_and_all_else_is_the_scene(name, request):
    case = request.getfixturevalue(name)
    restored = restore(case.scene, case.edited)
    assert bit_equal_outside(restored.images, case.scene, restored.effect)
    assert iou(restored.objects[0], case.object) > 0.8
    assert iou(restored.effect[0], case.effect) > 0.65
    inside = case.object > 0.9
    assert float((restored.images - case.ideal).abs()[0][inside].mean()) < 0.05
    assert (restored.effect[0][~case.touched] > 0).float().mean() < 0.02
    filled = torch.zeros(case.object.shape)
    filled[slices(restored.boxes[0])] = 1
    true_box = torch.zeros(case.object.shape)
    true_box[slices(array_box(case.object >= 0.5))] = 1
    assert iou(filled, true_box) > 0.7


def test_what_goes_in_stays_as_it_was(drifted):
    scene, edited = drifted.scene.clone(), drifted.edited.clone()
    restore(scene, edited)
    assert torch.equal(scene, drifted.scene) and torch.equal(edited, drifted.edited)


def test_alpha_is_the_scenes(still, free):
    alpha = random(*still.scene.shape[:3], 1)
    scene = torch.cat([still.scene, alpha], -1)
    restored = restore(scene, torch.cat([still.edited, 1 - alpha], -1))
    assert torch.equal(restored.images[..., 3:], alpha)
    assert torch.equal(restored.images[..., :3], free.images)
    assert bit_equal_outside(restored.images, scene, restored.effect)


def test_a_grey_scene_becomes_rgb():
    case = edit(name="camera.png")
    restored = restore(case.scene[..., :1], case.edited)
    assert restored.images.shape[-1] == 3
    assert torch.equal(restored.images, restore(case.scene, case.edited).images)


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16, torch.float64])
def test_another_precision_stays(still, precision):
    scene = still.scene.to(precision)
    restored = restore(scene, still.edited.to(precision))
    assert restored.images.dtype == precision
    assert bit_equal_outside(restored.images, scene, restored.effect)
    assert iou(restored.objects[0], still.object) > 0.8


def test_the_same_comes_out_twice(drifted, undrifted):
    again = restore(drifted.scene, drifted.edited)
    assert torch.equal(again.images, undrifted.images) and torch.equal(again.effect, undrifted.effect)
    assert torch.equal(again.objects, undrifted.objects)
    assert again.boxes == undrifted.boxes and again.reports == undrifted.reports


def test_geometry_and_colour_can_be_left(drifted, undrifted):
    restored = restore(drifted.scene, drifted.edited, align_geometry=False)
    assert restored.reports[0].shift == (0, 0) and restored.reports[0].zoom == 1
    assert float(restored.effect.mean()) > 2 * float(undrifted.effect.mean())
    tint = restore(drifted.scene, drifted.edited, match_colour=False)
    assert not torch.equal(tint.images, undrifted.images)
    for one in (restored, tint):
        assert bit_equal_outside(one.images, drifted.scene, one.effect)


@pytest.mark.parametrize("scale", [0.5, 1.7])
def test_an_edit_of_another_size_is_laid_over_the_scene(still, scale):
    height, width = still.scene.shape[1:3]
    resized = cases.resized(still.edited[0].numpy(), round(width * scale), round(height * scale))
    restored = restore(still.scene, tensor(resized))
    assert restored.images.shape == still.scene.shape
    assert bit_equal_outside(restored.images, still.scene, restored.effect)
    assert iou(restored.objects[0], still.object) > 0.7
    assert restored.reports[0].zoom == pytest.approx(1, abs=0.01)


def test_an_edit_of_a_smaller_version_of_the_scene_is_compared_with_that(still, free):
    height, width = still.scene.shape[1:3]
    scene = tensor(cases.resized(still.scene[0].numpy(), 2 * width, 2 * height)) + 0.03 * random(
        1, 2 * height, 2 * width, 3
    )
    restored = restore(scene, still.edited, editor_scene=still.scene)
    assert restored.images.shape == scene.shape
    assert bit_equal_outside(restored.images, scene, restored.effect)
    smaller = torch.nn.functional.avg_pool2d(restored.objects, 2)
    assert iou(smaller[0], free.objects[0]) > 0.8 and iou(smaller[0], still.object) > 0.7


def test_ten_edits_in_a_row_leave_the_first_scenes_pixels():
    first = tensor(photograph("coffee.png", 192))
    scene, union = first, torch.zeros(first.shape[:3])
    for number in range(10):
        rng = cases.seeded("chain", number)
        ideal, _, _ = cases.composited(scene[0].numpy(), ("mug", "blob")[number % 2], rng, 0.5)
        drift = cases.Drift(zoom=1 + 0.01 * (number % 3), shift=(0.004 * (number % 2), 0.003), colour=True)
        edited, _ = cases.drifted(ideal, drift, rng)
        restored = restore(scene, tensor(edited))
        assert bit_equal_outside(restored.images, scene, restored.effect)
        scene = restored.images
        union = torch.maximum(union, restored.effect)
    assert bit_equal_outside(scene, first, union)
    assert 0.05 < float((union > 0).float().mean()) < 0.9


# Batches.


@pytest.mark.parametrize(("scenes", "edits"), [(1, 3), (3, 1), (2, 2)])
def test_batches_are_restored_one_by_one(scenes, edits):
    pairs = [edit(name="coffee.png", side=160, seed=seed) for seed in range(3)]
    scene = torch.cat([pair.scene for pair in pairs[:scenes]])
    edited = torch.cat([pair.edited for pair in pairs[:edits]])
    restored = restore(scene, edited)
    count = max(scenes, edits)
    assert [len(restored.images), len(restored.effect), len(restored.objects)] == [count] * 3
    assert len(restored.boxes) == len(restored.reports) == count
    assert bit_equal_outside(restored.images, scene, restored.effect)
    for number in range(count):
        alone = restore(scene[number % scenes][None], edited[number % edits][None])
        assert torch.equal(alone.images[0], restored.images[number]) and alone.reports[0] == restored.reports[number]


def test_batches_that_do_not_pair_up_are_refused():
    with pytest.raises(ValueError, match="do not pair up: 2 scenes, 3 edits"):
        restore(random(2, 32, 32, 3), random(3, 32, 32, 3))
    with pytest.raises(ValueError, match="do not pair up: 2 edits, 3 masks"):
        restore(random(1, 32, 32, 3), random(2, 32, 32, 3), mask=torch.ones(3, 32, 32))


# Sizes and contents that nobody makes on purpose.


@pytest.mark.parametrize(
    ("size", "other"),
    [
        *(((1, 1), (1, 1)), ((1, 1), (64, 64)), ((8, 8), (8, 8)), ((64, 64), (1, 1)), ((37, 53), (91, 77))),
        *(((8, 16384), (8, 16384)), ((16384, 8), (512, 16)), ((1, 300), (300, 1))),
    ],
)
def test_a_picture_of_any_size_is_restored(size, other):
    scene, edited = random(1, *size, 3), random(1, *other, 3, seed=1)
    restored = restore(scene, edited)
    assert restored.images.shape == scene.shape and restored.effect.shape == scene.shape[:3]
    assert torch.isfinite(restored.images).all()
    assert bit_equal_outside(restored.images, scene, restored.effect)
    assert restored.reports[0].verdicts


def test_values_outside_of_the_range_stay_where_nothing_changed(still):
    scene = still.scene * 1.2 - 0.1
    restored = restore(scene, still.edited)
    assert bit_equal_outside(restored.images, scene, restored.effect)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(("which", "said"), [(0, "The scene holds"), (1, "The edited picture holds")])
def test_what_is_not_finite_is_refused(which, said, value):
    pictures = [random(1, 32, 32, 3), random(1, 32, 32, 3)]
    pictures[which][0, 3, 4, 1] = value
    with pytest.raises(ValueError, match=f"{said} values that are not finite"):
        restore(*pictures)


@pytest.mark.parametrize(
    ("scene", "edited", "said"),
    [
        ((0, 32, 32, 3), (1, 32, 32, 3), "The scene is empty"),
        ((1, 32, 32, 3), (1, 0, 32, 3), "The edited picture is empty"),
        ((1, 32, 32, 2), (1, 32, 32, 3), "The scene must be pictures"),
        ((1, 32, 32, 3), (32, 32, 3), "The edited picture must be pictures"),
    ],
)
def test_what_is_no_picture_is_refused(scene, edited, said):
    with pytest.raises(ValueError, match=said):
        restore(random(*scene), random(*edited))


@pytest.mark.parametrize("whole", [torch.uint8, torch.int64, torch.bool])
def test_whole_numbers_are_refused(whole):
    levels = (255 * random(1, 32, 32, 3)).to(whole)
    with pytest.raises(ValueError, match="The scene must hold numbers from 0 to 1; got .*Divide values of 8 bits by"):
        restore(levels, random(1, 32, 32, 3))
    with pytest.raises(ValueError, match="The edited picture must hold numbers from 0 to 1"):
        restore(random(1, 32, 32, 3), levels)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (dict(mask=torch.ones(1, 32, 32), mask_use="both"), "Unknown use of the mask 'both'; use limit, force."),
        (dict(sensitivity=0), "The sensitivity must be above 0"),
        (dict(sensitivity=float("nan")), "The sensitivity must be above 0"),
        (dict(feather=-1), "feather must be from 0 to 1024 px"),
        (dict(mask=torch.ones(1, 16, 16)), "The mask is 16x16 px, the scene 32x32 px."),
        (dict(mask=torch.full((1, 32, 32), float("nan"))), "The mask holds values that are not finite"),
        (dict(round_trip=torch.full((1, 32, 32, 3), float("nan"))), "The round trip holds values that are not finite"),
        (dict(editor_scene=torch.full((1, 16, 16, 3), float("nan"))), "The editor's scene holds values that are not"),
        (dict(relevance=torch.ones(2, 3, 32, 32)), "A mask must be"),
        (dict(relevance=torch.ones(0, 32, 32)), "There are no relevances: their batch is empty"),
        (dict(relevance=torch.full((1, 32, 32), float("nan"))), "The relevance holds values that are not finite"),
    ],
)
def test_a_setting_out_of_range_is_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        restore(random(1, 32, 32, 3), random(1, 32, 32, 3), **settings)


# Verdicts and the report.


@pytest.mark.parametrize(
    ("picture", "drift"),
    [
        ("page.png", "VAE alone"),
        ("chelsea.png", "VAE alone"),
        ("chelsea.png", "zoom 1.05, shift 2 %, colour"),
        ("camera.png", "zoom 1.05, shift 2 %, colour"),
    ],
)
def test_where_nothing_was_put_in_the_scene_passes_through_bit_for_bit(picture, drift):
    case = edit(cases.DRIFTS[drift], picture, kind=None, side=320)
    restored = restore(case.scene, case.edited)
    assert torch.equal(restored.images, case.scene) and not restored.effect.any() and not restored.objects.any()
    assert restored.boxes == [None]
    assert NOTHING in restored.reports[0].verdicts and restored.reports[0].identical == 1


def test_the_scene_itself_is_nothing_inserted(still):
    restored = restore(still.scene, still.scene)
    assert torch.equal(restored.images, still.scene)
    assert restored.reports[0].verdicts == (NOTHING,)
    assert restored.reports[0].shift == (0, 0) and restored.reports[0].colour_difference < 0.01


def test_another_scenes_edit_is_told_and_not_moved():
    scene, edited = tensor(photograph("chelsea.png")), tensor(photograph("coffee.png"))
    restored = restore(scene, edited)
    report = restored.reports[0]
    assert UNMATCHED in report.verdicts
    assert report.shift == (0, 0) and report.zoom == 1 and report.turn == 0
    assert bit_equal_outside(restored.images, scene, restored.effect)


def test_all_changed_is_told():
    scene = tensor(photograph("chelsea.png"))
    restored = restore(scene, random(*scene.shape))
    assert EVERYTHING in restored.reports[0].verdicts
    assert restored.reports[0].identical < 0.3


def test_a_blank_sky_is_told_and_an_object_in_it_is_found():
    case = cases.blank_sky("gradient", "VAE alone", with_object=True)
    restored = restore(tensor(case.scene), tensor(case.edited))
    assert BLANK in restored.reports[0].verdicts
    assert restored.reports[0].shift == (0, 0)
    assert iou(restored.objects[0], case.object) > 0.8


@pytest.mark.parametrize(
    ("drift", "shift", "zoom"),
    [
        (cases.Drift(shift=(0.03, 0.02)), (0.03, 0.02), 1.0),
        (cases.Drift(zoom=1.05), (0.0, 0.0), 1.05),
        (cases.Drift(zoom=0.95, shift=(0.0, -0.02)), (0.0, -0.02), 0.95),
    ],
)
def test_the_report_says_what_the_edit_did(drift, shift, zoom):
    case = edit(drift, side=320)
    report = restore(case.scene, case.edited).reports[0]
    assert report.zoom == pytest.approx(zoom, abs=0.003)
    assert report.shift == pytest.approx([320 * share for share in shift], abs=0.6)
    assert report.turn == pytest.approx(0, abs=0.1)


def test_the_reports_turn_is_clockwise():
    case = edit(cases.Drift(matrix=turned(2)), side=320)
    assert restore(case.scene, case.edited).reports[0].turn == pytest.approx(2, abs=0.1)


def test_a_mere_change_of_size_is_no_motion():
    for edited in ((300, 200), (150, 400)):
        base = stretched((600, 400), edited)
        shift, zoom, turn = motion(base, (600, 400), base)
        assert shift == (0, 0) and zoom == pytest.approx(1) and turn == pytest.approx(0)


def test_figures_of_the_report_are_those_of_the_masks(drifted, undrifted):
    restored = undrifted
    report = restored.reports[0]
    equal = (restored.images == drifted.scene).all(-1).float().mean()
    assert report.identical == pytest.approx(float((restored.effect == 0).float().mean()))
    assert report.identical <= float(equal) + 1e-6
    assert report.changed == pytest.approx(float((restored.effect > 0.5).float().mean()))
    assert report.colour_difference > 2 > restore(drifted.scene, drifted.scene).reports[0].colour_difference
    assert report.verdicts == ()


def test_the_text_of_a_report():
    report = Report(0.987, 0.01, (3.24, -1.0), 1.021, 0.5, 0.9, 4.44, ("one thing", "another"))
    assert report.text() == (
        "98.7% of the pixels are the scene's own\n"
        "effect: 1.0% of the picture\n"
        "undone: shift +3.2, -1.0 px, zoom +2.10%, turn +0.50 degrees\n"
        "colour difference outside the effect: 4.4 delta E\n"
        "one thing\n"
        "another"
    )
    still = Report(1.0, 0.0, (-0.01, -0.0), 0.99999, -0.001, 1.0, 0.0)
    assert "undone: shift +0.0, +0.0 px, zoom +0.00%, turn +0.00 degrees" in still.text()


# Masks, feather, what is known beside.


def test_a_mask_limits(still, free):
    x0, y0, x1, y1 = free.boxes[0]
    mask = torch.zeros(1, *still.scene.shape[1:3])
    mask[:, y0:y1, x0 : (x0 + x1) // 2] = 1
    limited = restore(still.scene, still.edited, mask=mask)
    assert torch.equal(limited.effect, free.effect * mask)
    assert bit_equal_outside(limited.images, still.scene, mask)
    elsewhere = restore(still.scene, still.edited, mask=square(*still.scene.shape[1:3], 12))
    assert torch.equal(elsewhere.images, still.scene) and NOTHING in elsewhere.reports[0].verdicts


def test_a_mask_forces(still, free):
    mask = square(*still.scene.shape[1:3], 24)
    forced = restore(still.scene, still.edited, mask=mask, mask_use="force")
    assert (forced.effect[mask > 0] == 1).all()
    assert float((forced.images - still.edited).abs()[mask > 0].mean()) < 2 / 255
    assert torch.equal(forced.images[mask == 0], free.images[mask == 0])
    assert torch.equal(forced.objects, free.objects)


def test_an_empty_mask_is_none_and_a_full_one_changes_nothing(still, free):
    for mask in (torch.zeros(1, 9, 9), torch.ones(1, *still.scene.shape[1:3])):
        restored = restore(still.scene, still.edited, mask=mask)
        assert torch.equal(restored.images, free.images) and torch.equal(restored.effect, free.effect)
    whole = restore(still.scene, still.edited, mask=torch.ones_like(free.effect), mask_use="force")
    assert (whole.effect == 1).all() and whole.reports[0].identical == 0


@pytest.mark.parametrize("feather", [0, 400])
def test_a_feather_widens_the_edge_and_nothing_else(still, free, feather):
    restored = restore(still.scene, still.edited, feather=feather)
    assert bit_equal_outside(restored.images, still.scene, restored.effect)
    assert torch.isfinite(restored.images).all()
    assert torch.equal(restored.objects, free.objects)
    soft = (restored.effect > 0) & (restored.effect < 1)
    assert feather or not soft.any() or float(soft.float().mean()) < 0.03
    inside = restored.objects == 1
    assert float(restored.effect[inside].min()) > 0.9


def test_a_wider_feather_reaches_further(still):
    shares = [
        float((restore(still.scene, still.edited, feather=feather).effect > 0).float().mean()) for feather in (1, 40)
    ]
    assert shares[0] < shares[1]


def test_a_round_trip_is_compared_with(still, free):
    """Of the size of the scene or not; what it says is only used where it is nearer to the edit."""
    trip = tensor(cases.eight_bit(cases.through_vae(still.scene[0].numpy(), cases.seeded("trip"))))
    restored = restore(still.scene, still.edited, round_trip=trip)
    assert bit_equal_outside(restored.images, still.scene, restored.effect)
    assert iou(restored.objects[0], still.object) > 0.8
    nonsense = restore(still.scene, still.edited, round_trip=torch.zeros(1, 16, 16, 3))
    assert torch.equal(nonsense.images, free.images)


def test_relevance_is_of_any_size_and_moves_the_threshold(still, free):
    corner = torch.eye(1, 64).reshape(1, 8, 8)
    nowhere = restore(still.scene, still.edited, relevance=corner)
    everywhere = restore(still.scene, still.edited, relevance=torch.ones(1, 8, 8))
    reach = [float((one.effect > 0).float().mean()) for one in (nowhere, free, everywhere)]
    assert reach == sorted(reach)
    assert iou(nowhere.objects[0], still.object) > 0.7
    assert torch.equal(restore(still.scene, still.edited, relevance=0 * corner).images, free.images)
    for one in (nowhere, everywhere):
        assert bit_equal_outside(one.images, still.scene, one.effect)


def test_where_the_edited_picture_ends_within_the_scene_is_no_change():
    case = cases.make_case("coffee.png", "zoom 1.05, shift 2 %, colour")
    restored = restore(tensor(case.scene), tensor(case.edited))
    assert not restored.effect[0, -40:].any()
