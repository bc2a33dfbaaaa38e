"""The playroom's toys with few pictures each, as a benchmark with the oracle's findings."""

import numpy as np
import pytest

from visual_insertion_pack.devtools.pack import ROOT
from visual_insertion_pack.pipelines.pictures.masks import array_box
from visual_insertion_pack.pipelines.playroom.judging import few_shot
from visual_insertion_pack.pipelines.playroom.judging.few_shot import playroom_objects


@pytest.fixture(scope="module")
def benchmark():
    return playroom_objects(ROOT / "playroom_models" / "judge.safetensors")


def test_each_toy_is_pictured_in_rooms_and_goes_into_others(benchmark):
    assert len(benchmark) == 64 and benchmark.names[:2] == ("toy0_00", "toy0_01") and benchmark.names[8] == "toy1_00"
    first, second, other = (benchmark[index] for index in (0, 1, 8))
    assert len(first.objects) == 4 and not np.array_equal(first.scene, second.scene)
    for one, same, different in zip(first.objects, second.objects, other.objects, strict=True):
        assert np.array_equal(one, same) and not np.array_equal(one, different)
    rooms = [np.asarray(picture).tobytes() for picture in (*first.objects, first.scene, first.target)]
    assert len(set(rooms)) == 6
    for picture, mask in first.views():
        x0, y0, x1, y1 = array_box(mask)
        assert mask.sum() == (x1 - x0) * (y1 - y0) and mask.shape[::-1] == picture.size


def test_the_oracle_knows_the_toy_that_goes_there(benchmark):
    case = benchmark[9]
    right = benchmark.judge(case, case.target, None)
    assert right["oracle_inserted"] == right["oracle_supported"] == 1 and right["oracle_identity"] > 0.95
    assert benchmark.judge(case, case.scene, None)["oracle_inserted"] == 0


def test_others_are_toys_of_its_shape(benchmark):
    case = benchmark[0]
    others = benchmark.others(case)
    assert len(others) == few_shot.OTHERS
    pictures = {np.asarray(picture).tobytes() for picture, _ in others}
    assert len(pictures) == len(others) and not pictures & {np.asarray(view).tobytes() for view in case.objects}
    for (picture, mask), (again, _) in zip(others, benchmark.others(benchmark[1]), strict=True):
        assert np.array_equal(picture, again) and mask.any()


def test_its_judge_must_be_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="judge.safetensors is missing: the judge of shapes and patterns"):
        playroom_objects(tmp_path / "judge.safetensors")
