"""Sampling in the real host: equal to its own graph where both can do it, and what only ours does."""

import json
import logging
from types import SimpleNamespace

import pytest
import torch

from visual_insertion_pack.pipelines.playroom.judging import oracle
from visual_insertion_pack.pipelines.playroom.world.dataset import HELD_OUT_SEED
from visual_insertion_pack.pipelines.playroom.world.triplets import make_triplet
from visual_insertion_pack.pipelines.sampling.guidance import Guidance
from visual_insertion_pack.pipelines.sampling.speed import chosen, remark
from visual_insertion_pack.tests.nodes.parts import random_lora, run_guider, with_lora

STEPS = 4


@pytest.fixture(scope="module")
def playroom(comfy):
    """The shipped models, three scenes with an object each, and everything encoded."""
    model, vae, clip_vision, optimizer = comfy("PlayroomModels")
    triplets = [make_triplet(seed, views=1) for seed in range(HELD_OUT_SEED, HELD_OUT_SEED + 3)]
    scenes, objects = (
        torch.stack([torch.from_numpy(picture) for picture in pictures]).float() / 255
        for pictures in ([t.scene for t in triplets], [t.objects[0] for t in triplets])
    )
    kit = SimpleNamespace(model=model, vae=vae, clip_vision=clip_vision, optimizer=optimizer)
    kit.scenes, kit.objects, kit.scene = scenes, objects, scenes[:1]
    kit.positive, kit.negative = condition(comfy, kit, objects[:1])
    return kit


def condition(comfy, kit, objects, views="average"):
    (seen,) = comfy("ObjectImageEncode", clip_vision=kit.clip_vision, image=objects)
    return comfy("EmbeddingOptimizer", embedding_optimizer=kit.optimizer, clip_vision_output=seen, views=views)


def guidance(comfy, object_scale=7.5, scene_scale=1.5, **settings):
    return comfy("GuidanceControl", object_scale=object_scale, scene_scale=scene_scale, **settings)[0]


def insert(comfy, kit, **changes):
    """Our sampler's latent."""
    inputs = dict(
        **dict(model=kit.model, vae=kit.vae, scene=kit.scene, positive=kit.positive, negative=kit.negative),
        **dict(seed=3, steps=STEPS, sampler_name="euler", scheduler="normal", denoise=1.0),
    )
    return comfy("ImageConditionedPix2PixSampler", **(inputs | changes))[0]["samples"]


def prepare(comfy, kit, **changes):
    """(guider, latent) of our guider node."""
    inputs = dict(model=kit.model, vae=kit.vae, scene=kit.scene, positive=kit.positive, negative=kit.negative)
    return comfy("ImageConditionedPix2PixGuider", **(inputs | changes))


def sample(comfy, kit, guider, latent, seed=3, steps=STEPS, sampler="euler", scheduler="normal", denoise=1.0):
    """The latents of the host's SamplerCustomAdvanced."""
    (sigmas,) = comfy("BasicScheduler", model=kit.model, scheduler=scheduler, steps=steps, denoise=denoise)
    return run_guider(comfy, guider, latent, sigmas, seed=seed, sampler=sampler)["samples"]


def stock(comfy, kit, object_scale, scene_scale, latent=None, **settings):
    """The same insertion by the host's own nodes."""
    positive, negative, empty = comfy(
        "InstructPixToPixConditioning",
        **dict(positive=kit.positive, negative=kit.negative, vae=kit.vae, pixels=kit.scene),
    )
    (guider,) = comfy(
        "DualCFGGuider",
        **dict(model=kit.model, cond1=positive, cond2=negative, negative=kit.negative),
        **dict(cfg_conds=object_scale, cfg_cond2_negative=scene_scale, style="regular"),
    )
    return sample(comfy, kit, guider, latent or empty, **settings)


def difference(a, b):
    assert torch.isfinite(a).all() and torch.isfinite(b).all()
    return float((a - b).abs().max())


# the host's own graph


