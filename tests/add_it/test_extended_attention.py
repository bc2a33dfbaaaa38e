"""Extended attention against a reference in float64, and what it must be equal to."""

import pytest
import torch
import torch.nn.functional as F

from visual_insertion_pack.pipelines.add_it.extended_attention import (
    extended_attention,
    extended_keys_values,
    padded_mask,
    source_rows,
)

TEXT = 7


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def attend(query, key, value, mask=None):
    return F.scaled_dot_product_attention(query, key, value, mask)


def reference(query, key, value, source_key, source_value, gamma):
    """Equations 2 and 3 in the paper's own order of keys, in float64."""
    q, k, v, ks, vs = (each.double() for each in (query, key, value, source_key, source_value))
    keys = torch.cat([ks, gamma * k[:, :, :TEXT], gamma * k[:, :, TEXT:]], 2)
    values = torch.cat([vs, v[:, :, :TEXT], v[:, :, TEXT:]], 2)
    return (q @ keys.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1) @ values


def relative(values, expected):
    return float((values.double() - expected.double()).norm() / expected.double().norm())


@pytest.mark.parametrize(("batch", "image", "source"), [(1, 16, 16), (3, 35, 35), (2, 21, 40)])
@pytest.mark.parametrize("gamma", [1.0, 1.05, 1.4])
def test_it_is_the_papers_equation(batch, image, source, gamma):
    query, key, value = (draw(batch, 4, TEXT + image, 16, seed=seed) for seed in range(3))
    source_key, source_value = (draw(batch, 4, source, 16, seed=seed) for seed in (3, 4))
    keys, values = extended_keys_values(key, value, source_key, source_value, gamma)
    expected = reference(query, key, value, source_key, source_value, gamma)
    assert relative(attend(query, keys, values), expected) <= 1e-5


def test_each_row_may_have_a_gamma_of_its_own():
    key, value, source_key, source_value = (draw(2, 4, 9, 8, seed=seed) for seed in range(4))
    keys, _ = extended_keys_values(key, value, source_key, source_value, torch.tensor([1.0, 1.3]))
    torch.testing.assert_close(keys[0, :, :9], key[0])
    torch.testing.assert_close(keys[1, :, :9], key[1] * 1.3)
    torch.testing.assert_close(keys[:, :, 9:], source_key)


def test_duplicated_keys_with_gamma_one_are_plain_attention():
    query, key, value = (draw(2, 4, 12, 16, seed=seed) for seed in range(3))
    keys, values = extended_keys_values(key, value, key, value, 1.0)
    assert relative(attend(query, keys, values), attend(query, key, value)) <= 1e-6


def test_one_source_row_serves_all_targets_and_pairs_repeat_under_guidance():
    rows = torch.arange(2.0)[:, None]
    assert source_rows(4, rows)[:, 0].tolist() == [0, 1, 0, 1]
    assert source_rows(3, rows[1:])[:, 0].tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match="3 target rows cannot share 2 source rows"):
        source_rows(3, rows)


def test_rows_in_one_call_are_two_passes_and_the_source_is_left_alone():
    query, key, value = (draw(4, 4, TEXT + 30, 16, seed=seed) for seed in range(3))
    output = extended_attention(query, key, value, sources=1, text_length=TEXT, gamma=1.1, attend=attend)
    expected = reference(
        query[:3],
        key[:3],
        value[:3],
        key[3:, :, TEXT:].expand(3, -1, -1, -1),
        *[value[3:, :, TEXT:].expand(3, -1, -1, -1)],
        1.1,
    )
    assert relative(output[:3], expected) <= 1e-5
    torch.testing.assert_close(output[3:], attend(query[3:], key[3:], value[3:]))


@pytest.mark.parametrize("boolean", [True, False])
def test_a_mask_of_the_targets_keys_leaves_the_sources_visible(boolean):
    query, key, value = (draw(3, 2, TEXT + 8, 16, seed=seed) for seed in range(3))
    seen = torch.ones(3, 1, 1, TEXT + 8, dtype=torch.bool)
    seen[:, ..., 2:5] = False
    mask = seen if boolean else torch.zeros(seen.shape).masked_fill(~seen, -torch.inf)
    output = extended_attention(query, key, value, sources=1, text_length=TEXT, gamma=1.1, attend=attend, mask=mask)
    left = [column for column in range(TEXT + 8) if column not in (2, 3, 4)]
    keys, values = extended_keys_values(
        key[:2, :, left], value[:2, :, left], key[2:, :, TEXT:], value[2:, :, TEXT:], 1.1
    )
    torch.testing.assert_close(output[:2], attend(query[:2], keys, values), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(output[2:], attend(query[2:], key[2:], value[2:]))
    assert padded_mask(None, 4) is None
