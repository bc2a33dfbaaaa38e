"""The truth of the benchmark of restoring: what its cases say about themselves is so."""

import json

import numpy as np
import pytest
from scipy import ndimage

from visual_insertion_pack.benchmarks import bench_restoration
from visual_insertion_pack.benchmarks import restoration_cases as cases
from visual_insertion_pack.benchmarks import restoration_measures as measures
from visual_insertion_pack.benchmarks import restoration_rivals as rivals
from visual_insertion_pack.devtools.pack import ROOT


def spots(width, height):
    """Four soft spots on black [H,W,3], and their middles (x, y, 1)."""
    points = np.array([[0.3, 0.35], [0.7, 0.4], [0.35, 0.7], [0.62, 0.61]]) * (width, height)
    y, x = np.mgrid[:height, :width]
    picture = sum(np.exp(-((x - px) ** 2 + (y - py) ** 2) / 18) for px, py in points)
    return np.repeat(picture[..., None], 3, -1).astype(np.float32), np.column_stack([points, np.ones(4)])


def test_there_are_at_least_twelve_pictures_and_eight_drifts():
    assert len(cases.PICTURES) >= 12 and len(cases.DRIFTS) >= 8
    assert any(drift.zoom == 0.9 and max(drift.shift) == 0.05 for drift in cases.DRIFTS.values())
    assert any(drift.zoom == 1.1 and min(drift.shift) == -0.05 for drift in cases.DRIFTS.values())


@pytest.mark.parametrize("name", cases.DRIFTS)
def test_a_drift_moves_points_where_its_affine_says(name):
    picture, points = spots(200, 160)
    affine, width, height = cases.geometry(cases.DRIFTS[name], 200, 160)
    edited = cases.moved(picture, affine, width, height)
    assert edited.shape == (height, width, 3)
    labels, count = ndimage.label(edited[..., 0] > 0.05)
    middles = np.array(ndimage.center_of_mass(edited[..., 0], labels, range(1, count + 1)))[:, ::-1]
    for x, y in points @ affine.T:
        assert np.hypot(*(middles - (x, y)).T).min() < 0.1


def test_an_editors_own_size_is_of_multiples_of_16_and_about_a_megapixel():
    for aspect in (0.45, 1.0, 1.503, 2.01):
        width, height = cases.own_size(aspect, 1.0)
        assert width % 16 == height % 16 == 0
        assert 0.97 < width * height / 2**20 < 1.03
        assert abs(np.log(width / height / aspect)) < 0.12


def test_an_error_of_alignment_is_in_pixels_of_the_scene():
    truth, _, _ = cases.geometry(cases.DRIFTS["1 megapixel, own aspect, colour"], 400, 300)
    assert cases.alignment_error(truth, truth, 400, 300) < 1e-9
    scale = truth[0, 0]
    off = truth + [[0, 0, 3 * scale], [0, 0, 4 * scale]]
    assert cases.alignment_error(off, truth, 400, 300) == pytest.approx(5)
    assert cases.alignment_error(np.eye(2, 3) * 1.01, np.eye(2, 3), 301, 1) == pytest.approx(3)


@pytest.mark.parametrize("picture", ["chelsea.png", "page.png", "coins.png"])
def test_a_case_is_the_scene_outside_what_was_touched(picture):
    case = cases.make_case(picture, "VAE alone")
    assert case.scene.dtype == case.edited.dtype == np.float32
    assert np.abs(case.ideal - case.scene).max(-1)[~case.touched].max() <= cases.TOUCHED
    assert 0.01 < case.effect.mean() < case.touched.mean() < 0.4
    assert case.effect[case.object >= 0.5].all()
    assert (case.effect & (case.object < 0.5)).any()  # a shadow
    background = ~ndimage.binary_dilation(case.touched, iterations=8)
    assert 0 < np.abs(case.edited - case.scene)[background].mean() < 0.05  # the drift is everywhere


def test_a_shadow_that_nobody_sees_is_no_effect():
    scene = np.full((60, 60, 3), 0.5, np.float32)
    nothing = np.zeros((60, 60))
    faint = scene.copy()
    faint[20:40, 20:40] *= 0.95
    clear = scene.copy()
    clear[20:40, 20:40] *= 0.85
    assert not cases.visible_effect(scene, nothing, faint).any()
    assert cases.visible_effect(scene, nothing, clear)[24:36, 24:36].all()
    dark = scene * 0.02  # half of black is still black
    assert not cases.visible_effect(dark, nothing, dark * 0.5).any()


def test_cases_follow_from_their_names():
    one = cases.make_case("page.png", "zoom .9, shift 5 %, colour")
    same = cases.make_case("page.png", "zoom .9, shift 5 %, colour")
    assert all(np.array_equal(getattr(one, name), getattr(same, name)) for name in ("scene", "edited", "object"))
    other = cases.make_case("page.png", "colour")
    assert not np.array_equal(one.object, other.object)


