"""Add-It on the playroom's trained text-to-picture model in the real host."""

import json
from types import SimpleNamespace

import pytest
import torch

from visual_insertion_pack.pipelines.playroom.add_it.additions import make_case
from visual_insertion_pack.tests.nodes.add_it_models import Noise, far, no_noise

STEPS = 12


@pytest.fixture(scope="module")
def kit(comfy):
    model, clip, vae, clip_vision = comfy("PlayroomFlux")
    return SimpleNamespace(model=model, clip=clip, vae=vae, clip_vision=clip_vision)


@pytest.fixture(scope="module")
def cases():
    return [make_case(900_000 + index) for index in range(4)]


def picture(array):
    return torch.from_numpy(array).float()[None] / 255


def told(comfy, kit, text, subject="", **how):
    return comfy("AddItPrompt", clip=kit.clip, prompt=str(text), subject=subject, **how)[0]


def latent_of(comfy, kit, case):
    return comfy("VAEEncode", pixels=picture(case.scene), vae=kit.vae)[0]


def sampled(comfy, kit, model, positive, noise, steps=STEPS):
    (guider,) = comfy("CFGGuider", model=model, positive=positive, negative=told(comfy, kit, ""), cfg=3.0)
    (sigmas,) = comfy("BasicScheduler", model=model, scheduler="simple", steps=steps, denoise=1.0)
    (sampler,) = comfy("KSamplerSelect", sampler_name="euler")
    return comfy(
        "SamplerCustomAdvanced",
        noise=Noise(noise),
        guider=guider,
        sampler=sampler,
        sigmas=sigmas,
        latent_image={"samples": no_noise(noise)},
    )[0]["samples"]


def noise_of(seed, count=1):
    return torch.randn(count, 4, 16, 16, generator=torch.Generator().manual_seed(seed))


def test_the_result_is_the_scene_that_the_hidden_row_holds(comfy, kit, cases):
    """Nothing but attention can carry the scene here: from pure noise, without a blend."""
    scenes = [latent_of(comfy, kit, case) for case in cases[:2]]
    results = []
    for case, scene in zip(cases, scenes, strict=False):
        model, _ = comfy(
            "AddItAttention",
            model=kit.model,
            source_latent=scene,
            source_conditioning=told(comfy, kit, case.source),
            **dict(gamma=1.0, start=0.0, blend=False),
        )
        results.append(sampled(comfy, kit, model, told(comfy, kit, cases[0].target), noise_of(3, 2)))
    for own in range(2):
        distances = [(results[own] - scene["samples"]).square().mean((1, 2, 3)) for scene in scenes]
        assert (distances[own] < distances[1 - own]).all()


@pytest.mark.parametrize("inverts, sharing", ((False, "extended"), (True, "extended"), (True, "prompt_to_prompt")))
def test_the_nodes_make_what_the_run_alone_makes(comfy, kit, cases, inverts, sharing):
    from diffusers import FluxTransformer2DModel

    from visual_insertion_pack.nodes.host.add_it_nodes import add_it
    from visual_insertion_pack.nodes.host.playroom_flux import FOLDER
    from visual_insertion_pack.pipelines.add_it import sampling
    from visual_insertion_pack.pipelines.add_it.flux_attention import Block
    from visual_insertion_pack.pipelines.add_it.stages import map_blocks
    from visual_insertion_pack.pipelines.add_it.windows import AddItSettings, flux_percent_to_sigma

    case = cases[0]
    scene = latent_of(comfy, kit, case)
    positive = told(comfy, kit, case.target, case.subject)
    source = told(comfy, kit, case.source)
    run = add_it(
        scene["samples"],
        source,
        gamma=1.1,
        shares=dict(start=0.1, blend=0.6, double_until=0.4, single_until=0.4),
        blends=True,
        mask=None,
        guidance=1.0,
        seed=0,
        inverts=inverts,
        sharing=sharing,
    )
    hidden = run.source.noise
    noise = noise_of(5)
    result = sampled(comfy, kit, run.patched(kit.model), positive, noise)

    transformer = FluxTransformer2DModel.from_pretrained(FOLDER / "transformer", torch_dtype=torch.float32)

    def prompt(conditioning):
        return sampling.Prompt(conditioning[0][0], conditioning[0][1]["pooled_output"])

    columns = torch.zeros(1, 1, 32, dtype=torch.bool)
    columns[0, 0, list(run.subject.positions)] = True
    sigmas = comfy("BasicScheduler", model=kit.model, scheduler="simple", steps=STEPS, denoise=1.0)[0].tolist()
    flow = sampling.FluxFlow(transformer)
    seen = sampling.Scene(scene["samples"], hidden, prompt(source))
    if inverts:
        seen = sampling.inverted_scene(flow, seen, sigmas)
    if sharing == "prompt_to_prompt":
        noise = seen.noise
    alone = sampling.add(
        flow,
        sampling.Target(prompt(positive), noise, null=prompt(told(comfy, kit, "")), guidance=3.0, subject=columns),
        seen,
        sigmas=sigmas,
        sharing=sharing,
        percent_to_sigma=flux_percent_to_sigma(0.0),
        settings=AddItSettings(**{name: getattr(run.settings, name) for name in AddItSettings.__dataclass_fields__}),
        map_blocks=[Block(kind == "single", index) for kind, index in map_blocks(2, 4)],
    )
    assert torch.allclose(run.subject_maps(), alone.subject_map, atol=1e-5)
    assert far(result, alone.latents) <= 1e-4
    assert run.row_forwards == alone.row_forwards


