"""The map of where an object mattered: what counts, how maps are scaled."""

import pytest
import torch

from visual_insertion_pack.pipelines.sampling.relevance import Relevance, normalised

QUIET = 0.1 * torch.rand(1, 32, 32, generator=torch.Generator().manual_seed(0))


def level_of(share):
    """A schedule from 10 to 0."""
    return 10 * (1 - share)


def predictions(difference):
    scene = torch.zeros_like(difference)[:, None].expand(-1, 4, -1, -1)
    return {"scene": scene, "full": scene - difference[:, None], "empty": scene}


def with_object(side, height=1.0):
    maps = QUIET.clone()
    maps[:, 4 : 4 + side, 4 : 4 + side] += height
    return maps


def test_steps_between_the_two_levels_count_as_noise():
    relevance = Relevance(0.25, 0.75)
    for sigma, side in ((9.0, 20), (7.5, 4), (5.0, 4), (2.5, 20), (1.0, 20)):
        relevance.add(sigma, level_of, predictions(with_object(side, sigma)))
    assert relevance.steps == 2
    expected = (with_object(4, 7.5) / 7.5 + with_object(4, 5.0) / 5)[0]
    assert torch.allclose(relevance.total[0], expected)


def test_a_step_without_both_branches_does_not_count():
    relevance = Relevance()
    for missing in ("full", "scene"):
        step = predictions(with_object(4))
        del step[missing]
        relevance.add(5.0, level_of, step)
    assert relevance.steps == 0
    assert torch.equal(relevance.masks((1, 250, 251), 8), torch.ones(1, 250, 251))


@pytest.mark.parametrize("side", [1, 3, 10, 20])
def test_an_object_of_any_size_is_white_on_black(side):
    scaled = normalised(with_object(side))[0]
    assert (scaled[4 : 4 + side, 4 : 4 + side] > 0.5).all() and (scaled > 0.5).sum() == side**2
    assert scaled.min() == 0 and scaled.max() == 1 and (scaled == 0).float().mean() > 0.3


def test_each_picture_of_a_batch_has_a_scale_of_its_own():
    batch = torch.cat([with_object(6), 1000 * with_object(6)])
    first, second = normalised(batch)
    assert torch.allclose(first, second, atol=1e-5)


def test_a_map_without_a_difference_is_black():
    assert torch.equal(normalised(torch.full((2, 8, 8), 3.0)), torch.zeros(2, 8, 8))


def test_a_map_is_enlarged_to_the_scene_and_its_padding_cut_off():
    relevance = Relevance()
    relevance.add(5.0, level_of, predictions(with_object(6)))
    where = relevance.masks((1, 249, 255), 8)
    assert where.shape == (1, 249, 255)
    assert (where[:, 40:72, 40:72] > 0.9).all() and (where[:, 100:] < 0.2).all()


def test_where_the_object_is_not_allowed_it_does_not_matter():
    relevance = Relevance()
    relevance.add(5.0, level_of, predictions(with_object(6)))
    free = torch.ones(1, 1, 32, 32)
    free[:, :, :16] = 0
    where = relevance.masks((1, 256, 256), 8, free)
    assert not where[:, :120].any() and where[:, 140:].any()