def test_an_enlarged_case_keeps_its_geometry():
    case = cases.make_case("page.png", "zoom 1.05, shift 2 %, colour")
    large = cases.enlarged(case, 0.3)
    scale = large.scene.shape[1] / case.scene.shape[1]
    points = np.array([[10, 20, 1], [300, 100, 1]])
    grown = np.column_stack([(points[:, :2] + 0.5) * scale - 0.5, [1, 1]])
    assert np.abs(grown @ large.affine.T - ((points @ case.affine.T + 0.5) * scale - 0.5)).max() < 0.5
    assert large.object.shape == large.effect.shape == large.scene.shape[:2]


def test_hard_cases_say_where_there_is_no_geometry():
    hard = cases.unrelated("page.png", "coins.png")
    assert hard.affine is None and hard.scene.shape == hard.edited.shape
    covered = cases.two_thirds_replaced("page.png", "coins.png")
    assert 0.6 < covered.effect.mean() < 0.7 and covered.affine is not None
    pasted = cases.copied("page.png")
    assert np.array_equal(pasted.edited[~pasted.touched], pasted.scene[~pasted.touched])
    empty = cases.without_object("page.png", "colour")
    assert not empty.effect.any() and not empty.touched.any()


# What is measured of them.


def test_a_map_of_the_pipelines_is_the_same_in_pixels():
    from visual_insertion_pack.pipelines.restoration import geometry

    scene, edited = (300, 451), (320, 480)
    corners = np.array([[-0.5, -0.5, 1], [450.5, 299.5, 1]])
    affine = bench_restoration.in_pixels(geometry.stretched(scene, edited), scene, edited)
    assert corners @ affine.T == pytest.approx(np.array([[-0.5, -0.5], [479.5, 319.5]]))
    assert affine == pytest.approx(rivals.stretched(np.zeros((*scene, 3)), np.zeros((*edited, 3))))


@pytest.mark.parametrize("drift", ["zoom .975, shift, colour", "1 megapixel, own aspect, colour"])
def test_a_restored_photograph_is_the_scene_outside_the_effect_and_aligned(drift):
    row = bench_restoration.our_row(cases.make_case("page.png", drift))
    assert row["bit_equal"] == 1
    assert row["alignment_px"] < 1 and row["background_flagged"] < 0.05
    assert row["effect_iou"] > 0.5 and not row["wrong_geometry"]
    assert row["layers_off"] <= 1 / 255


def test_a_chain_keeps_the_first_scene():
    row = bench_restoration.chain("page.png", rounds=2)
    assert row["background_equal"] == 1 and row["kept"] > 0.5
    assert row["background_db"] > row["unrestored_db"]


def test_what_the_others_do_is_measured_the_same_way():
    pytest.importorskip("cv2", reason="the others' steps need OpenCV")
    case = cases.make_case("page.png", "VAE alone")
    for name, make in bench_restoration.METHODS.items():
        outcome = make(case)
        row = measures.measured(case, outcome, 0.0)
        assert outcome.picture.shape == case.scene.shape, name
        assert 0 < row["effect_iou"] < 1 and row["object_iou"] is None, name


def test_a_perfect_answer_is_measured_as_one():
    case = cases.make_case("page.png", "VAE alone")
    picture = np.where(case.touched[..., None], case.ideal, case.scene)
    outcome = rivals.Outcome(picture, case.touched.astype(float), case.object, case.affine)
    row = measures.measured(case, outcome, 0.0)
    assert row["object_iou"] == 1 and row["alignment_px"] == 0 and row["background_flagged"] == 0
    assert row["background_db_after"] == measures.EXACT and row["bit_equal"] == 1
    truth = case.effect.astype(float)
    assert measures.measured(case, rivals.Outcome(case.ideal, truth), 0.0)["effect_iou"] == 1
    everything = measures.measured(case, rivals.Outcome(case.edited, np.ones_like(truth)), 0.0)
    assert everything["background_flagged"] == 1


def test_a_geometry_is_wrong_where_it_is_undone_and_off():
    case = cases.unrelated("page.png", "coins.png")
    assert not bench_restoration.is_wrong(case, np.eye(2, 3))
    assert bench_restoration.is_wrong(case, np.eye(2, 3) * 1.1)
    moved = cases.make_case("page.png", "shift .9 %")
    assert not bench_restoration.is_wrong(moved, moved.affine) and bench_restoration.is_wrong(moved, np.eye(2, 3))


def test_the_page_says_what_was_measured():
    docs = ROOT / "docs"
    stored = json.loads((docs / "figures" / "restoration.json").read_text(encoding="utf-8"))
    figures = {name: figure["value"] for name, figure in stored.items()}
    page = (docs / "restoration.md").read_text(encoding="utf-8")
    assert bench_restoration.report.promises(figures) in page
    assert figures["cases"] == len(cases.PICTURES) * len(cases.DRIFTS)
