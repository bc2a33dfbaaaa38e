"""One engine, two doors: the nodes in the real host and the stand-alone pipeline."""

from pathlib import Path

import pytest
import torch

from visual_insertion_pack.pipelines.sampling import schedulers as samplers
from visual_insertion_pack.pipelines.sampling.guidance import Guidance
from visual_insertion_pack.pipelines.visual_insertion.pipeline import VisualInsertionPipeline

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


def relative(a, b):
    return float((a - b).norm() / b.norm())


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
    (select,) = comfy("KSamplerSelect", sampler_name=sampler)
    (noise,) = comfy("RandomNoise", noise_seed=3)
    host, _ = comfy(
        "SamplerCustomAdvanced", noise=noise, guider=guider, sampler=select, sigmas=sigmas, latent_image=empty
    )
    (image,) = comfy("SceneDecode", latent=host, vae=vae, scene=SCENE)

    ours = Guidance(**settings)
    alone = pipeline(SCENE, OBJECT, MASK, ours, sampler=sampler, sigmas=sigmas, seed=3)
    difference = relative(alone.latents, host["samples"])
    print(f"relative difference of the latents: {difference:.2e}")
    assert difference <= LIMIT
    assert alone.images.shape == image.shape == SCENE.shape
    assert (alone.images - image).abs().max() <= 2e-3
    assert alone.unet_evaluations == guider.evaluations


@pytest.mark.parametrize("sampler", ["euler", "euler_ancestral"])
def test_the_sampler_node_and_the_pipeline_make_one_picture_of_one_seed(comfy, models, pipeline, sampler):
    """No sigmas given: both choose theirs, and draw their own noise."""
    model, vae, _, _ = models
    positive, negative = conditioning(comfy, models, framing="pad", background="mean")
    (host,) = comfy(
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
    (select,) = comfy("KSamplerSelect", sampler_name="euler")
    (noise,) = comfy("RandomNoise", noise_seed=3)
    host, _ = comfy(
        "SamplerCustomAdvanced", noise=noise, guider=guider, sampler=select, sigmas=sigmas, latent_image=empty
    )
    guidance = Guidance()
    alone = pipeline(SCENE, OBJECT, MASK, guidance, sampler="euler", sigmas=sigmas, seed=3)
    assert relative(alone.latents, host["samples"]) <= LIMIT


def test_both_doors_walk_the_same_noise_levels(comfy, models, pipeline):
    """Bit for bit: halfway between two training steps the last bit decides which one the UNet is told."""
    model = models[0]
    for steps in range(1, 120):
        (theirs,) = comfy("BasicScheduler", model=model, scheduler="normal", steps=steps, denoise=1.0)
        ours = samplers.normal_sigmas(pipeline.levels, steps)
        assert torch.equal(ours, theirs)
        told = model.get_model_object("model_sampling").timestep(theirs[:-1])
        assert torch.equal(samplers.nearest_timesteps(pipeline.levels, ours[:-1]), told)