@pytest.fixture(scope="module")
def differences(artifacts):
    """Largest absolute difference to the stock graph by setting, kept as a figure."""
    found = {}
    yield found
    (artifacts / "sampler_vs_core.json").write_text(json.dumps(found, indent=2) + "\n")


@pytest.mark.parametrize(
    ("object_scale", "scene_scale", "sampler", "scheduler"),
    [
        (7.5, 1.5, "euler", "normal"),
        (3.0, 1.2, "dpmpp_2m", "karras"),
        (2.0, 1.0, "ddim", "ddim_uniform"),
        (7.5, 1.5, "euler_ancestral", "normal"),
    ],
)
def test_the_sampler_equals_the_stock_graph(
    comfy, playroom, differences, object_scale, scene_scale, sampler, scheduler
):
    settings = dict(steps=8, scheduler=scheduler, seed=11)
    ours = insert(
        comfy, playroom, guidance=guidance(comfy, object_scale, scene_scale), sampler_name=sampler, **settings
    )
    theirs = stock(comfy, playroom, object_scale, scene_scale, sampler=sampler, **settings)
    found = differences[f"{object_scale} {scene_scale} {sampler} {scheduler}"] = difference(ours, theirs)
    assert theirs.dtype == torch.float32 and theirs.std() > 0.1
    assert found <= 1e-5


def test_without_guidance_the_scales_are_the_papers(comfy, playroom):
    assert torch.equal(insert(comfy, playroom), insert(comfy, playroom, guidance=guidance(comfy, 7.5, 1.5)))


def test_the_guider_in_a_stock_graph_equals_the_sampler(comfy, playroom):
    guider, latent = prepare(comfy, playroom)
    assert torch.equal(sample(comfy, playroom, guider, latent), insert(comfy, playroom))


def test_denoise_below_one_starts_from_the_scene(comfy, playroom):
    (latent,) = comfy("VAEEncode", pixels=playroom.scene, vae=playroom.vae)
    theirs = stock(comfy, playroom, 7.5, 1.5, latent=latent, denoise=0.4)
    ours = insert(comfy, playroom, denoise=0.4)
    assert difference(ours, theirs) <= 1e-5
    assert difference(ours, insert(comfy, playroom)) > 0.1


# a speed other than exact

SHIPPED = {  # of the toys, in playroom.json
    "balanced": dict(sampler_name="euler_ancestral", scheduler="normal", steps=9),
    "fast": dict(sampler_name="euler_ancestral", scheduler="simple", steps=4),
}


def left_half(kit):
    mask = torch.zeros(kit.scene.shape[:3])
    mask[:, :, :64] = 1
    return mask


@pytest.mark.parametrize("speed", SHIPPED)
def test_a_speed_is_what_its_settings_are(comfy, playroom, speed):
    """Bit for bit, whatever the widgets say; the object's scale stays the artist's."""
    scene_scale = 1.0 if speed == "fast" else 1.2
    by_widgets = insert(comfy, playroom, guidance=guidance(comfy, 2.5, scene_scale), **SHIPPED[speed])
    by_speed = insert(comfy, playroom, guidance=guidance(comfy, 2.5, 1.2), speed=speed, steps=50)
    assert torch.equal(by_speed, by_widgets)
    assert difference(by_speed, insert(comfy, playroom, guidance=guidance(comfy, 2.5, 1.2))) > 0.1


def test_exact_is_what_the_widgets_say(comfy, playroom):
    assert torch.equal(insert(comfy, playroom, speed="exact"), insert(comfy, playroom))


@pytest.mark.parametrize("speed", SHIPPED)
def test_a_speed_goes_with_a_mask_and_a_denoise(comfy, playroom, speed):
    mask = left_half(playroom)
    made = insert(comfy, playroom, mask=mask, speed=speed)
    (scene,) = comfy("VAEEncode", pixels=playroom.scene, vae=playroom.vae)
    assert torch.equal(made[..., 8:], scene["samples"][..., 8:])
    assert difference(made[..., :8], scene["samples"][..., :8]) > 0.1
    faint = insert(comfy, playroom, denoise=0.2, speed=speed)
    whole = insert(comfy, playroom, speed=speed)
    assert (faint - scene["samples"]).abs().mean() < (whole - scene["samples"]).abs().mean() / 2