def test_add_it_subject_says_where_the_new_thing_is(comfy, kit, cases):
    case = cases[0]
    model, run = comfy(
        "AddItAttention",
        model=kit.model,
        source_latent=latent_of(comfy, kit, case),
        source_conditioning=told(comfy, kit, case.source),
    )
    samples = sampled(comfy, kit, model, told(comfy, kit, case.target, case.subject), noise_of(5, 2))
    (pictures,) = comfy("VAEDecode", samples={"samples": samples}, vae=kit.vae)
    mask, points, boxes, looked = comfy("AddItSubject", add_it=run, image=pictures)
    assert mask.shape == looked.shape == (2, 128, 128)
    assert 0 < mask.mean() < 0.5 and looked.max() > 0.9
    assert len(boxes) == 2 and all(len(one) == 1 for one in boxes)
    for point in json.loads(points):
        assert mask[0, point["y"], point["x"]] == 1


def sampler(comfy, kit, case, **changes):
    inputs = dict(
        model=kit.model,
        clip=kit.clip,
        vae=kit.vae,
        scene=picture(case.scene),
        scene_prompt=str(case.source),
        prompt=str(case.target),
        subject=case.subject,
        seed=case.seed,
        steps=STEPS,
        cfg=3.0,
        sampler_name="euler",
        scheduler="simple",
    )
    return comfy("AddItSampler", **(inputs | changes))


@pytest.mark.parametrize("blend_mask", ("attention", "refined", "none"))
def test_the_sampler_keeps_every_pixel_outside_of_its_effect(comfy, kit, cases, blend_mask):
    image, effect, objects, layer, box, whole, report = sampler(comfy, kit, cases[1], blend_mask=blend_mask)
    scene = picture(cases[1].scene)
    assert image.shape == whole.shape == scene.shape and layer.shape[-1] == 4
    assert 0 < effect.mean() < 0.5
    assert torch.equal(image[effect == 0], scene[effect == 0])
    assert box["width"] > 10 and "scene's own" in report
    assert objects.max() > 0


def test_prompt_to_prompt_keeps_the_scene_better_than_the_prompt_alone(comfy, kit, cases):
    """On the same graph, with all steps known although the sampler runs them in two parts."""
    windows = dict(double_until=0.4, single_until=0.4, start=0.0)
    scene = picture(cases[1].scene)
    *_, plain, _ = sampler(comfy, kit, cases[1], method="SDEdit", blend_mask="none", **windows)
    for blend_mask in ("none", "refined"):
        *_, whole, _ = sampler(comfy, kit, cases[1], method="Prompt-to-Prompt", blend_mask=blend_mask, **windows)
        assert (whole - scene).abs().mean() < 0.8 * (plain - scene).abs().mean()


def test_an_inverted_scene_needs_all_steps_at_once(comfy, kit, cases):
    model, _ = comfy(
        "AddItAttention",
        model=kit.model,
        source_latent=latent_of(comfy, kit, cases[0]),
        source_conditioning=told(comfy, kit, cases[0].source),
        invert=True,
    )
    (guider,) = comfy("BasicGuider", model=model, conditioning=told(comfy, kit, cases[0].target))
    (sigmas,) = comfy("BasicScheduler", model=model, scheduler="simple", steps=4, denoise=1.0)
    noise = noise_of(1)
    with pytest.raises(ValueError, match="invert needs to know all steps"):
        comfy(
            "SamplerCustomAdvanced",
            noise=Noise(noise),
            guider=guider,
            sampler=comfy("KSamplerSelect", sampler_name="euler")[0],
            sigmas=sigmas[:3],
            latent_image={"samples": no_noise(noise)},
        )


def test_the_sampler_takes_a_scene_of_any_size(comfy, kit, cases):
    scene = picture(cases[1].scene)[:, :100, :118]
    image, effect, *_ = sampler(comfy, kit, cases[1], scene=scene, blend_mask="refined")
    assert image.shape == scene.shape and effect.shape == (1, 100, 118)


