"""Light over the whole picture is no insertion, and does not hide one."""

import numpy as np
import pytest
from PIL import Image

from visual_insertion_pack.devtools.pack import ROOT
from visual_insertion_pack.pipelines.evaluation import placement
from visual_insertion_pack.pipelines.evaluation.vae_noise import load_round_trip
from visual_insertion_pack.pipelines.playroom.judging.benchmark import playroom

CASES = 6


@pytest.fixture(scope="module")
def cases():
    """[(case, what the VAE makes of its scene, what it makes of its target)] of the playroom."""
    root = ROOT / "playroom_models"
    benchmark = playroom(root / "judge.safetensors")
    round_trip = load_round_trip(root / "vae")
    return [
        (case, round_trip(case.scene), round_trip(case.target)) for case in (benchmark[index] for index in range(CASES))
    ]


def lit(picture, gain, shift=0):
    return Image.fromarray(np.clip(np.round(np.asarray(picture, np.float32) * gain + shift), 0, 255).astype(np.uint8))


@pytest.mark.parametrize(
    ("gain", "shift"),
    [(0.85, 0), (0.7, 0), (1.15, 0), ((1.1, 1.0, 0.85), 0), (1, 20), (1, -20)],
    ids=["dark", "darker", "bright", "tinted", "lifted", "lowered"],
)
def test_light_is_no_insertion_and_hides_none(cases, gain, shift):
    for case, scene, target in cases:
        for vae_scene, old, new in ((None, case.scene, case.target), (scene, scene, target)):
            assert placement.inserted_box(lit(old, gain, shift), case.scene, vae_scene) is None
            found = placement.inserted_box(lit(new, gain, shift), case.scene, vae_scene)
            expected = placement.inserted_box(new, case.scene, vae_scene)
            assert found and placement.iou(found, expected) > 0.5


@pytest.mark.parametrize("side", [30, 60, 90, 110])  # of 128
def test_light_is_not_looked_for_beside_an_object_up_to_most_of_the_picture(cases, side):
    for case, *_ in cases:
        box = (5, 5, 5 + side, 5 + side)
        result = case.scene.copy()
        result.paste(lit(case.scene, 0.4).crop(box), box)
        found = placement.inserted_box(result, case.scene)
        assert found and placement.iou(found, box) > 0.9


@pytest.mark.parametrize("colour", [(255, 255, 255), (0, 0, 0), (255, 0, 255)])
def test_a_blank_picture_is_no_light(cases, colour):
    for case, *_ in cases:
        assert placement.inserted_box(Image.new("RGB", case.scene.size, colour), case.scene) is None
