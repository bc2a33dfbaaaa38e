"""Alignment: what an edit did to the whole picture is found to a part of a pixel, or left alone."""

from dataclasses import replace

import numpy as np
import pytest

from visual_insertion_pack.pipelines.restoration.alignment import align, unaligned
from visual_insertion_pack.pipelines.restoration.geometry import half_extents, stretched
from visual_insertion_pack.tests.restoration_parts import cases, edit, photograph, tensor, turned

MOVED = {
    "a shift of a part of a pixel": cases.Drift(shift=(0.0021, -0.0014)),
    "shift 5 %": cases.Drift(shift=(0.05, -0.04)),
    "zoom .9, shift": cases.Drift(zoom=0.9, shift=(0.04, -0.03), colour=True),
    "zoom 1.1, shift": cases.Drift(zoom=1.1, shift=(-0.04, 0.03)),
    "turned and stretched": cases.DRIFTS["turned .6 degrees, stretched"],
    "turned by 3 degrees": cases.Drift(matrix=turned(3)),
    "another size and aspect": cases.Drift(megapixels=0.2, colour=True),
}


def in_pixels(matrix, scene, edited):
    """A map between pictures of these sizes as an affine of px, the middle of the first being (0, 0)."""
    centre, other = ((np.array(size[::-1]) - 1) / 2 for size in (scene, edited))
    scale = max(edited) / max(scene)
    linear = matrix[:, :2] * scale
    return np.column_stack([linear, other + matrix[:, 2] * max(edited) / 2 - linear @ centre])


def error(alignment, case):
    """How far it is off, in px of the scene."""
    scene, edited = case.scene.shape[1:3], case.edited.shape[1:3]
    estimate = in_pixels(alignment.matrix, tuple(scene), tuple(edited))
    return cases.alignment_error(estimate, case.affine, scene[1], scene[0])


@pytest.mark.parametrize("drift", MOVED)
def test_a_known_warp_is_found_to_half_a_pixel(drift):
    picture = ("chelsea.png", "astronaut.png")[list(MOVED).index(drift) % 2]
    case = edit(MOVED[drift], picture, side=320)
    alignment = align(case.scene[0], case.edited[0])
    assert alignment.trusted and not alignment.blank
    assert error(alignment, case) < 0.5


def test_a_stretch_of_a_thumbnail_is_found():
    """Its longer side is below the resolution from which on more than shift, zoom and turn is looked for."""
    case = edit(MOVED["turned and stretched"], side=160)
    alignment = align(case.scene[0], case.edited[0])
    assert alignment.trusted and error(alignment, case) < 0.25


@pytest.mark.parametrize("picture", ["page.png", "rocket.jpg"])
def test_a_thumbnail_of_lines_that_run_one_way_is_met_again(picture):
    """Lettering fixes a map less well across than down, but most of it is met again."""
    case = edit(cases.Drift(zoom=1.04, shift=(0.02, 0.01), colour=True), picture, side=160)
    alignment = align(case.scene[0], case.edited[0])
    assert alignment.trusted and error(alignment, case) < 0.5


def test_a_known_warp_of_a_smaller_edit_is_found():
    case = edit(cases.Drift(zoom=1.04, shift=(0.02, 0.01), matrix=(0.5, 0, 0, 0.5)), side=320)
    height, width = case.scene.shape[1] // 2, case.scene.shape[2] // 2
    top, left = (case.scene.shape[1] - height) // 2, (case.scene.shape[2] - width) // 2
    smaller = case.edited[0, top : top + height, left : left + width]
    alignment = align(case.scene[0], smaller)
    case = replace(case, edited=smaller[None], affine=case.affine - [[0, 0, left], [0, 0, top]])
    assert alignment.trusted and error(alignment, case) < 0.5


@pytest.mark.parametrize(("side", "times"), [(200, 4), (512, 0.25)])
@pytest.mark.parametrize("picture", ["coffee.png", "astronaut.png"])
def test_an_edit_four_times_as_large_or_small_is_met_again_as_one_of_the_scenes_size(picture, side, times):
    case = edit(cases.Drift(zoom=1.04, shift=(0.02, 0.01), colour=True), picture, side=side)
    height, width = case.edited.shape[1:3]
    resized = tensor(cases.resized(case.edited[0].numpy(), round(times * width), round(times * height)))
    same_size = align(case.scene[0], case.edited[0])
    alignment = align(case.scene[0], resized[0])
    assert alignment.trusted and alignment.matched > same_size.matched - 0.06
    scale = np.array([[resized.shape[2] / width], [resized.shape[1] / height]])
    case = replace(case, edited=resized, affine=scale * case.affine + [0, 0, 1] * (scale - 1) / 2)
    assert error(alignment, case) < 0.3 * max(1, 1 / times)  # px of the coarser of both


