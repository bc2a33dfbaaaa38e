"""Add-It's run in the host: the scene at the start, one blend, any sampler, split anywhere."""

import logging

import pytest
import torch

from visual_insertion_pack.tests.nodes.add_it_models import (
    add_it_run,
    far,
    latents,
    model_of,
    no_noise,
    prompt,
    sampled,
    sigmas_of,
)

WHOLE = dict(start=4 / 30, blend=0.6, double_until=0.4, single_until=0.7)


@pytest.fixture(scope="module")
def models(comfy):
    return {kind: model_of(kind) for kind in ("flux", "unet")}


def corner(height=8, width=8):
    """A mask that leaves the upper left quarter to the new thing."""
    mask = torch.zeros(1, 8 * height, 8 * width)
    mask[:, : 4 * height, : 4 * width] = 1
    return mask


def run_of(kind, **how):
    settings = WHOLE | how.pop("settings", {})
    return add_it_run(latents(kind, 1, 8, 8), prompt(2), settings=settings, mask=how.pop("mask", corner()), **how)


@pytest.mark.parametrize("kind", ("flux", "unet"))
def test_the_start_is_the_noised_scene_at_that_level(comfy, models, kind):
    """As a run on the remaining levels of the same schedule that is given the scene as its latent."""
    model = models[kind]
    sigmas = sigmas_of(comfy, model, steps=15)
    noise = latents(kind, 5, 8, 8)
    whole = run_of(kind, settings=dict(blend=None))
    cut = run_of(kind, settings=dict(blend=None, start=0.0))
    started = sampled(comfy, whole.patched(model), prompt(1), no_noise(noise), sigmas, noise=noise)
    given = sampled(comfy, cut.patched(model), prompt(1), latents(kind, 1, 8, 8), sigmas[2:], noise=noise)
    assert far(started.output, given.output) <= 1e-5
    assert whole.row_forwards == cut.row_forwards


@pytest.mark.parametrize("kind", ("flux", "unet"))
@pytest.mark.parametrize("split", (1, 2, 3, 8, 9, 10, 12))
def test_a_run_in_two_parts_is_one_run(comfy, models, kind, split):
    model = models[kind]
    sigmas = sigmas_of(comfy, model, steps=15)
    noise = latents(kind, 5, 8, 8)
    one = run_of(kind)
    whole = sampled(comfy, one.patched(model), prompt(1), no_noise(noise), sigmas, noise=noise).output
    two = run_of(kind)
    patched = two.patched(model)
    first = sampled(comfy, patched, prompt(1), no_noise(noise), sigmas[: split + 1], noise=noise)
    second = sampled(comfy, patched, prompt(1), first.latent, sigmas[split:], noise=no_noise(noise)).output
    assert far(second, whole) <= 1e-5
    assert two.row_forwards == one.row_forwards


@pytest.mark.parametrize("sampler", ("euler", "dpmpp_2m", "heun", "res_multistep"))
def test_the_blend_with_any_sampler_is_that_of_two_samplers_with_a_blend_between(comfy, models, sampler):
    model = models["flux"]
    sigmas = sigmas_of(comfy, model, steps=15)
    noise = latents("flux", 5, 8, 8)
    inside = run_of("flux")
    whole = sampled(comfy, inside.patched(model), prompt(1), no_noise(noise), sigmas, noise=noise, sampler=sampler)
    between = run_of("flux", mask=None, blends=False)
    patched = between.patched(model)
    first = sampled(comfy, patched, prompt(1), no_noise(noise), sigmas[:11], noise=noise, sampler=sampler)
    (blended,) = comfy(
        "AddItBlend", add_it=between, model=model, latent=first.latent, sigmas=sigmas[10:], mask=corner()
    )
    second = sampled(comfy, patched, prompt(1), blended, sigmas[10:], noise=no_noise(noise), sampler=sampler)
    assert far(whole.output, second.output) <= 1e-5


@pytest.mark.parametrize("kind", ("flux", "unet"))
def test_outside_of_the_mask_the_blend_is_the_noised_scene_and_inside_nothing(comfy, models, kind):
    model = models[kind]
    sigmas = sigmas_of(comfy, model, steps=15)
    noise = latents(kind, 5, 8, 8)
    settings = dict(double_until=0.0, single_until=0.0)
    outcomes = {}
    for name, mask in {"corner": corner(), "none": None}.items():
        run = run_of(kind, mask=mask, settings=settings)
        patched = run.patched(model)
        outcomes[name] = sampled(comfy, patched, prompt(1), no_noise(noise), sigmas[:11], noise=noise).output
    scene = latents(kind, 1, 8, 8)
    sampling = model.get_model_object("model_sampling")
    clean = model.model.process_latent_in(scene)
    at_level = sampling.noise_scaling(sigmas[10], run_of(kind).source.noise, clean)
    kept = model.model.process_latent_out(sampling.inverse_noise_scaling(sigmas[10], at_level))
    assert far(outcomes["corner"][..., 4:, :], kept[..., 4:, :]) <= 1e-5
    assert far(outcomes["corner"][..., :4, 4:], kept[..., :4, 4:]) <= 1e-5
    assert torch.equal(outcomes["corner"][..., :4, :4], outcomes["none"][..., :4, :4])