def test_a_mask_says_where_the_new_thing_may_be(comfy, kit, cases):
    mask = torch.zeros(1, 128, 128)
    mask[:, 32:112, 64:] = 1
    _, _, _, _, _, whole, _ = sampler(comfy, kit, cases[3], mask=mask)
    (through,) = comfy("VAEDecode", samples=latent_of(comfy, kit, cases[3]), vae=kit.vae)
    error = (whole - through).abs().mean((0, 3))
    assert error[:, :56].mean() < 0.5 * error[32:112, 64:].mean()


def test_a_toy_is_shown_in_the_place_of_words(comfy, kit, cases):
    case = cases[1]
    (seen,) = comfy("ObjectImageEncode", clip_vision=kit.clip_vision, image=picture(case.view))
    text = "a room with a toy on the floor"
    (shown,) = comfy("PlayroomPictureWords", clip=kit.clip, clip_vision_output=seen, prompt=text, word="toy")
    image, effect, *_ = sampler(comfy, kit, case, positive=shown)
    where = effect[0] > 0.5
    assert where.any()
    red, green, blue = image[0][where].mean(0)
    assert green > red and green > blue  # it is a green mug


def test_a_row_of_additions_starts_from_original_pixels(comfy, kit, cases):
    """What two runs did not touch is the first scene's, bit for bit."""
    first, effect, *_ = sampler(comfy, kit, cases[1])
    text = f"{cases[1].target} and a plain red ball on the floor"
    second, other, *_ = sampler(
        comfy, kit, cases[1], scene=first, scene_prompt=str(cases[1].target), prompt=text, subject="red ball"
    )
    untouched = (effect == 0) & (other == 0)
    assert untouched.float().mean() > 0.3
    assert torch.equal(second[untouched], picture(cases[1].scene)[untouched])


# what is refused


@pytest.mark.parametrize(
    ("subject", "message"),
    [
        ("blue whale", "is not in the prompt"),
        ("ball", "2 times"),
    ],
)
def test_a_subject_has_to_be_in_the_prompt_once(comfy, kit, subject, message):
    with pytest.raises(ValueError, match=message):
        told(comfy, kit, "a room with a red ball on the floor and a blue ball on the floor", subject)


def test_the_n_th_of_several_subjects_can_be_chosen(comfy, kit):
    from visual_insertion_pack.nodes.host.add_it_subject import SUBJECT

    text = "a room with a red ball on the floor and a blue ball on the floor"
    places = [told(comfy, kit, text, "ball", occurrence=number)[0][1][SUBJECT].positions for number in (1, 2)]
    assert places == [(6,), (13,)]


def test_a_prompt_joined_after_the_subject_was_found_is_refused(comfy, kit, cases):
    case = cases[0]
    model, _ = comfy(
        "AddItAttention",
        model=kit.model,
        source_latent=latent_of(comfy, kit, case),
        source_conditioning=told(comfy, kit, case.source),
    )
    positive = told(comfy, kit, case.target, case.subject)
    (longer,) = comfy("ConditioningConcat", conditioning_to=positive, conditioning_from=told(comfy, kit, "a room"))
    with pytest.raises(ValueError, match="the text was changed after"):
        sampled(comfy, kit, model, longer, noise_of(5))


def test_tokens_of_a_picture_behind_the_text_are_the_subject(comfy):
    from visual_insertion_pack.nodes.host.add_it_subject import SUBJECT

    text = [[torch.randn(1, 7, 12), {}]]
    both = [[torch.randn(1, 7 + 729, 12), {}]]
    (marked,) = comfy("AddItPictureSubject", conditioning=both, text=text)
    assert marked[0][1][SUBJECT].positions == tuple(range(7, 736))
    with pytest.raises(ValueError, match="no picture was added"):
        comfy("AddItPictureSubject", conditioning=text, text=text)


def test_a_run_without_a_subject_has_no_map(comfy, kit, cases):
    _, run = comfy(
        "AddItAttention",
        model=kit.model,
        source_latent=latent_of(comfy, kit, cases[0]),
        source_conditioning=told(comfy, kit, cases[0].source),
    )
    with pytest.raises(ValueError, match="Add-It Prompt"):
        comfy("AddItSubject", add_it=run, image=picture(cases[0].scene))


def test_pictures_and_words_that_do_not_pair_up_are_refused(comfy, kit, cases):
    (seen,) = comfy("ObjectImageEncode", clip_vision=kit.clip_vision, image=picture(cases[0].view))
    for prompt, message in (("a room", "0 times"), ("a toy and a toy", "2 times")):
        with pytest.raises(ValueError, match=message):
            comfy("PlayroomPictureWords", clip=kit.clip, clip_vision_output=seen, prompt=prompt, word="toy")