@pytest.mark.parametrize(
    ("picture", "kind"), [("chelsea.png", "blob"), ("page.png", None), ("coins.png", "mug"), ("brick.png", None)]
)
def test_where_nothing_moved_the_map_is_exactly_none(picture, kind):
    """So that no pixel of the edit is resampled."""
    case = edit(name=picture, kind=kind)
    size = tuple(case.scene.shape[1:3])
    alignment = align(case.scene[0], case.edited[0])
    assert alignment.trusted
    assert np.array_equal(alignment.matrix, stretched(size, size))
    assert np.array_equal(alignment.matrix, unaligned(size, size).matrix)


@pytest.mark.parametrize(("picture", "other"), [("chelsea.png", "coffee.png"), ("page.png", "coins.png")])
def test_another_scene_is_not_trusted_and_left_alone(picture, other):
    scene, edited = tensor(photograph(picture))[0], tensor(photograph(other))[0]
    alignment = align(scene, edited)
    assert not alignment.trusted and not alignment.blank
    assert np.array_equal(alignment.matrix, stretched(tuple(scene.shape[:2]), tuple(edited.shape[:2])))


SAME_TEXTURE = {
    "mirrored": lambda picture: picture.flip(1),
    "upside down": lambda picture: picture.flip(0),
    "turned by 180 degrees": lambda picture: picture.flip(0, 1),
    "rolled": lambda picture: picture.roll((picture.shape[0] // 2, picture.shape[1] // 3), (0, 1)),
}


@pytest.mark.parametrize("change", SAME_TEXTURE)
@pytest.mark.parametrize("picture", ["brick.png", "coffee.png", "coins.png", "page.png", "retina.jpg"])
def test_what_is_alike_by_chance_is_not_trusted(picture, change):
    scene = tensor(photograph(picture))[0]
    alignment = align(scene, SAME_TEXTURE[change](scene))
    assert not alignment.trusted and not alignment.blank
    size = tuple(scene.shape[:2])
    assert np.array_equal(alignment.matrix, stretched(size, size))


@pytest.mark.parametrize(("picture", "other"), [("retina.jpg", "chelsea.png"), ("page.png", "camera.png")])
def test_a_scene_of_which_two_thirds_are_replaced_is_met_again(picture, other):
    case = cases.two_thirds_replaced(picture, other)
    alignment = align(tensor(case.scene)[0], tensor(case.edited)[0])
    height, width = case.scene.shape[:2]
    estimate = in_pixels(alignment.matrix, (height, width), tuple(case.edited.shape[:2]))
    assert alignment.trusted and cases.alignment_error(estimate, case.affine, width, height) < 0.5


def test_a_blank_sky_has_nothing_to_align_by():
    case = cases.blank_sky("gradient", "zoom 1.05, shift 2 %, colour", with_object=False)
    alignment = align(tensor(case.scene)[0], tensor(case.edited)[0])
    assert alignment.blank and not alignment.trusted
    size = case.scene.shape[:2]
    assert np.array_equal(alignment.matrix, stretched(size, size))


def test_a_picture_too_small_for_texture_is_left_alone():
    for height, width in ((1, 1), (8, 8), (3, 200)):
        scene = tensor(photograph())[0, :height, :width]
        alignment = align(scene, 1 - scene)
        assert alignment.blank and not alignment.trusted
        assert np.array_equal(alignment.matrix, stretched((height, width), (height, width)))


@pytest.mark.parametrize(("scene", "edited"), [((300, 450), (320, 480)), ((100, 200), (200, 100)), ((1, 1), (8, 5))])
def test_a_picture_brought_to_another_size_is_stretched_corner_to_corner(scene, edited):
    corners = np.array([[-1, -1], [1, 1]]) * half_extents(scene)
    matrix = stretched(scene, edited)
    assert corners @ matrix[:, :2].T + matrix[:, 2] == pytest.approx(
        np.array([[-1, -1], [1, 1]]) * half_extents(edited)
    )
