"""The balance of source and target against a root found in float64."""

import pytest
import torch
from scipy.optimize import brentq

from visual_insertion_pack.pipelines.add_it.gamma_balance import (
    GAMMAS,
    HIGHEST,
    LOWEST,
    GammaBalance,
    balanced_gamma,
    group_masses,
)

TEXT = 9


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def layer(pull=1.0, seed=0):
    """Text queries, target keys and source keys [1,2,..,16]; the targets' logits are about -5 + 10 x pull."""
    query = draw(1, 2, 70, 16, seed=seed) * 0.2 + 2
    key = draw(1, 2, TEXT + 25, 16, seed=seed + 1) * 0.2 + 0.8 * pull
    source = draw(1, 2, 25, 16, seed=seed + 2) * 0.2 + 0.8 * 1.1
    return query, key, source


def masses_in_double(query, key, source, gamma):
    query, key, source = query.double(), key.double(), source.double()
    logits = torch.cat([gamma * key, source], 2)
    chances = (query @ logits.transpose(-1, -2) / 4).softmax(-1)
    target = chances[..., TEXT : key.shape[2]].sum(-1).mean()
    return float(chances[..., key.shape[2] :].sum(-1).mean()), float(target)


def test_masses_are_the_softmaxs_own_for_every_gamma():
    query, key, source = layer()
    masses = group_masses(query, key, source, text_length=TEXT, gammas=(1.0, 1.1, 1.3))
    for column, gamma in enumerate((1.0, 1.1, 1.3)):
        expected = masses_in_double(query, key, source, gamma)
        assert masses[0, :, column].tolist() == pytest.approx(expected, abs=1e-5)


def test_the_balance_is_the_root_of_the_papers_equation():
    query, key, source = layer()
    balance = GammaBalance()
    balance.add(query, key, source, text_length=TEXT)

    def difference(gamma):
        from_source, from_target = masses_in_double(query, key, source, gamma)
        return from_source - from_target

    root = brentq(difference, LOWEST, HIGHEST)
    assert LOWEST + 0.02 < root < HIGHEST - 0.02
    assert float(balance.gamma()) == pytest.approx(root, abs=1e-3)


@pytest.mark.parametrize(("pull", "end"), [(2.0, LOWEST), (0.5, HIGHEST)])
def test_without_a_root_the_nearer_end_counts(pull, end):
    query, key, source = layer(pull)
    masses = group_masses(query, key, source, text_length=TEXT)
    assert float(balanced_gamma(masses)) == pytest.approx(end)


def test_rows_are_balanced_one_by_one():
    rows = [layer(pull) for pull in (2.0, 1.0)]
    masses = group_masses(*(torch.cat(parts) for parts in zip(*rows, strict=True)), text_length=TEXT)
    together = balanced_gamma(masses)
    alone = [balanced_gamma(group_masses(*row, text_length=TEXT)) for row in rows]
    torch.testing.assert_close(together, torch.cat(alone))
    assert len(GAMMAS) == masses.shape[2]


def test_nothing_to_balance_is_said():
    with pytest.raises(ValueError, match="No layer was looked at"):
        GammaBalance().gamma()
    with pytest.raises(ValueError, match="not finite"):
        balanced_gamma(torch.full((1, 2, 21), torch.nan))