def test_a_queue_of_seeds_encodes_its_scene_once(comfy, playroom, monkeypatch):
    """And never gives one scene's latents, or those of a patched VAE, for another's."""
    _, vae, _, _ = comfy("PlayroomModels")
    encoded = []
    encode = vae.encode
    monkeypatch.setattr(vae, "encode", lambda pictures: encoded.append(pictures) or encode(pictures))
    scene = playroom.scene.clone()
    first, second = (insert(comfy, playroom, vae=vae, scene=scene, seed=seed) for seed in (3, 4))
    assert len(encoded) == 1
    assert torch.equal(first, insert(comfy, playroom, seed=3)) and torch.equal(second, insert(comfy, playroom, seed=4))
    scene[:, :8] = 1  # in place, as no node should
    changed = insert(comfy, playroom, vae=vae, scene=scene)
    assert len(encoded) == 2
    assert torch.equal(changed, insert(comfy, playroom, scene=scene.clone()))
    vae.patcher.add_patches({})
    insert(comfy, playroom, vae=vae, scene=scene)
    assert len(encoded) == 3
    with torch.inference_mode():
        for _ in range(2):
            _, latent = prepare(comfy, playroom, vae=vae, scene=scene, keep_scene=True)
            assert latent["samples"].any() and len(encoded) == 3
            latent["samples"].zero_()  # each run has a copy of its own


def test_restoring_passes_its_scene_through_the_vae_once(comfy, playroom, monkeypatch):
    _, vae, _, _ = comfy("PlayroomModels")
    decoded = []
    decode = vae.decode
    monkeypatch.setattr(vae, "decode", lambda latents: decoded.append(latents) or decode(latents))
    edited = playroom.scene.clone()
    edited[:, 40:80, 40:80] = 0
    first, *_ = comfy("RestoreScene", scene=playroom.scene, edited=edited, vae=vae)
    again, *_ = comfy("RestoreScene", scene=playroom.scene, edited=edited, vae=vae)
    assert len(decoded) == 1 and torch.equal(first, again)


@pytest.mark.parametrize("speed", ["exact", *SHIPPED])
def test_the_node_says_what_ran(playroom, speed):
    presets = playroom.model.model.latent_format.presets
    said = remark(speed, chosen(speed, presets), Guidance(scene_scale=1.2))
    if speed == "exact":
        assert not said
        return
    ran = SHIPPED[speed]
    assert said.startswith(f"{speed}: euler_ancestral, {ran['scheduler']}, {ran['steps']} steps")
    assert ("scene scale 1 in place of 1.2" in said) == (speed == "fast")
    assert "Against exact: identity" in said


def test_a_split_run_equals_a_whole_one(comfy, playroom):
    guider, latent = prepare(comfy, playroom)
    (sigmas,) = comfy("BasicScheduler", model=playroom.model, scheduler="normal", steps=STEPS, denoise=1.0)
    high, low = comfy("SplitSigmas", sigmas=sigmas, step=2)
    (sampler,) = comfy("KSamplerSelect", sampler_name="euler")
    run = dict(guider=guider, sampler=sampler)
    noise, none = comfy("RandomNoise", noise_seed=3)[0], comfy("DisableNoise")[0]
    half, _ = comfy("SamplerCustomAdvanced", noise=noise, sigmas=high, latent_image=latent, **run)
    whole, _ = comfy("SamplerCustomAdvanced", noise=none, sigmas=low, latent_image=half, **run)
    assert difference(whole["samples"], insert(comfy, playroom)) <= 1e-5


def test_the_stock_vision_encoder_gives_the_same_object(comfy, playroom):
    (ours,) = comfy("ObjectImageEncode", clip_vision=playroom.clip_vision, image=playroom.objects[:1])
    (theirs,) = comfy("CLIPVisionEncode", clip_vision=playroom.clip_vision, image=playroom.objects[:1], crop="none")
    assert torch.equal(ours["last_hidden_state"], theirs["last_hidden_state"])


