"""The mathematics of a student's training: runs of its teacher, and what leaps are compared with."""

import pytest
import torch

from visual_insertion_pack.pipelines.sampling.guidance import Guidance
from visual_insertion_pack.pipelines.visual_insertion.distillation.scale_tokens import ScaleTokens, scale_features
from visual_insertion_pack.pipelines.visual_insertion.distillation.training.config import Scales
from visual_insertion_pack.pipelines.visual_insertion.distillation.training.run_maker import draw_scales, split
from visual_insertion_pack.pipelines.visual_insertion.distillation.training.runs import (
    Runs,
    Teacher,
    clean_of,
    guided_run,
    simple_times,
    smooth_run,
    spread_times,
)
from visual_insertion_pack.pipelines.visual_insertion.distillation.training.student_task import LeapTask

SHAPE = (2, 4, 3, 3)
LEVELS = torch.linspace(0.03, 14.6, 1000)
CLEAN = torch.randn(SHAPE, generator=torch.Generator().manual_seed(5))


def output_for(clean, latent, time, velocity):
    """What a UNet gives that takes a latent for noise over `clean`."""
    sigma = LEVELS[time]
    signal = (1 + sigma**2).rsqrt()
    noise = (latent / signal - clean) / sigma
    return signal * noise - signal * sigma * clean if velocity else noise


def knows_the_answer(velocity):
    """predict(latent, time) of a UNet for which every picture is CLEAN."""
    return lambda latent, time: output_for(CLEAN, latent, time, velocity)


@pytest.mark.parametrize("velocity", [True, False])
def test_an_output_means_the_clean_latents(velocity):
    latent = torch.randn(SHAPE)
    output = knows_the_answer(velocity)(latent, torch.tensor(700))
    torch.testing.assert_close(clean_of(output, latent, LEVELS[700], velocity), CLEAN, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("ancestral", [True, False])
@pytest.mark.parametrize("velocity", [True, False])
def test_a_guided_run_ends_where_its_unet_leads(ancestral, velocity):
    times = simple_times(6, 1000)
    generator = torch.Generator().manual_seed(0)
    run = guided_run(knows_the_answer(velocity), times, LEVELS, SHAPE, velocity, generator, ancestral=ancestral)
    latents, outputs = run
    assert latents.shape == outputs.shape == (2, 6, 4, 3, 3)
    last = clean_of(outputs[:, -1], latents[:, -1], LEVELS[times[-1]], velocity)
    torch.testing.assert_close(last, CLEAN, atol=1e-3, rtol=1e-3)


def test_a_smooth_run_is_the_hosts_dpmpp_2m(comfy):
    from comfy.k_diffusion.sampling import sample_dpmpp_2m

    times = simple_times(7, 1000)

    def unet(latent, _):
        return torch.tanh(latent) * 0.5

    run = smooth_run(unet, times, LEVELS, SHAPE, True, torch.Generator().manual_seed(3))
    sigmas = torch.cat([LEVELS[times], torch.zeros(1)])
    noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(3)) * (1 + sigmas[0] ** 2).sqrt()

    def model(x, sigma, **_):
        latent = x / (1 + sigma[0] ** 2).sqrt()
        return clean_of(unet(latent, None), latent, sigma[0], True)

    expected = sample_dpmpp_2m(model, noise, sigmas, extra_args={}, disable=True)
    torch.testing.assert_close(run[:, -1], expected, atol=1e-4, rtol=1e-4)


def test_the_simple_times_are_the_hosts(comfy):
    from comfy.model_sampling import ModelSamplingDiscrete
    from comfy.samplers import calculate_sigmas

    sampling = ModelSamplingDiscrete()
    for steps in (1, 3, 4, 7, 8, 12):
        theirs = calculate_sigmas(sampling, "simple", steps)[:-1]
        torch.testing.assert_close(sampling.sigmas[simple_times(steps, 1000)].float(), theirs)


def test_spread_times_start_at_the_noisiest_and_fall():
    for seed in range(20):
        times = spread_times(12, 1000, torch.Generator().manual_seed(seed))
        assert times[0] == 999 and (times.diff() < 0).all() and times[-1] >= 0


