"""One engine, two doors: the nodes in the real host and the stand-alone pipeline."""

from pathlib import Path

import pytest
import torch

from visual_insertion_pack.pipelines.sampling import schedulers as samplers
from visual_insertion_pack.pipelines.sampling.guidance import Guidance
from visual_insertion_pack.pipelines.visual_insertion.pipeline import VisualInsertionPipeline
from visual_insertion_pack.tests.nodes.parts import relative, run_guider

MODELS = Path(__file__).resolve().parents[2] / "playroom_models"
LIMIT = 1e-3  # relative, of the latents

SCENE = torch.rand(1, 117, 130, 3, generator=torch.Generator().manual_seed(1))
OBJECT = torch.rand(1, 50, 80, 3, generator=torch.Generator().manual_seed(2))
MASK = torch.zeros(1, 50, 80)
MASK[:, 10:40, 20:60] = 1


@pytest.fixture(scope="module")
def pipeline():
    return VisualInsertionPipeline.from_folder(MODELS)


@pytest.fixture(scope="module")
def models(comfy):
    return comfy("PlayroomModels")


def conditioning(comfy, models, **settings):
    """(positive, negative) of the object."""
    _, _, vision, optimizer = models
    (seen,) = comfy("ObjectImageEncode", clip_vision=vision, image=OBJECT, mask=MASK, **settings)
    return comfy("EmbeddingOptimizer", embedding_optimizer=optimizer, clip_vision_output=seen)


def host_sigmas(model, *timesteps):
    """Noise levels of whole training steps, then 0."""
    return torch.cat([model.get_model_object("model_sampling").sigmas[list(timesteps)].cpu(), torch.zeros(1)])