# UNet evaluations


@pytest.fixture
def counted(playroom):
    """The kit with a model that keeps the rows of each UNet call, counted where the UNet is called."""
    from comfy.patcher_extension import WrappersMP

    rows = []

    def count(executor, x, *args, **kwargs):
        rows.append(len(x))
        return executor(x, *args, **kwargs)

    model = playroom.model.clone()
    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "count", count)
    return SimpleNamespace(**vars(playroom) | {"model": model, "rows": rows})


def evaluations(comfy, counted, settings, **changes):
    """What the guider says, after checking it against what the UNet saw."""
    guider, latent = prepare(comfy, counted, guidance=guidance(comfy, **settings))
    counted.rows.clear()
    sample(comfy, counted, guider, latent, **changes)
    assert guider.evaluations == sum(counted.rows)
    return guider.evaluations


@pytest.mark.parametrize(
    ("settings", "per_step"),
    [
        (dict(object_scale=7.5, scene_scale=1.5), 3),
        (dict(object_scale=7.5, scene_scale=1.0), 2),  # s_I = 1
        (dict(object_scale=3.0, scene_scale=3.0), 2),  # s_I = s_T
        (dict(object_scale=0.0, scene_scale=1.5), 2),  # s_T = 0
        (dict(object_scale=0.0, scene_scale=1.0), 1),
        (dict(object_scale=1.0, scene_scale=1.0), 1),
        (dict(object_scale=1.0, scene_scale=1.5), 3),
        (dict(object_scale=0.0, scene_scale=0.0), 1),
        (dict(object_scale=7.5, scene_scale=1.0, object_rescale=0.5), 2),
        (dict(object_scale=3.0, scene_scale=3.0, scene_rescale=0.5), 3),  # measured against the scene's branch
    ],
)
def test_a_branch_without_weight_is_not_evaluated(comfy, counted, settings, per_step):
    assert evaluations(comfy, counted, settings) == per_step * STEPS
    assert len(counted.rows) == STEPS, "the branches of a step go through the UNet together"


@pytest.mark.parametrize(
    ("interval", "inside", "outside"),
    [
        (dict(scene_end=0.5), 3, 2),
        (dict(scene_start=0.5), 3, 2),
        (dict(scene_end=0.5, object_end=0.5), 3, 1),
        (dict(object_end=0.5), 3, 3),
        (dict(scene_start=0.3, scene_end=0.3), 2, 2),
    ],
)
def test_outside_its_interval_a_scale_costs_nothing(comfy, counted, interval, inside, outside):
    steps = 8  # sigmas of "normal" lie evenly in the schedule: four before its middle, four behind
    assert evaluations(comfy, counted, dict(object_scale=7.5, scene_scale=1.5, **interval), steps=steps) == (
        4 * inside + 4 * outside
    )


def test_a_sampler_with_two_calls_per_step_is_counted_in_full(comfy, counted):
    settings = dict(object_scale=7.5, scene_scale=1.5)
    assert evaluations(comfy, counted, settings, sampler="heun") == 3 * (2 * STEPS - 1)


def test_evaluations_are_counted_per_picture_and_anew_in_each_run(comfy, counted):
    guider, latent = prepare(comfy, counted, scene=counted.scenes)
    for _ in range(2):
        counted.rows.clear()
        sample(comfy, counted, guider, latent)
        assert guider.evaluations == 3 * STEPS
        assert counted.rows == [9] * STEPS


# relevance


def relevance(comfy, kit, **changes):
    """Our sampler's map of where the object mattered."""
    inputs = dict(
        **dict(model=kit.model, vae=kit.vae, scene=kit.scene, positive=kit.positive, negative=kit.negative),
        **dict(seed=3, steps=STEPS, sampler_name="euler", scheduler="normal", denoise=1.0),
    )
    return comfy("ImageConditionedPix2PixSampler", **(inputs | changes))[1]