@pytest.mark.parametrize(("mask", "note"), [(torch.ones(1, 64, 64), "covers the whole picture")])
def test_a_mask_that_leaves_nothing_to_keep_is_no_blend_and_is_remarked(comfy, models, mask, note):
    model = models["flux"]
    sigmas = sigmas_of(comfy, model, steps=15)
    noise = latents("flux", 5, 8, 8)
    run = run_of("flux", mask=mask)
    unblended = run_of("flux", blends=False)
    result = sampled(comfy, run.patched(model), prompt(1), no_noise(noise), sigmas, noise=noise).output
    plain = sampled(comfy, unblended.patched(model), prompt(1), no_noise(noise), sigmas, noise=noise).output
    assert far(result, plain) <= 1e-5
    assert any(note in one for one in run.notes)


def test_without_subject_and_mask_nothing_is_blended_and_that_is_said(comfy, models, caplog):
    noise = latents("flux", 5, 8, 8)
    run = run_of("flux", mask=None)
    with caplog.at_level(logging.WARNING):
        sampled(comfy, run.patched(models["flux"]), prompt(1), no_noise(noise), sigmas_of(comfy, models["flux"], 15))
    assert any("names no subject" in note for note in run.notes) and "names no subject" in caplog.text


def test_a_scheduler_without_such_a_level_is_remarked(comfy, models):
    model = models["flux"]
    notes = {}
    for scheduler in ("simple", "linear_quadratic"):
        run = run_of("flux")
        noise = latents("flux", 5, 8, 8)
        sigmas = sigmas_of(comfy, model, 15, scheduler)
        sampled(comfy, run.patched(model), prompt(1), no_noise(noise), sigmas, noise=noise)
        notes[scheduler] = run.notes
    assert notes["simple"] == []
    assert any("no level near" in note for note in notes["linear_quadratic"])


def test_the_progress_goes_through_the_steps_of_the_whole_run(comfy, models):
    from comfy.samplers import sampler_object

    model = run_of("flux").patched(models["flux"])
    (guider,) = comfy("BasicGuider", model=model, conditioning=prompt(1))
    noise = latents("flux", 5, 8, 8)
    steps = []
    guider.sample(
        noise,
        no_noise(noise),
        sampler_object("euler"),
        sigmas_of(comfy, model, 15),
        callback=lambda step, denoised, current, total: steps.append((step, total)),
        disable_pbar=True,
        seed=0,
    )
    assert steps == [(step, 15) for step in range(2, 15)]


def test_a_noise_mask_and_the_blend_exclude_each_other(comfy, models):
    noise = latents("flux", 5, 8, 8)
    latent = {"samples": no_noise(noise), "noise_mask": corner()}
    with pytest.raises(ValueError, match="noise mask"):
        sampled(comfy, run_of("flux").patched(models["flux"]), prompt(1), latent, sigmas_of(comfy, models["flux"]))
    off = run_of("flux", blends=False).patched(models["flux"])
    assert torch.isfinite(sampled(comfy, off, prompt(1), latent, sigmas_of(comfy, models["flux"])).output).all()


def test_lazycache_skips_whole_steps_and_easycache_is_refused(comfy, models):
    noise = latents("flux", 5, 8, 8)
    sigmas = sigmas_of(comfy, models["flux"], 15)
    shares = dict(reuse_threshold=3.0, start_percent=0.15, end_percent=0.95, verbose=False)
    forwards = []
    for cache in (None, "LazyCache"):
        model = models["flux"] if cache is None else comfy(cache, model=models["flux"], **shares)[0]
        run = run_of("flux")
        result = sampled(comfy, run.patched(model), prompt(1), no_noise(noise), sigmas, noise=noise)
        assert torch.isfinite(result.output).all()
        forwards.append(run.row_forwards)
    assert forwards[1] < forwards[0]
    (model,) = comfy("EasyCache", model=models["flux"], **shares)
    with pytest.raises(ValueError, match="Take EasyCache out"):
        sampled(comfy, run_of("flux").patched(model), prompt(1), no_noise(noise), sigmas, noise=noise)


@pytest.mark.parametrize("how", (dict(inverts=True), dict(sharing="prompt_to_prompt")))
def test_a_unet_takes_no_inverted_scene(comfy, models, how):
    with pytest.raises(ValueError, match="need FLUX or Chroma"):
        run_of("unet", **how).patched(models["unet"])


def test_two_levels_of_other_packs_pass_through(comfy, models):
    """Another wrapper around the model still sees target rows alone."""
    from comfy.patcher_extension import WrappersMP

    rows = []

    def watch(executor, x, *inputs, **others):
        rows.append(len(x))
        return executor(x, *inputs, **others)

    model = models["flux"].clone()
    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "watch", watch)
    noise = latents("flux", 5, 8, 8)
    sampled(comfy, run_of("flux").patched(model), prompt(1), no_noise(noise), sigmas_of(comfy, model, 15), noise=noise)
    assert rows == [1] * 13
