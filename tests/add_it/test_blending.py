"""What keeps a run to its scene: exact at both ends of each rule."""

import pytest
import torch

from visual_insertion_pack.pipelines.add_it.blending import blended, inverted, latent_mask, noised, refined_mask


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_a_mask_of_nothing_is_the_source_and_one_of_everything_no_blend():
    target, source = draw(2, 4, 5, 7), draw(2, 4, 5, 7, seed=1)
    nothing = torch.zeros(2, 1, 5, 7)
    assert torch.equal(blended(target, source, nothing), source)
    assert torch.equal(blended(target, source, 1 - nothing), target)


def test_noising_begins_with_the_noise_and_ends_in_the_picture():
    scene, noise = draw(1, 4, 3, 3), draw(1, 4, 3, 3, seed=1)
    assert torch.equal(noised(scene, noise, 1.0), noise)
    assert torch.equal(noised(scene, noise, 0.0), scene)


@pytest.mark.parametrize(("threshold", "cells"), [(0.01, 36), (0.5, 16)])
def test_a_latent_mask_takes_in_what_the_mask_reaches(threshold, cells):
    mask = torch.zeros(1, 8, 8, dtype=torch.bool)
    mask[:, 2:4, 2:4] = True
    grown = latent_mask(mask, 16, 16, threshold)
    assert grown.shape == (1, 1, 16, 16)
    assert int(grown.sum()) == cells


def test_the_rough_mask_is_brought_to_what_changed_in_it():
    scene = 0.5 + 0.02 * draw(96, 96, 3)
    edited = scene.clone()
    y, x = torch.meshgrid(torch.arange(96), torch.arange(96), indexing="ij")
    disc = (y - 50) ** 2 + (x - 40) ** 2 < 14**2
    far = (y - 12) ** 2 + (x - 84) ** 2 < 8**2
    edited[disc] = torch.tensor([0.9, 0.1, 0.1])
    edited[far] = torch.tensor([0.1, 0.1, 0.9])
    rough = torch.zeros(96, 96, dtype=torch.bool)
    rough[32:72, 24:60] = True
    mask = refined_mask(rough, scene, edited)
    overlap = (mask & disc).sum() / (mask | disc).sum()
    assert overlap > 0.85
    assert not mask[far].any()


def test_where_nothing_changed_the_rough_mask_stays():
    scene = torch.rand(64, 64, 3, generator=torch.Generator().manual_seed(0))
    rough = torch.zeros(64, 64, dtype=torch.bool)
    assert torch.equal(refined_mask(rough, scene, scene), rough)
    rough[20:40, 20:40] = True
    assert torch.equal(refined_mask(rough, scene, scene), rough)


def test_more_iterations_bring_an_inversion_nearer_to_its_start():
    matrix = 0.4 * draw(6, 6, seed=3)

    def velocity(latents, sigma):
        return torch.tanh(latents @ matrix) + sigma

    clean = draw(2, 6, seed=4)
    levels = [0.0, 0.3, 0.6, 1.0]
    errors = []
    for iterations in (1, 2, 8):
        latents = inverted(velocity, clean, levels, iterations=iterations)[-1]
        for sigma, lower in zip(levels[::-1], levels[-2::-1], strict=False):
            latents = latents + (lower - sigma) * velocity(latents, sigma)
        errors.append(float((latents - clean).norm() / clean.norm()))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-3