def test_the_object_mattered_where_it_stands_afterwards(comfy, playroom):
    positive, negative = condition(comfy, playroom, playroom.objects, "separate")
    run = dict(scene=playroom.scenes, positive=positive, negative=negative, steps=20, sampler_name="euler_ancestral")
    made = insert(comfy, playroom, **run)
    maps = relevance(comfy, playroom, **run).numpy()
    pictures = [
        comfy("VAEDecode", samples={"samples": samples}, vae=playroom.vae)[0]
        for samples in (made, comfy("VAEEncode", pixels=playroom.scenes, vae=playroom.vae)[0]["samples"])
    ]
    edited, scenes = ((picture * 255).round().byte().numpy() for picture in pictures)
    for picture, scene, where in zip(edited, scenes, maps, strict=True):
        stands = oracle.find(picture, scene).mask
        assert where[stands].mean() > 5 * where[~stands].mean()
        assert where[stands].mean() > 0.5


def test_relevance_is_known_where_the_object_may_be_and_zero_elsewhere(comfy, playroom):
    mask = torch.zeros(1, 128, 128)
    mask[:, 32:96, 48:112] = 1
    where = relevance(comfy, playroom, mask=mask)
    assert where.shape == (1, 128, 128) and where[:, 32:96, 48:112].max() > 0.9
    outside = torch.nn.functional.max_pool2d(mask, 17, 1, 8) == 0  # a cell is 8 px, and maps are enlarged softly
    assert outside.any() and not where[outside].any()


@pytest.mark.parametrize("changes", [dict(denoise=0.1), dict(steps=1), dict(guidance=dict(object_scale=0.0))])
def test_a_run_without_a_step_that_counts_rules_nothing_out(comfy, playroom, changes):
    if "guidance" in changes:
        changes = {"guidance": guidance(comfy, **changes["guidance"])}
    assert torch.equal(relevance(comfy, playroom, **changes), torch.ones(1, 128, 128))


def test_relevance_has_the_scenes_size_and_one_map_per_picture(comfy, playroom):
    scenes = playroom.scenes[:2, 3:120, :99]
    where = relevance(comfy, playroom, scene=scenes)
    assert where.shape == (2, 117, 99) and where.dtype == torch.float32
    assert not torch.equal(where[0], where[1])


# batches


@pytest.mark.parametrize("objects", ["one", "separate"])
def test_a_batch_equals_single_runs(comfy, playroom, objects):
    kit = SimpleNamespace(**vars(playroom))
    if objects == "separate":
        kit.positive, kit.negative = condition(comfy, kit, kit.objects, "separate")
    guider, latent = prepare(comfy, kit, scene=kit.scenes)
    batch = sample(comfy, kit, guider, latent)
    assert len(batch) == 3
    for index in range(3):
        (scene,) = comfy("ImageFromBatch", image=kit.scenes, batch_index=index, length=1)
        (own,) = comfy("LatentFromBatch", samples=latent, batch_index=index, length=1)
        if objects == "separate":
            kit.positive, kit.negative = condition(comfy, kit, kit.objects[index : index + 1])
        guider, _ = prepare(comfy, kit, scene=scene)
        single = sample(comfy, kit, guider, own)
        assert difference(single, batch[index : index + 1]) <= 1e-4
        assert difference(single, batch[index - 1 : index or None]) > 0.1, "the tolerance tells pictures apart"


def test_one_scene_takes_several_objects(comfy, playroom):
    positive, negative = condition(comfy, playroom, playroom.objects, "separate")
    made = insert(comfy, playroom, positive=positive, negative=negative)
    scenes = playroom.scene.expand(3, -1, -1, -1)
    same = insert(comfy, playroom, scene=scenes, positive=positive, negative=negative)
    assert difference(made, same) <= 1e-4


def test_each_picture_of_a_batch_has_its_own_noise(comfy, playroom):
    made = insert(comfy, playroom, scene=playroom.scene.expand(2, -1, -1, -1))
    assert difference(made[0], made[1]) > 0.1


def test_views_joined_by_average_or_tokens_make_one_object(comfy, playroom):
    for views in ("average", "concatenate"):
        positive, negative = condition(comfy, playroom, playroom.objects, views)
        assert len(insert(comfy, playroom, positive=positive, negative=negative)) == 1


