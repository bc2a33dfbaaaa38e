"""The subject's map by probe values, and what is made of it."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from visual_insertion_pack.pipelines.add_it.subject_map import (
    SubjectMap,
    attention_masses,
    mask_note,
    otsu_threshold,
    peaks,
    probe_values,
    rough_mask,
    smoothed_map,
    subject_box,
    token_columns,
)


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def attend(query, key, value, mask=None):
    return F.scaled_dot_product_attention(query, key, value, mask)


def hill(height=12, width=9, row=3, column=6, spread=1.2):
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * spread**2))


def test_probe_values_tell_the_exact_masses_without_a_matrix():
    query, key = draw(2, 4, 30, 16, seed=1), draw(2, 4, 50, 16, seed=2)
    columns = token_columns([[3, 4], [7]], 50)
    masses = attention_masses(query, key, columns, attend)
    chances = (query.double() @ key.double().transpose(-1, -2) / 4).softmax(-1).mean(1)
    torch.testing.assert_close(masses[0, 0].double(), chances[0, :, 3:5].sum(-1), rtol=0, atol=1e-6)
    torch.testing.assert_close(masses[1, 0].double(), chances[1, :, 7], rtol=0, atol=1e-6)
    everything = attention_masses(query, key, torch.ones(1, 1, 50, dtype=torch.bool), attend)
    torch.testing.assert_close(everything, torch.ones_like(everything))


def test_probes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        probe_values(token_columns([[1]], 5), draw(1, 2, 6, 8))


def test_layers_and_steps_are_summed_and_other_sizes_refused():
    subject = SubjectMap()
    with pytest.raises(ValueError, match="no subject map"):
        subject.picture(2, 3)
    subject.add(torch.ones(1, 6))
    subject.add(torch.arange(6.0)[None])
    assert subject.picture(2, 3)[0].tolist() == [[1, 2, 3], [4, 5, 6]]
    with pytest.raises(ValueError, match="6 tokens is none of 2x2"):
        subject.picture(2, 2)


def test_otsu_has_the_greatest_variance_between_the_groups():
    values = torch.cat([draw(200, seed=1) * 0.1, draw(60, seed=2) * 0.1 + 1])
    threshold = otsu_threshold(values)

    def between(cut):
        low, high = values[values <= cut].numpy(), values[values > cut].numpy()
        return len(low) * len(high) * (low.mean() - high.mean()) ** 2

    best = max(between(cut) for cut in np.linspace(float(values.min()) + 1e-3, float(values.max()) - 1e-3, 500))
    assert between(threshold) >= best * (1 - 1e-6)
    assert otsu_threshold(torch.full((5,), 2.0)) == 2


def test_the_mask_its_box_and_points_lie_on_the_hill():
    maps = hill()[None]
    mask = rough_mask(maps)[0]
    assert mask[3, 6]
    assert 4 <= int(mask.sum()) <= 40
    assert mask_note(mask) is None
    points = peaks(maps[0], mask, height=120, width=90)
    assert points[0] == (65, 35)
    x0, y0, x1, y1 = subject_box(mask, height=120, width=90)
    assert x0 <= 65 < x1
    assert y0 <= 35 < y1


def test_two_hills_have_a_point_each():
    maps = hill(16, 16, 3, 3) + 0.8 * hill(16, 16, 12, 12)
    points = peaks(maps, rough_mask(maps[None])[0], height=16, width=16, most=2)
    assert points == [(3, 3), (12, 12)]


def test_a_flat_map_is_an_empty_mask_and_no_points():
    flat = torch.full((1, 5, 7), 0.3)
    assert not smoothed_map(flat).any()
    mask = rough_mask(flat)[0]
    assert not mask.any()
    assert peaks(flat[0], mask, height=50, width=70) == []
    assert subject_box(mask, height=50, width=70) is None
    assert "nowhere" in mask_note(mask)
    assert "whole picture" in mask_note(torch.ones(5, 7))
    with pytest.raises(ValueError, match="not finite"):
        smoothed_map(torch.full((1, 5, 7), torch.nan))
