"""Which scenes are called far from a model's size."""

import pytest

from visual_insertion_pack.pipelines.fitting.working_sizes import size_remark


@pytest.mark.parametrize(
    "size", [(128, 128, 128), (130, 117, 128), (512, 512, 512), (512, 320, 512), (768, 512, 512), (512, 384, 512)]
)
def test_a_scene_near_the_models_size_gets_no_remark(size):
    assert size_remark(*size) == ""


@pytest.mark.parametrize("size", [(512, 384, 128), (1024, 768, 512), (4000, 3000, 512), (256, 256, 128)])
def test_a_scene_that_is_too_large_gives_several_objects(size):
    width, height, working_size = size
    remark = size_remark(*size)
    assert f"{width}x{height} px" in remark
    assert f"about {working_size}: expect several objects" in remark
    assert f"working_size {working_size}" in remark


def test_a_scene_that_is_too_small_gives_a_blurred_one():
    assert "128x128 px" in size_remark(128, 128, 512)
    assert "blurred" in size_remark(128, 128, 512)


@pytest.mark.parametrize("size", [(0, 5, 5), (5, 5, 0), (5, -1, 5)])
def test_a_size_that_is_none_is_refused(size):
    with pytest.raises(ValueError, match="at least 1 px"):
        size_remark(*size)