# size


class RememberingVae:
    """Loses nothing: decodes to the very pixels it encoded."""

    def encode(self, pixels):
        self.pixels = pixels
        return pixels.new_ones(len(pixels), 4, pixels.shape[1] // 8, pixels.shape[2] // 8)

    def decode(self, latent):
        return self.pixels


@pytest.mark.parametrize("size", [(117, 130), (128, 128), (121, 135), (9, 64)])
def test_a_scene_comes_back_in_its_size_with_every_pixel_in_place(comfy, playroom, size):
    vae = RememberingVae()
    scene = torch.rand(2, *size, 3, generator=torch.Generator().manual_seed(0))
    _, latent = prepare(comfy, playroom, vae=vae, scene=scene, keep_scene=True)
    (back,) = comfy("SceneDecode", latent=latent, vae=vae, scene=scene)
    assert torch.equal(back, scene)
    assert latent["samples"].shape[-2:] == tuple(-(-side // 8) for side in size)


def test_an_odd_scene_goes_through_the_whole_graph(comfy, playroom):
    scene = playroom.scene[:, 3:120, :]
    scene = torch.cat([scene, scene[:, :, :2]], dim=2)
    samples = insert(comfy, playroom, scene=scene)
    (image,) = comfy("SceneDecode", latent={"samples": samples}, vae=playroom.vae, scene=scene)
    assert image.shape == scene.shape == (1, 117, 130, 3)
    assert torch.isfinite(image).all() and image.min() >= 0 and image.max() <= 1


# seeds, masks, patches


def test_the_same_seed_gives_the_same_picture(comfy, playroom):
    settings = dict(sampler_name="euler_ancestral")
    first = insert(comfy, playroom, seed=5, **settings)
    assert torch.equal(first, insert(comfy, playroom, seed=5, **settings))
    assert difference(first, insert(comfy, playroom, seed=6, **settings)) > 0.1


def test_outside_the_mask_the_latent_stays_the_scenes_exactly(comfy, playroom):
    mask = torch.zeros(1, 128, 128)
    mask[:, 32:96, 48:112] = 1
    made = insert(comfy, playroom, mask=mask)
    scene = comfy("VAEEncode", pixels=playroom.scene, vae=playroom.vae)[0]["samples"]
    inside = mask[:, None, ::8, ::8].bool().expand_as(made)
    assert torch.equal(made[~inside], scene[~inside])
    assert difference(made[inside], scene[inside]) > 0.1


def test_a_mask_per_scene_and_of_an_odd_size(comfy, playroom):
    scenes = playroom.scenes[:2, :117, :101]
    masks = torch.zeros(2, 117, 101)
    masks[0, :, 48:], masks[1, 48:] = 1, 1
    made = insert(comfy, playroom, scene=scenes, mask=masks)
    guider, latent = prepare(comfy, playroom, scene=scenes, mask=masks)
    assert latent["noise_mask"].shape == latent["samples"][:, :1].shape == (2, 1, 15, 13)
    assert torch.equal(made[0, :, :, :6], latent["samples"][0, :, :, :6])
    assert torch.equal(made[1, :, :6], latent["samples"][1, :, :6])
    assert difference(made[0, :, :, 6:], latent["samples"][0, :, :, 6:]) > 0.1


def test_no_stroke_of_a_mask_is_too_thin(comfy, playroom):
    """One pixel at the corner of a latent cell frees that cell; the host's own reduction would lose it."""
    mask = torch.zeros(1, 128, 128)
    mask[:, 40, 63] = 1
    made = insert(comfy, playroom, mask=mask)
    scene = comfy("VAEEncode", pixels=playroom.scene, vae=playroom.vae)[0]["samples"]
    changed = (made != scene).any(1)[0].nonzero().tolist()
    assert changed == [[5, 7]]


def test_a_run_that_ends_in_noise_keeps_the_noise_outside_the_mask(comfy, playroom):
    mask = torch.zeros(1, 128, 128)
    mask[:, :64] = 1
    guider, latent = prepare(comfy, playroom, mask=mask)
    (sigmas,) = comfy("BasicScheduler", model=playroom.model, scheduler="normal", steps=STEPS, denoise=1.0)
    high, _ = comfy("SplitSigmas", sigmas=sigmas, step=2)
    half = run_guider(comfy, guider, latent, high, seed=3)
    assert difference(half["samples"][:, :, 8:], latent["samples"][:, :, 8:]) > 0.5


def test_a_lora_changes_the_result_and_spares_the_original(comfy, playroom):
    before = insert(comfy, playroom)
    names = random_lora(comfy, playroom.model, "random.safetensors")
    changed = with_lora(comfy, playroom.model, "random.safetensors", 0.5)
    assert len(changed.get_key_patches("diffusion_model")) and set(names) <= set(changed.patches)
    assert difference(insert(comfy, playroom, model=changed), before) > 1e-3
    assert torch.equal(insert(comfy, playroom), before)


def test_post_cfg_patches_get_the_guided_prediction(comfy, playroom):
    seen = []

    def patch(args):
        seen.append(args)
        return args["denoised"] * 0.5

    model = playroom.model.clone()
    model.set_model_sampler_post_cfg_function(patch)
    made = insert(comfy, playroom, model=model, steps=2)
    assert len(seen) == 2
    step = seen[0]
    assert {"cond_denoised", "uncond_denoised", "sigma", "input", "cond_scale"} <= set(step)
    assert difference(step["cond_denoised"], step["uncond_denoised"]) > 0
    assert difference(made, insert(comfy, playroom, steps=2)) > 1e-3


def test_a_stock_post_cfg_node_applies(comfy, playroom):
    (model,) = comfy("Epsilon Scaling", model=playroom.model, scaling_factor=1.05)
    assert difference(insert(comfy, playroom, model=model), insert(comfy, playroom)) > 1e-3


def test_a_patch_for_two_branches_is_left_out_aloud(comfy, playroom, caplog):
    (model,) = comfy("RescaleCFG", model=playroom.model, multiplier=0.7)
    with caplog.at_level(logging.WARNING):
        made = insert(comfy, playroom, model=model)
    assert "sampler_cfg_function" in caplog.text and "does nothing" in caplog.text
    assert torch.equal(made, insert(comfy, playroom))


def test_a_rescale_pulls_the_contrast_back(comfy, playroom):
    wild = insert(comfy, playroom, guidance=guidance(comfy, 20.0, 1.0))
    tame = insert(comfy, playroom, guidance=guidance(comfy, 20.0, 1.0, object_rescale=1.0))
    plain = insert(comfy, playroom, guidance=guidance(comfy, 1.0, 1.0))
    assert abs(tame.std() - plain.std()) < abs(wild.std() - plain.std())


@pytest.mark.parametrize(("side", "says"), [(512, True), (128, False)])
def test_a_scene_far_from_the_models_size_is_told_on_the_node(comfy, playroom, side, says):
    from visual_insertion_pack.nodes.pix2pix import ImageConditionedPix2PixSampler

    scene = torch.nn.functional.interpolate(playroom.scene.movedim(-1, 1), (side, side)).movedim(1, -1)
    with torch.inference_mode():
        output = ImageConditionedPix2PixSampler.PREPARE_CLASS_CLONE(None).EXECUTE_NORMALIZED(
            model=playroom.model,
            vae=playroom.vae,
            scene=scene,
            positive=playroom.positive,
            negative=playroom.negative,
            seed=0,
            steps=1,
            sampler_name="euler",
            scheduler="normal",
            denoise=1.0,
        )
    remarks = [text for text in output.ui["text"] if "this model works at about 128" in text]
    assert bool(remarks) == says
    assert all("512x512 px" in remark for remark in remarks)


def test_models_that_are_not_ours_are_taken_for_stable_diffusion(playroom):
    from visual_insertion_pack.nodes.host.pix2pix_sampling import working_size_of

    stock = SimpleNamespace(model=SimpleNamespace(latent_format=object()))
    assert (working_size_of(playroom.model), working_size_of(stock)) == (128, 512)
