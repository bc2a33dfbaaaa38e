"""Laws of three-branch guidance (InstructPix2Pix, arXiv 2211.09800, eq. 3)."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from visual_insertion_pack.pipelines.sampling.guidance import (
    BRANCHES,
    Guidance,
    Scales,
    coefficients,
    combine,
    needed_branches,
    scales_at,
)

law = settings(deadline=None, database=None, derandomize=True)
scale = st.floats(0, 30, allow_subnormal=False)
share = st.floats(0, 1, allow_subnormal=False)
seeds = st.integers(0, 2**32)


def draw(seed=0, shape=(2, 4, 3, 5)):
    """Random predictions of all branches, float64."""
    generator = torch.Generator().manual_seed(seed)
    return {branch: torch.randn(shape, generator=generator, dtype=torch.float64) for branch in BRANCHES}


def linear(percent):
    """Noise level 1 at the start of the schedule, 0 at its end."""
    return 1 - percent


def combined(seed=0, shape=(2, 4, 3, 5), **values):
    guidance = Guidance(**values)
    scales = Scales(guidance.object_scale, guidance.scene_scale)
    predictions = draw(seed, shape)
    return combine(guidance, scales, {name: predictions[name] for name in needed_branches(guidance, scales)})


@law
@given(s_t=scale, s_i=scale, seed=seeds)
def test_the_collected_form_is_equation_3(s_t, s_i, seed):
    e = draw(seed)
    expected = e["empty"] + s_i * (e["scene"] - e["empty"]) + s_t * (e["full"] - e["scene"])
    torch.testing.assert_close(combined(seed, object_scale=s_t, scene_scale=s_i), expected, rtol=1e-9, atol=1e-9)


@law
@given(s_t=scale, s_i=scale)
def test_weights_add_up_to_one(s_t, s_i):
    assert sum(coefficients(Scales(s_t, s_i)).values()) == pytest.approx(1)


@law
@given(s_t=scale, s_i=scale, a=st.floats(-3, 3), b=st.floats(0.1, 3))
def test_noise_velocity_and_picture_are_guided_alike(s_t, s_i, a, b):
    guidance, scales = Guidance(s_t, s_i), Scales(s_t, s_i)
    e, noisy = draw(), torch.linspace(-1, 1, 2 * 4 * 3 * 5, dtype=torch.float64).view(2, 4, 3, 5)
    changed = combine(guidance, scales, {name: a * noisy + b * x for name, x in e.items()})
    torch.testing.assert_close(changed, a * noisy + b * combine(guidance, scales, e), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    ("s_t", "s_i", "needed"),
    [
        (7.5, 1.5, ("empty", "scene", "full")),
        (7.5, 1.0, ("scene", "full")),
        (1.5, 1.5, ("empty", "full")),
        (0.0, 1.5, ("empty", "scene")),
        (1.0, 1.0, ("full",)),
        (0.0, 1.0, ("scene",)),
        (0.0, 0.0, ("empty",)),
    ],
)
def test_a_branch_without_weight_is_not_evaluated(s_t, s_i, needed):
    assert needed_branches(Guidance(s_t, s_i), Scales(s_t, s_i)) == needed


@law
@given(s_t=scale, s_i=scale, object_rescale=share, scene_rescale=share)
def test_what_is_needed_is_enough(s_t, s_i, object_rescale, scene_rescale):
    settings = dict(object_scale=s_t, scene_scale=s_i, object_rescale=object_rescale, scene_rescale=scene_rescale)
    assert torch.isfinite(combined(**settings)).all()


@law
@given(start=share, end=share, sigma=share)
def test_outside_its_interval_a_scale_is_one(start, end, sigma):
    start, end = sorted((start, end))
    guidance = Guidance(7.5, 1.5, object_start=start, object_end=end)
    inside = (start <= 0 or sigma <= 1 - start) and not (end < 1 and sigma <= 1 - end)
    assert scales_at(guidance, sigma, linear) == (7.5 if inside else 1.0, 1.5)


def test_the_whole_schedule_includes_both_of_its_ends():
    for sigma in (float("inf"), 1.0, 0.0):
        assert scales_at(Guidance(7.5, 1.5), sigma, linear) == (7.5, 1.5)


def test_each_term_has_its_own_interval():
    guidance = Guidance(7.5, 1.5, object_start=0.25, object_end=0.75, scene_end=0.5)
    scales = [scales_at(guidance, 1 - done, linear) for done in (0.1, 0.3, 0.6, 0.9)]
    assert scales == [(1, 1.5), (7.5, 1.5), (7.5, 1), (1, 1)]
    assert [len(needed_branches(guidance, s)) for s in scales] == [3, 3, 2, 1]


def test_rescale_zero_is_off():
    assert torch.equal(combined(object_rescale=0.0, scene_rescale=0.0), combined())


def test_full_rescale_gives_the_spread_of_the_conditional_prediction():
    e = draw()
    steered = combined(object_scale=9.0, object_rescale=1.0)
    torch.testing.assert_close(steered.std((1, 2, 3)), e["full"].std((1, 2, 3)))
    steered = combined(object_scale=0.0, scene_scale=4.0, scene_rescale=1.0)
    torch.testing.assert_close(steered.std((1, 2, 3)), e["scene"].std((1, 2, 3)))


@law
@given(part=share)
def test_rescale_goes_straight_from_off_to_full(part):
    off, half, full = (combined(object_rescale=r) for r in (0.0, part, 1.0))
    torch.testing.assert_close(half, torch.lerp(off, full, torch.tensor(part, dtype=off.dtype)))


def test_a_flat_prediction_survives_rescale():
    flat = {branch: torch.zeros(1, 4, 2, 2) for branch in BRANCHES}
    guidance = Guidance(object_rescale=1.0, scene_rescale=1.0)
    assert torch.equal(combine(guidance, Scales(7.5, 1.5), flat), flat["full"])


def test_a_scale_of_one_is_not_rescaled():
    torch.testing.assert_close(combined(object_scale=1.0, scene_scale=1.0, object_rescale=1.0), draw()["full"])


def test_every_item_of_a_batch_is_guided_alone():
    guidance, scales = Guidance(object_rescale=0.7, scene_rescale=0.3), Scales(7.5, 1.5)
    e = draw(shape=(3, 4, 5, 5))
    together = combine(guidance, scales, e)
    alone = [combine(guidance, scales, {k: x[i : i + 1] for k, x in e.items()}) for i in range(3)]
    torch.testing.assert_close(together, torch.cat(alone))


@pytest.mark.parametrize(
    "values",
    [
        {"object_start": -0.1},
        {"object_end": 1.1},
        {"object_start": 0.6, "object_end": 0.4},
        {"scene_start": 0.6, "scene_end": 0.4},
        {"object_rescale": -0.1},
        {"scene_rescale": 1.1},
        {"object_start": float("nan")},
        {"scene_rescale": float("nan")},
    ],
)
def test_bad_settings_are_refused(values):
    with pytest.raises(ValueError, match=next(iter(values)).split("_")[0]):
        Guidance(**values)
