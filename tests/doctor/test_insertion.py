"""What the doctor says of an insertion: found by the change map, the rest bit-equal, or not."""

from types import SimpleNamespace

import pytest
import torch

from visual_insertion_pack.pipelines.doctor import insertion
from visual_insertion_pack.pipelines.doctor.check import OK, PROBLEM
from visual_insertion_pack.pipelines.doctor.insertion import Edit, by_commands, judged, sample, tried
from visual_insertion_pack.pipelines.doctor.installation import Installation

WHOLE = torch.ones(1, 128, 128)


def painted(scene, side):
    """The scene with a red square of so many pixels."""
    edited = scene.clone()
    middle = slice(64 - side // 2, 64 + side // 2)
    edited[:, middle, middle] = torch.tensor([0.9, 0.1, 0.1])
    return edited


def said(insert):
    check, picture = tried("it", lambda pictures: Edit(insert(pictures.scene), pictures.scene, WHOLE))
    return check, picture


def test_the_commands_insert_the_sample_object():
    (check,) = by_commands("it", Installation(None, {}, device="cpu"))
    assert check.state == OK and check.found.startswith("an object of "), check
    assert "% of the pixels are the scene's, bit for bit" in check.found


def test_an_object_is_found_and_the_rest_is_the_scene_bit_for_bit():
    check, picture = said(lambda scene: painted(scene, 30))
    scene = sample().scene
    assert check.state == OK
    assert torch.equal(picture[:, :20], scene[:, :20]) and not torch.equal(picture, scene)


@pytest.mark.parametrize(
    ("insert", "complaint"),
    [
        (lambda scene: scene, "nothing was inserted"),
        (lambda scene: painted(scene, 4), "which is no object's size"),
        (lambda scene: painted(scene, 110), "which is no object's size"),
    ],
)
def test_what_is_no_object_is_a_problem(insert, complaint):
    check, _ = said(insert)
    assert check.state == PROBLEM and complaint in check.found


def test_a_changed_pixel_outside_of_the_effect_is_a_problem():
    scene = sample().scene
    restored = SimpleNamespace(images=scene.clone(), effect=torch.zeros(1, 128, 128), boxes=[(40, 40, 70, 70)])
    assert judged("it", scene, restored, 1.0).state == OK
    restored.images[0, 5, 5, 0] += 1e-6
    assert judged("it", scene, restored, 1.0).found == "pixels outside of the reported effect are not the scene's"


def test_a_result_that_is_not_finite_is_a_problem():
    scene = sample().scene
    restored = SimpleNamespace(images=scene * torch.nan, effect=WHOLE, boxes=[None])
    assert "not finite" in judged("it", scene, restored, 1.0).found


def test_an_incomplete_pack_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(insertion, "MODELS", tmp_path)
    with pytest.raises(FileNotFoundError, match="scene.png"):
        sample()