def test_a_teacher_answers_each_sample_with_its_own_scales():
    class UNet:
        dtype = torch.float32

        def __call__(self, inputs, time, encoder_hidden_states):
            class Output:
                sample = inputs[:, :4] * 0 + inputs[:, 4:] + encoder_hidden_states.mean((1, 2))[:, None, None, None]

            return Output

    scene = torch.full(SHAPE, 2.0)
    context = torch.full((2, 5, 6), 7.0)
    scales = torch.tensor([[1.0, 1.0], [3.0, 1.5]])
    guided = Teacher(UNet(), torch.ones(5, 6))(torch.zeros(SHAPE), torch.tensor(3), scene, context, scales)
    # e(0,0) = 1, e(I,0) = 3, e(I,O) = 9
    assert guided[:, 0, 0, 0].tolist() == [9.0, 1 + 1.5 * 2 + 3 * 6]


def test_scales_are_near_the_recommended_or_anywhere_in_the_ranges():
    scales = Scales(object_scale=(1.0, 4.0), scene_scale=(1.0, 1.6), near=0.5, nearness=0.1)
    drawn = draw_scales(1000, scales, Guidance(2.5, 1.2), torch.Generator().manual_seed(0))
    assert drawn.min() >= 1 and drawn[:, 0].max() <= 4 and drawn[:, 1].max() <= 1.6
    near = ((drawn[:, 0] - 2.5).abs() <= 0.25).float().mean()
    assert 0.5 < near < 0.65  # some of the others are near by chance


def test_features_tell_scales_apart_over_their_whole_range():
    ranges = ((1.0, 9.0), (1.0, 2.0))
    scales = torch.cartesian_prod(torch.linspace(1, 9, 17), torch.linspace(1, 2, 9))
    features = scale_features(scales, ranges)
    distance = torch.cdist(features, features) + 10 * torch.eye(len(features))
    assert features.shape == (len(scales), 16) and distance.min() > 0.1
    assert ScaleTokens(3, 32, ranges)(scales).shape == (len(scales), 3, 32)


def runs_of(latent, times):
    count = len(latent)
    return Runs(
        scene=torch.zeros(count, 4, 3, 3),
        context=torch.zeros(count, 2, 8),
        scales=torch.ones(count, 2),
        latent=latent,
        time=times.expand(count, -1),
    )


@pytest.mark.parametrize("velocity", [True, False])
def test_a_leap_is_right_when_it_leads_to_the_steps_end(velocity):
    """On the straight run of a UNet that knows the answer, the answer is what every leap is compared with."""
    times = torch.tensor([999, 900, 700, 500, 300, 100])
    latents = smooth_run(knows_the_answer(velocity), times, LEVELS, SHAPE, velocity, torch.Generator().manual_seed(0))
    runs = runs_of(latents, times)
    task = LeapTask(torch.nn.Identity(), ScaleTokens(1, 8, ((1, 2), (1, 2))), runs, runs, LEVELS, 8, velocity, inside=3)
    share = task.draw(0, torch.Generator().manual_seed(1))
    batch = task.fetch(share)
    torch.testing.assert_close(batch["clean"], CLEAN[share["index"]], atol=2e-3, rtol=2e-3)
    assert set(share["level"].tolist()) <= set(range(6))
    clean = CLEAN[share["index"]]
    task.output = lambda batch: output_for(clean, batch["latent"], batch["time"][:, None, None, None], velocity)
    assert task.loss(batch)["loss"] < 1e-4
    task.output = lambda batch: output_for(clean + 1, batch["latent"], batch["time"][:, None, None, None], velocity)
    assert task.loss(batch)["loss"] >= 1


def test_held_out_runs_are_not_learned_from():
    latent = torch.arange(6.0)[:, None, None, None, None].expand(6, 2, 4, 3, 3)
    kept, held = split(runs_of(latent, torch.tensor([9, 3])), torch.tensor([False, True, False, False, True, False]))
    assert (len(kept), len(held)) == (4, 2)
    rows = held.latent[torch.tensor([0, 1]), torch.tensor([1, 0])]
    assert rows[:, 0, 0, 0].tolist() == [1.0, 4.0]
    assert kept.time[torch.tensor([3]), torch.tensor([1])].item() == 3
