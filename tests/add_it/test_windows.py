"""Windows as shares of a schedule, whatever the schedule."""

import pytest
import torch

from visual_insertion_pack.pipelines.add_it.windows import (
    GENERATED,
    REAL,
    AddItSettings,
    flux_percent_to_sigma,
    is_before,
    nearest_level,
    share_of,
)

SHIFTED = flux_percent_to_sigma(1.15)
PLAIN = flux_percent_to_sigma(0)


def levels(percent_to_sigma, steps=30):
    return [percent_to_sigma(step / steps) for step in range(steps + 1)]


def test_the_shifted_schedule_is_fluxs():
    table = {2: 0.9779, 4: 0.9535, 10: 0.8633, 15: 0.7595, 18: 0.6780, 20: 0.6123}
    for step, sigma in table.items():
        assert SHIFTED(step / 30) == pytest.approx(sigma, abs=1e-4)
    assert PLAIN(0.25) == 0.75


@pytest.mark.parametrize("percent_to_sigma", [SHIFTED, PLAIN])
def test_the_published_steps_are_inside_the_windows(percent_to_sigma):
    sigmas = levels(percent_to_sigma)
    for single, last in ((False, 10), (True, 20)):
        inside = [is_before(sigma, REAL.until(single), percent_to_sigma) for sigma in sigmas]
        assert inside == [step <= last for step in range(31)]
    assert REAL.extended_until == REAL.single_until


def test_a_level_off_by_rounding_is_the_same_step():
    sigma = float(torch.tensor(SHIFTED(11 / 30), dtype=torch.float32))
    assert not is_before(sigma + 2e-5, REAL.double_until, SHIFTED)


def test_windows_of_everything_and_of_nothing():
    for sigma in (1.0, 0.5, 1e-6):
        assert is_before(sigma, 1, PLAIN)
        assert not is_before(sigma, 0, PLAIN)


def test_the_nearest_level_and_how_far_off_it_is():
    level = nearest_level(levels(SHIFTED), REAL.start, SHIFTED)
    assert level.index == 4
    assert not level.far
    karras = [1.0, 0.4, 0.2, 0.1, 0.0]
    off = nearest_level(karras, REAL.start, SHIFTED)
    assert off.index == 0
    assert off.far
    assert off.distance == pytest.approx(4 / 30, abs=1e-3)
    coarse = nearest_level(levels(SHIFTED, 10), REAL.start, SHIFTED)
    assert not coarse.far  # ten even steps can do no better
    with pytest.raises(ValueError, match="no steps"):
        nearest_level([1.0], 0.1, SHIFTED)


def test_a_share_is_found_back():
    for share in (0.0, 0.13, 0.5, 1.0):
        assert share_of(SHIFTED(share), SHIFTED) == pytest.approx(share, abs=1e-6)


def test_settings_out_of_range_are_refused():
    assert GENERATED.start < REAL.start
    with pytest.raises(ValueError, match="gamma must be above 0"):
        AddItSettings(gamma=0)
    with pytest.raises(ValueError, match="double_until must be a share"):
        AddItSettings(double_until=1.2)
    with pytest.raises(ValueError, match="must come after start"):
        AddItSettings(start=0.5, blend=0.5)
