"""Add-It's extended attention in the host's own classes: what must be the same, and what is refused."""

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

KINDS = ("flux", "flux2", "chroma", "unet")


@pytest.fixture(scope="module")
def models(comfy):
    return {kind: model_of(kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_one_forward_equals_two_passes_and_both_change_the_run(comfy, models, kind):
    model = models[kind]
    scene, target = latents(kind, 1), latents(kind, 2)
    sigmas = sigmas_of(comfy, model)
    plain = sampled(comfy, model, prompt(1), target, sigmas).output
    runs = [add_it_run(scene, prompt(2), way=way) for way in ("one forward", "two passes")]
    rows, passes = (sampled(comfy, run.patched(model), prompt(1), target, sigmas).output for run in runs)
    assert far(rows, passes) <= 1e-5
    assert far(rows, plain) > 1e-3
    assert all(run.row_forwards == 8 for run in runs)
    assert torch.equal(sampled(comfy, model, prompt(1), target, sigmas).output, plain)  # the model is as it was


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_window_is_a_plain_run(comfy, models, kind):
    target = latents(kind, 2)
    sigmas = sigmas_of(comfy, models[kind])
    run = add_it_run(latents(kind, 1), prompt(2), settings=dict(double_until=0.0, single_until=0.0))
    plain = sampled(comfy, models[kind], prompt(1), target, sigmas).output
    assert torch.equal(sampled(comfy, run.patched(models[kind]), prompt(1), target, sigmas).output, plain)
    assert run.row_forwards == 4


def test_a_prompt_of_another_length_takes_two_passes(comfy, models):
    target = latents("flux", 2)
    sigmas = sigmas_of(comfy, models["flux"])
    results = [
        sampled(
            comfy,
            add_it_run(latents("flux", 1), prompt(2, 7), way=way).patched(models["flux"]),
            prompt(1),
            target,
            sigmas,
        )
        for way in ("one forward", "two passes")
    ]
    assert torch.equal(results[0].output, results[1].output)


@pytest.mark.parametrize("kind", ("flux", "flux2", "unet"))
def test_duplicated_keys_change_nothing_at_gamma_1(comfy, models, kind, monkeypatch):
    """A target that is its own source: with its text twice, too, every key is there twice."""
    from visual_insertion_pack.pipelines.add_it import extended_attention

    if kind != "unet":
        original = extended_attention.extended_keys_values

        def with_text(key, value, source_key, source_value, gamma):
            text = key.shape[2] - source_key.shape[2]
            return original(
                key,
                value,
                torch.cat([key[:, :, :text], source_key], 2),
                torch.cat([value[:, :, :text], source_value], 2),
                gamma,
            )

        monkeypatch.setattr(extended_attention, "extended_keys_values", with_text)
    scene = latents(kind, 1)
    sigmas = sigmas_of(comfy, models[kind])
    positive = prompt(1)
    run = add_it_run(scene, positive, guidance=3.5, settings=dict(gamma=1.0))
    noise = run.source.noise
    plain = sampled(comfy, models[kind], positive, scene, sigmas[:2], noise=noise).output
    assert (
        far(sampled(comfy, run.patched(models[kind]), positive, scene, sigmas[:2], noise=noise).output, plain) <= 1e-5
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ("one forward", "two passes"))
def test_the_source_row_is_a_plain_run_of_the_scene(comfy, models, kind, way):
    from comfy.patcher_extension import WrappersMP

    scene = latents(kind, 1)
    sigmas = sigmas_of(comfy, models[kind])[1:3]

    def watched(model):
        calls = []

        def watch(executor, *inputs, **others):
            output = executor(*inputs, **others)
            calls.append((inputs[0].clone(), output.clone()))
            return output

        model = model.clone()
        model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "watch", watch)
        return model, calls

    run = add_it_run(scene, prompt(2), way=way)
    model, calls = watched(run.patched(models[kind]))
    sampled(comfy, model, prompt(1), latents(kind, 2), sigmas)
    seen, answered = (calls[0][i][-1:] for i in range(2))
    alone, plain_calls = watched(models[kind])
    (source,) = prompt(2)
    sampled(comfy, alone, [[source[0], source[1] | {"guidance": 1.0}]], scene, sigmas, noise=run.source.noise)
    assert float((seen - plain_calls[0][0]).abs().max()) <= 1e-6
    assert far(answered, plain_calls[0][1]) <= 1e-5


@pytest.mark.parametrize("kind", ("flux", "unet"))
def test_pictures_of_a_batch_share_the_scene(comfy, models, kind):
    model = models[kind]
    noise = latents(kind, 5, count=3)
    sigmas = sigmas_of(comfy, model)
    empty = no_noise(noise)
    together = sampled(
        comfy, add_it_run(latents(kind, 1), prompt(2)).patched(model), prompt(1), empty, sigmas, noise=noise
    )
    alone = [
        sampled(
            comfy,
            add_it_run(latents(kind, 1), prompt(2)).patched(model),
            prompt(1),
            one[None],
            sigmas,
            noise=each[None],
        ).output
        for one, each in zip(empty, noise, strict=True)
    ]
    assert far(together.output, torch.cat(alone)) <= 1e-5


def test_pictures_of_a_batch_have_their_own_scenes(comfy, models):
    scenes = latents("flux", 1, count=2)
    noise = latents("flux", 5, count=2)
    sigmas = sigmas_of(comfy, models["flux"])
    run = add_it_run(scenes, prompt(2))
    together = sampled(comfy, run.patched(models["flux"]), prompt(1), no_noise(noise), sigmas, noise=noise).output
    for index in range(2):
        own = add_it_run(scenes[index : index + 1], prompt(2))
        own.source.noise = run.source.noise[index : index + 1]
        alone = sampled(
            comfy,
            own.patched(models["flux"]),
            prompt(1),
            no_noise(noise[:1]),
            sigmas,
            noise=noise[index : index + 1],
        ).output
        assert far(together[index : index + 1], alone) <= 1e-5


@pytest.mark.parametrize("kind", ("flux", "unet"))
def test_guidance_in_one_batch_equals_guidance_in_chunks(comfy, models, kind, monkeypatch):
    from comfy.model_patcher import ModelPatcher

    model = models[kind]
    sigmas = sigmas_of(comfy, model)

    def guided():
        run = add_it_run(latents(kind, 1), prompt(2))
        model_with_it = run.patched(model)
        return sampled(
            comfy, model_with_it, prompt(1), latents(kind, 2), sigmas, negative=prompt(3), cfg=3.0
        ).output, run

    whole, run = guided()
    assert run.row_forwards == 12  # with and without the prompt, and the scene
    monkeypatch.setattr(ModelPatcher, "get_free_memory", lambda self, device: 1.0)
    chunks, run = guided()
    assert run.row_forwards == 16
    assert far(chunks, whole) <= 1e-5


def test_another_packs_override_is_called_for_every_attention(comfy, models):
    model = models["flux"].clone()
    calls = []

    def override(backend, *inputs, **others):
        calls.append(1)
        return backend(*inputs, **others)

    model.model_options["transformer_options"]["optimized_attention_override"] = override
    target = latents("flux", 2)
    sigmas = sigmas_of(comfy, model)
    without = sampled(
        comfy, add_it_run(latents("flux", 1), prompt(2)).patched(models["flux"]), prompt(1), target, sigmas
    )
    chained = sampled(comfy, add_it_run(latents("flux", 1), prompt(2)).patched(model), prompt(1), target, sigmas)
    assert torch.equal(chained.output, without.output)
    assert len(calls) == 4 * 7 * 2  # steps, blocks, targets and source


def test_the_source_row_is_dropped_when_its_window_ends(comfy, models):
    sigmas = sigmas_of(comfy, models["flux"], steps=10)
    run = add_it_run(latents("flux", 1), prompt(2), settings=dict(double_until=0.2, single_until=0.5))
    sampled(comfy, run.patched(models["flux"]), prompt(1), latents("flux", 2), sigmas)
    assert run.row_forwards == 10 + 5


def test_thirty_steps_of_a_real_scene_cost_43_row_forwards(comfy, models):
    from visual_insertion_pack.pipelines.add_it.windows import REAL

    sigmas = sigmas_of(comfy, models["flux"], steps=30)
    settings = dict(double_until=REAL.double_until, single_until=REAL.single_until, start=REAL.start)
    run = add_it_run(latents("flux", 1, 4, 4), prompt(2), settings=settings)
    sampled(comfy, run.patched(models["flux"]), prompt(1), latents("flux", 2, 4, 4), sigmas)
    assert run.row_forwards == 26 + 17


def test_redux_tokens_and_their_mask_belong_to_the_target_alone(comfy, models):
    """729 tokens of a picture behind the text; a mask that hides them makes them nothing to the picture."""
    model = models["flux"]
    text = prompt(1)
    (shown,) = prompt(4, 729)
    length = 9 + 729
    target = latents("flux", 2, 8, 8)
    sigmas = sigmas_of(comfy, model, steps=2)
    both = torch.cat([text[0][0], shown[0]], 1)

    def run(context, **settings):
        conditioning = [[context, text[0][1] | settings]]
        add_it = add_it_run(latents("flux", 1, 8, 8), prompt(2))
        return sampled(comfy, add_it.patched(model), conditioning, target, sigmas).output

    mask = torch.zeros(1, length + 1, length + 1)
    mask[:, :9, 9:length] = -1e9
    mask[:, length:, 9:length] = -1e9
    hidden = run(both, attention_mask=mask, attention_mask_img_shape=(1, 1))
    assert far(hidden, run(text[0][0])) <= 1e-5
    assert far(run(both), run(text[0][0])) > 1e-3


def test_reference_latents_stay_with_the_target(comfy, models):
    settings = prompt(1)[0][1] | {"reference_latents": [latents("flux", 6, 8, 8)]}
    referring = [[prompt(1)[0][0], settings]]
    target = latents("flux", 2, 8, 8)
    sigmas = sigmas_of(comfy, models["flux"], steps=2)
    one = add_it_run(latents("flux", 1, 8, 8), prompt(2))
    both = sampled(comfy, one.patched(models["flux"]), referring, target, sigmas).output
    ((context, settings),) = prompt(2)
    other = add_it_run(
        latents("flux", 1, 8, 8), [[context, settings | {"reference_latents": [latents("flux", 7, 8, 8)]}]]
    )
    assert torch.equal(sampled(comfy, other.patched(models["flux"]), referring, target, sigmas).output, both)


def test_gamma_is_balanced_alike_in_one_batch_and_in_chunks(comfy, models, monkeypatch):
    from comfy.model_patcher import ModelPatcher

    sigmas = sigmas_of(comfy, models["flux"], steps=6)

    def guided():
        run = add_it_run(latents("flux", 1), prompt(2), settings=dict(gamma=None))
        model = run.patched(models["flux"])
        result = sampled(comfy, model, prompt(1), latents("flux", 2), sigmas, negative=prompt(3), cfg=3.0).output
        return result, run.gamma

    whole, gamma = guided()
    assert gamma.shape == (1,) and 1.0 <= float(gamma) <= 1.2
    monkeypatch.setattr(ModelPatcher, "get_free_memory", lambda self, device: 1.0)
    chunks, chunks_gamma = guided()
    assert torch.allclose(gamma, chunks_gamma, atol=1e-4)
    assert far(chunks, whole) <= 1e-4


# what is refused


def test_conditioning_with_an_area_is_refused(comfy, models):
    model = add_it_run(latents("flux", 1), prompt(2)).patched(models["flux"])
    (area,) = comfy("ConditioningSetArea", conditioning=prompt(5), width=32, height=32, x=0, y=0, strength=1.0)
    with pytest.raises(ValueError, match="crops the latents"):
        sampled(comfy, model, prompt(1) + area, latents("flux", 2), sigmas_of(comfy, model))


def test_a_source_of_another_size_is_refused(comfy, models):
    model = add_it_run(latents("flux", 1, 8, 8), prompt(2)).patched(models["flux"])
    with pytest.raises(ValueError, match="8x8 cells of 16 channels, the run's 6x11 cells"):
        sampled(comfy, model, prompt(1), latents("flux", 2), sigmas_of(comfy, model))


def test_a_model_that_runs_its_blocks_itself_is_refused(comfy, models):
    model = add_it_run(latents("flux", 1), prompt(2)).patched(models["flux"])
    for index in range(3):
        model.set_model_patch_replace(
            lambda args, _: {"img": args["img"], "txt": args["txt"]}, "dit", "double_block", index
        )
    for index in range(4):
        model.set_model_patch_replace(lambda args, _: {"img": args["img"]}, "dit", "single_block", index)
    with pytest.raises(ValueError, match="never asked for attention"):
        sampled(comfy, model, prompt(1), latents("flux", 2), sigmas_of(comfy, model))


def test_another_family_is_refused_by_name(comfy, models):
    run = add_it_run(latents("flux", 1), prompt(2))
    model = models["flux"].clone()
    model.add_object_patch("diffusion_model", torch.nn.Identity())
    model.patch_model()
    try:
        with pytest.raises(ValueError, match="Identity"):
            run.patched(model)
    finally:
        model.unpatch_model()


def test_uni_pc_leaves_the_levels_as_they_are(comfy, models):
    sigmas = sigmas_of(comfy, models["flux"])
    before = sigmas.clone()
    model = add_it_run(latents("flux", 1), prompt(2)).patched(models["flux"])
    sampled(comfy, model, prompt(1), latents("flux", 2), sigmas, sampler="uni_pc")
    assert torch.equal(sigmas, before)
