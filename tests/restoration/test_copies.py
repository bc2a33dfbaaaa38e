"""The verdict "copy-paste": a pasted object is told from one that was put in."""

import numpy as np
import pytest
import torch

from visual_insertion_pack.devtools.pack import ROOT
from visual_insertion_pack.pipelines.pictures.files import picture_tensor
from visual_insertion_pack.pipelines.playroom.judging import benchmark as playroom
from visual_insertion_pack.pipelines.restoration.copies import reports_with_copies
from visual_insertion_pack.pipelines.restoration.report import COPIED
from visual_insertion_pack.pipelines.restoration.restore import restore
from visual_insertion_pack.tests.restoration_parts import cases, photograph, tensor

HELMET, ELLIPSE = cases.CUT_OUTS["helmet"]


def cut_out():
    """The helmet on transparent ground [1,h,w,4], about 100 px wide."""
    source = photograph(HELMET, 256)
    height, width = source.shape[:2]
    x, y, half_width, half_height = (value * (width, height)[number % 2] for number, value in enumerate(ELLIPSE))
    rows, columns = np.mgrid[:height, :width]
    inside = ((columns - x) / half_width) ** 2 + ((rows - y) / half_height) ** 2 < 0.9
    rgba = np.dstack([source, inside])[int(y - half_height) :, int(x - half_width) :]
    return tensor(rgba[: int(2 * half_height) - 1, : int(2 * half_width) - 1])


def pasted(picture, drift):
    """A scene and the cut-out in it, drifted: both [1,H,W,3]."""
    scene = photograph("coffee.png", 384)
    ideal = np.array(scene)
    colours, alpha = picture[0, ..., :3].numpy(), picture[0, ..., 3:].numpy()
    part = ideal[100 : 100 + len(alpha), 120 : 120 + alpha.shape[1]]
    part[:] = part * (1 - alpha) + colours * alpha
    edited, _ = cases.drifted(ideal, drift, cases.seeded("pasted"))
    return tensor(scene), tensor(edited)


@pytest.mark.parametrize("drift", [cases.Drift(), cases.Drift(zoom=1.04, shift=(0.01, 0.01), colour=True)])
def test_a_pasted_object_is_told_through_drift(drift):
    picture = cut_out()
    scene, edited = pasted(picture, drift)
    (report,) = reports_with_copies(restore(scene, edited), picture)
    assert report.verdicts == (COPIED,)


def test_one_of_several_pictures_is_enough_and_another_objects_is_none():
    picture = cut_out()
    scene, edited = pasted(picture, cases.Drift())
    restored = restore(scene, edited)
    other = torch.cat(
        [tensor(photograph("gravel.png"))[:, : picture.shape[1], : picture.shape[2]], picture[..., 3:]], -1
    )
    assert reports_with_copies(restored, other)[0] == restored.reports[0]
    assert COPIED in reports_with_copies(restored, torch.cat([other, picture]))[0].verdicts


def test_an_object_drawn_into_the_scene_is_no_copy():
    """The playroom's true pictures: another view of the object, with the scene's light."""
    benchmark = playroom.playroom(ROOT / "playroom_models" / "judge.safetensors").first(3)
    for number in range(len(benchmark)):
        case = benchmark[number]
        restored = restore(picture_tensor(case.scene), picture_tensor(case.target))
        assert restored.boxes[0] is not None
        for view, _ in case.views():
            assert COPIED not in reports_with_copies(restored, picture_tensor(view))[0].verdicts


def test_where_nothing_was_put_in_nothing_is_said():
    scene = tensor(photograph())
    restored = restore(scene, scene)
    assert reports_with_copies(restored, cut_out()) == restored.reports


@pytest.mark.parametrize(
    ("picture", "said"),
    [
        (torch.full((1, 32, 32, 3), float("nan")), "The object's picture holds values that are not finite"),
        (torch.ones(0, 32, 32, 3), "The object's picture is empty"),
        (torch.ones(32, 32, 3), "The object's picture must be pictures"),
    ],
)
def test_what_is_no_picture_is_refused(picture, said):
    scene = tensor(photograph(side=64))
    with pytest.raises(ValueError, match=said):
        reports_with_copies(restore(scene, scene), picture)


def test_a_wholly_transparent_picture_is_nothing_to_compare_with():
    picture = cut_out()
    scene, edited = pasted(picture, cases.Drift())
    restored = restore(scene, edited)
    hidden = torch.cat([picture[..., :3], picture[..., 3:] * 0], -1)
    assert reports_with_copies(restored, hidden) == restored.reports