SETTINGS = {
    "default": {},
    "two branches": {"object_scale": 5.0, "scene_scale": 1.0},
    "no middle branch": {"object_scale": 1.5, "scene_scale": 1.5},
    "intervals": {"object_scale": 6.0, "object_start": 0.1, "object_end": 0.7, "scene_end": 0.5},
    "rescale": {"object_scale": 7.5, "object_rescale": 0.7, "scene_rescale": 0.4},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("sampler", ["euler", "euler_ancestral"])
def test_the_same_noise_and_noise_levels_give_the_same_latents(comfy, models, pipeline, settings, sampler):
    model, vae, _, _ = models
    positive, negative = conditioning(comfy, models)
    sigmas, settings = host_sigmas(model, 999, 800, 600, 400, 200, 50), {"object_scale": 7.5, **settings}
    settings.setdefault("scene_scale", 1.5)
    (guidance,) = comfy("GuidanceControl", **settings)
    guider, empty = comfy(
        "ImageConditionedPix2PixGuider",
        model=model,
        vae=vae,
        scene=SCENE,
        positive=positive,
        negative=negative,
        guidance=guidance,
    )
    host = run_guider(comfy, guider, empty, sigmas, seed=3, sampler=sampler)
    (image,) = comfy("SceneDecode", latent=host, vae=vae, scene=SCENE)

    ours = Guidance(**settings)
    alone = pipeline(SCENE, OBJECT, MASK, ours, sampler=sampler, sigmas=sigmas, seed=3)
    difference = relative(alone.latents, host["samples"])
    print(f"relative difference of the latents: {difference:.2e}")
    assert difference <= LIMIT
    assert alone.images.shape == image.shape == SCENE.shape
    assert (alone.images - image).abs().max() <= 2e-3
    assert alone.unet_evaluations == guider.evaluations
    relevance = guider.relevance.masks(SCENE.shape[:3], 8)
    assert alone.relevance.shape == SCENE.shape[:3]
    assert (alone.relevance - relevance).abs().max() <= 2e-3
    without_scene_branch = settings["object_scale"] == settings["scene_scale"]
    assert bool((relevance == 1).all()) == without_scene_branch


@pytest.mark.parametrize("sampler", ["euler", "euler_ancestral"])
def test_the_sampler_node_and_the_pipeline_make_one_picture_of_one_seed(comfy, models, pipeline, sampler):
    """No sigmas given: both choose theirs, and draw their own noise."""
    model, vae, _, _ = models
    positive, negative = conditioning(comfy, models, framing="pad", background="mean")
    host, relevance = comfy(
        "ImageConditionedPix2PixSampler",
        model=model,
        vae=vae,
        scene=SCENE,
        positive=positive,
        negative=negative,
        seed=11,
        steps=7,
        sampler_name=sampler,
        scheduler="normal",
        denoise=1.0,
    )
    guidance = Guidance()
    alone = pipeline(SCENE, OBJECT, MASK, guidance, sampler=sampler, steps=7, seed=11, framing="pad", background="mean")
    difference = relative(alone.latents, host["samples"])
    print(f"relative difference of the latents: {difference:.2e}")
    assert difference <= LIMIT
    assert (alone.relevance - relevance).abs().max() <= 2e-3
    assert relevance.min() == 0 and relevance.max() > 0.8


# a mask, and a run that starts from the noised scene


def area(rows, columns, value=1.0):
    mask = torch.zeros(SCENE.shape[:3])
    mask[:, rows, columns] = value
    return mask


SOFT = torch.linspace(0, 1, SCENE.shape[2]).expand(SCENE.shape[:3]).clone()
SOFT[:, :, :40] = 0
MASKS = {
    "hard": area(slice(35, 90), slice(20, 75)),
    "soft": SOFT,
    "half of the scene": area(slice(None), slice(65, None)),
    "at a border": area(slice(90, None), slice(0, 33), 0.7),
}
RUNS = {"all noise": (None, 1.0), "denoise 0.6": (None, 0.6), "denoise 0.3": (None, 0.3)}
RUNS |= {f"mask, {name}": (mask, 1.0) for name, mask in MASKS.items()}
RUNS |= {"mask and denoise 0.6": (MASKS["soft"], 0.6), "mask and denoise 0.3": (MASKS["hard"], 0.3)}


def sampler_node(comfy, models, **changes):
    """Latents and relevance of the sampler node."""
    model, vae, _, _ = models
    positive, negative = conditioning(comfy, models)
    settings = dict(seed=11, steps=5, sampler_name="euler", scheduler="normal", denoise=1.0) | changes
    latent, relevance = comfy(
        "ImageConditionedPix2PixSampler",
        model=model,
        vae=vae,
        scene=SCENE,
        positive=positive,
        negative=negative,
        **settings,
    )
    return latent["samples"], relevance


def kept_cells(mask):
    """Latent cells [1,1,h,w] without a pixel that may change, by hand."""
    rows, columns = -SCENE.shape[1] % 8, -SCENE.shape[2] % 8
    padded = torch.nn.functional.pad(mask[:, None], (0, columns, 0, rows), mode="replicate")
    return padded.unflatten(3, (-1, 8)).unflatten(2, (-1, 8)).amax((3, 5)) == 0


def padded_scene():
    """The scene in whole latent cells, by hand."""
    rows, columns = -SCENE.shape[1] % 8, -SCENE.shape[2] % 8
    return torch.nn.functional.pad(SCENE.movedim(-1, 1), (0, columns, 0, rows), mode="replicate")


@torch.no_grad()
def scene_latents(pipeline):
    """The scene's latents by diffusers' VAE, unscaled."""
    return pipeline.pipeline.vae.encode(2 * padded_scene() - 1).latent_dist.mode()


@pytest.mark.parametrize(("mask", "denoise"), RUNS.values(), ids=RUNS)
@pytest.mark.parametrize("sampler", ["euler", "euler_ancestral"])
def test_both_doors_keep_and_start_from_the_scene_alike(comfy, models, pipeline, sampler, mask, denoise):
    given = {} if mask is None else {"mask": mask}
    host, relevance = sampler_node(comfy, models, sampler_name=sampler, denoise=denoise, **given)
    result = pipeline(SCENE, OBJECT, MASK, Guidance(), sampler=sampler, steps=5, seed=11, mask=mask, denoise=denoise)
    alone = result.latents
    assert (result.relevance - relevance).abs().max() <= 2e-3
    difference = relative(alone, host)
    print(f"relative difference of the latents: {difference:.2e}")
    assert difference <= LIMIT
    if mask is not None:
        kept = kept_cells(mask).expand_as(alone)
        assert kept.any() and not kept.all()
        scene = scene_latents(pipeline)
        (theirs,) = comfy("VAEEncode", pixels=padded_scene().movedim(1, -1), vae=models[1])
        assert torch.equal(alone[kept], scene[kept]) and torch.equal(host[kept], theirs["samples"][kept])
        assert (alone - scene)[~kept].abs().mean() > 0.01


# a speed other than exact

SPEED_RUNS = {"all noise": {}, "denoise 0.6": {"denoise": 0.6}, "mask": {"mask": MASKS["soft"]}}


@pytest.mark.parametrize("speed", ["balanced", "fast"])
@pytest.mark.parametrize("run", SPEED_RUNS.values(), ids=SPEED_RUNS)
def test_a_speed_is_one_picture_in_both_doors(comfy, models, pipeline, speed, run):
    """The widgets say something else, and Guidance Control another scale of the scene."""
    (control,) = comfy("GuidanceControl", object_scale=2.5, scene_scale=1.2)
    host, relevance = sampler_node(comfy, models, guidance=control, speed=speed, **run)
    guidance = Guidance(object_scale=2.5, scene_scale=1.2)
    alone = pipeline(SCENE, OBJECT, MASK, guidance, seed=11, steps=2, sampler="ddim", speed=speed, **run)
    assert relative(alone.latents, host) <= LIMIT
    assert (alone.relevance - relevance).abs().max() <= 2e-3
    assert alone.unet_evaluations == {"balanced": 27, "fast": 8}[speed]


@pytest.mark.parametrize("scheduler", ["karras", "simple"])
def test_both_doors_know_a_scheduler_by_one_name(comfy, models, pipeline, scheduler):
    host, _ = sampler_node(comfy, models, scheduler=scheduler)
    alone = pipeline(SCENE, OBJECT, MASK, Guidance(), sampler="euler", scheduler=scheduler, steps=5, seed=11)
    assert relative(alone.latents, host) <= LIMIT


@pytest.mark.parametrize("sampler", ["ddim", "dpmpp_2m"])
def test_samplers_with_noise_levels_of_their_own_keep_the_scene_but_cannot_start_from_it(pipeline, sampler):
    with pytest.raises(ValueError, match=f"{sampler} sets its own noise levels; use euler or euler_ancestral"):
        pipeline(SCENE, OBJECT, sampler=sampler, steps=4, denoise=0.5)
    scene = scene_latents(pipeline)
    for mask in MASKS.values():
        made = pipeline(SCENE, OBJECT, MASK, sampler=sampler, steps=4, mask=mask).latents
        kept = kept_cells(mask).expand_as(made)
        assert torch.equal(made[kept], scene[kept]) and torch.isfinite(made).all()
        assert (made - scene)[~kept].abs().mean() > 0.01


@pytest.mark.parametrize("framing", ["squash", "pad", "crop"])
@pytest.mark.parametrize("background", ["keep", "mean", "white", "grey"])
def test_both_doors_see_the_object_alike(comfy, models, pipeline, framing, background):
    positive, negative = conditioning(comfy, models, framing=framing, background=background)
    context, null = pipeline.contexts(OBJECT, MASK, framing, background)
    assert relative(context, positive[0][0]) < 1e-4
    assert torch.equal(null, negative[0][0])


def test_a_run_that_starts_below_full_noise_starts_alike(comfy, models, pipeline):
    """The second half of a split schedule, and one that does not end clean."""
    model, vae, _, _ = models
    positive, negative = conditioning(comfy, models)
    sigmas = host_sigmas(model, 700, 500, 300)[:-1]
    conditions = dict(model=model, vae=vae, scene=SCENE, positive=positive, negative=negative)
    guider, empty = comfy("ImageConditionedPix2PixGuider", **conditions)
    host = run_guider(comfy, guider, empty, sigmas, seed=3)
    guidance = Guidance()
    alone = pipeline(SCENE, OBJECT, MASK, guidance, sampler="euler", sigmas=sigmas, seed=3)
    assert relative(alone.latents, host["samples"]) <= LIMIT


@pytest.mark.parametrize("scheduler", samplers.SPREADS)
@pytest.mark.parametrize("denoise", [1.0, 0.37])
def test_both_doors_walk_the_same_noise_levels(comfy, models, pipeline, scheduler, denoise):
    """Bit for bit: halfway between two training steps the last bit decides which one the UNet is told."""
    model = models[0]
    for steps in range(1, 120):
        (theirs,) = comfy("BasicScheduler", model=model, scheduler=scheduler, steps=steps, denoise=denoise)
        ours = samplers.spread_sigmas(pipeline.levels, scheduler, steps, denoise)
        assert torch.equal(ours, theirs)
        told = model.get_model_object("model_sampling").timestep(theirs[:-1])
        assert torch.equal(samplers.nearest_timesteps(pipeline.levels, ours[:-1]), told)
