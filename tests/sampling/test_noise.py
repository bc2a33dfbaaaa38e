"""The noise of a run, by one seed or one for each picture."""

import pytest
import torch

from visual_insertion_pack.pipelines.sampling.latents import first_noise, step_generator, step_generators

SCENES = torch.zeros(2, 4, 3, 5)


def test_of_several_seeds_each_picture_has_the_noise_that_it_has_alone():
    together = first_noise(None, SCENES, [7, 3])
    assert torch.equal(together, torch.cat([first_noise(None, SCENES[:1], seed) for seed in (7, 3)]))
    assert not torch.equal(first_noise(None, SCENES, 7)[1], together[1])
    cpu = torch.device("cpu")
    draws = [torch.randn(3, generator=one) for one in step_generators([7, 3], cpu)]
    alone = [torch.randn(3, generator=step_generator(seed, cpu)) for seed in (7, 3)]
    assert all(torch.equal(*pair) for pair in zip(draws, alone, strict=True))


def test_seeds_of_another_number_are_refused():
    with pytest.raises(ValueError, match="There are 3 seeds for 2 pictures"):
        first_noise(None, SCENES, [1, 2, 3])
