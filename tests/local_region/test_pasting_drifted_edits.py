"""An edit of a photograph that drifted on its way: only what was put in is pasted, whatever was done to the rest."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from visual_insertion_pack.benchmarks import restoration_cases as cases
from visual_insertion_pack.pipelines.local_region.cutting import cut
from visual_insertion_pack.pipelines.local_region.pasting import paste

SIDE = 384
FEATHER = 4
PICTURES = ("astronaut.png", "coffee.png", "chelsea.png", "motorcycle_left.png")
DRIFTS = {
    "a VAE": cases.Drift(),
    "colour": cases.Drift(colour=True),
    "a shift": cases.Drift(shift=(6 / 768, -4 / 768)),
    "a zoom": cases.Drift(zoom=1.02),
    "zoom, shift and colour": cases.Drift(zoom=0.975, shift=(5 / 768, 3 / 768), colour=True),
}


def with_mug(picture, drift, side=SIDE):
    """(scene, what the editor made of it, the visible truth, what the mug touched at all) of a photograph."""
    scene = cases.photograph(picture, side)
    ideal, alpha, around = cases.composited(scene, "mug", cases.seeded(picture, "pasting"))
    edited, _ = cases.drifted(ideal, drift, cases.seeded(picture, "pasting", str(drift)))
    touched = ndimage.binary_dilation(np.abs(ideal - scene).max(-1) > 0.02, iterations=FEATHER)
    truth = cases.visible_effect(scene, alpha, around)
    return torch.tensor(scene)[None], torch.tensor(np.ascontiguousarray(edited))[None], truth, touched


def assert_only_what_was_put_in(result, changed, scene, truth, touched):
    assert torch.equal(result[changed == 0], scene[changed == 0])
    assert (changed[0].numpy() > 0)[~touched].mean() < 0.01
    clear = changed[0].numpy() >= 0.5
    assert (clear & truth).sum() / (clear | truth).sum() > 0.75


@pytest.mark.parametrize("drift", DRIFTS.values(), ids=DRIFTS)
@pytest.mark.parametrize("picture", PICTURES)
def test_only_what_was_put_in_is_pasted(picture, drift):
    scene, edited, truth, touched = with_mug(picture, drift)
    height, width = scene.shape[1:3]
    region, _ = cut(scene, box=(0, 0, width, height), expansion=0, minimum=0, shape="scene", working_size=0)
    result, changed = paste(region, edited, feather=FEATHER)
    assert_only_what_was_put_in(result, changed, scene, truth, touched)


def test_a_crop_made_smaller_for_the_editor_is_pasted_where_it_belongs():
    scene, edited, truth, touched = with_mug("coffee.png", DRIFTS["zoom, shift and colour"], side=512)
    height, width = scene.shape[1:3]
    region, _ = cut(scene, box=(0, 0, width, height), expansion=0, minimum=0, shape="scene", working_size=256)
    smaller = torch.nn.functional.interpolate(
        edited.movedim(-1, 1), tuple(region.crops.shape[1:3]), mode="area"
    ).movedim(1, -1)
    result, changed = paste(region, smaller, feather=FEATHER)
    assert_only_what_was_put_in(result, changed, scene, truth, touched)


def test_the_colours_of_what_is_pasted_are_the_scene_s_with_or_without_colour_match():
    scene, edited, _, _ = with_mug("coffee.png", DRIFTS["colour"])
    height, width = scene.shape[1:3]
    region, _ = cut(scene, box=(0, 0, width, height), expansion=0, minimum=0, shape="scene", working_size=0)
    plain, matched = (paste(region, edited, match=match) for match in (0.0, 1.0))
    assert torch.equal(plain[0], matched[0]) and torch.equal(plain[1], matched[1])
    ideal, alpha, _ = cases.composited(scene[0].numpy(), "mug", cases.seeded("coffee.png", "pasting"))
    mug = ndimage.binary_erosion(alpha > 0.99, iterations=3)
    before, after = (np.abs(one[0].numpy() - ideal)[mug].mean() for one in (edited, plain[0]))
    assert after < 0.6 * before
