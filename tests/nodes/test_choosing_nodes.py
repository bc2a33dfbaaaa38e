"""Best Of and Guidance Sweep in the real host."""

from importlib import import_module
from types import SimpleNamespace

import pytest
import torch

from visual_insertion_pack.pipelines.playroom.world.dataset import HELD_OUT_SEED
from visual_insertion_pack.pipelines.playroom.world.triplets import make_triplet

STEPS = 6
SAMPLING = dict(steps=STEPS, sampler_name="euler_ancestral", scheduler="karras")
SWEPT = ("guidance", "image", "sheet", "seed", "report")
RANKED = ("image", "images", "sheet", "index", "report")


def picture(pixels):
    return torch.from_numpy(pixels).float()[None] / 255


@pytest.fixture(scope="module")
def kit(comfy):
    """The shipped models and one scene with its object, encoded."""
    model, vae, clip_vision, optimizer = comfy("PlayroomModels")
    triplet, other = (make_triplet(seed, views=1) for seed in (HELD_OUT_SEED + 1, HELD_OUT_SEED + 4))
    thing = picture(triplet.objects[0])
    (seen,) = comfy("ObjectImageEncode", clip_vision=clip_vision, image=thing)
    positive, negative = comfy("EmbeddingOptimizer", embedding_optimizer=optimizer, clip_vision_output=seen)
    return SimpleNamespace(
        conditions=dict(model=model, vae=vae, scene=picture(triplet.scene), positive=positive, negative=negative),
        eye=dict(clip_vision=clip_vision, object_image=thing, embedding_optimizer=optimizer),
        scene=picture(triplet.scene),
        target=picture(triplet.target),
        other=picture(other.target),
        thing=thing,
        thing_mask=torch.from_numpy(triplet.objects_mask[0]).float()[None],
        box=triplet.box,
        mask=torch.from_numpy(triplet.object_mask),
    )


def swept(comfy, kit, **changes):
    inputs = dict(object_scales="2.5", scene_scales="1.2", seed=3, seeds=1, pick="best")
    outputs = comfy("GuidanceSweep", **(kit.conditions | kit.eye | SAMPLING | inputs | changes))
    return dict(zip(SWEPT, outputs, strict=True))


def ranking(comfy, kit, images, **changes):
    inputs = dict(images=images, scene=kit.scene, align_geometry=False)
    return dict(zip(RANKED, comfy("BestOf", **(kit.eye | inputs | changes)), strict=True))


def sampled(comfy, kit, seed, guidance):
    """What the sampler node and Decode Scene make."""
    latent, _ = comfy(
        "ImageConditionedPix2PixSampler", **kit.conditions, **SAMPLING, guidance=guidance, seed=seed, denoise=1.0
    )
    return comfy("SceneDecode", latent=latent, vae=kit.conditions["vae"], scene=kit.scene)[0]


# Best Of


def test_the_true_picture_is_best_and_what_shows_nothing_or_another_room_is_last(comfy, kit):
    made = ranking(comfy, kit, torch.cat([kit.scene, kit.other, kit.target]))
    assert made["index"] == 2 and torch.equal(made["image"], kit.target)
    assert torch.equal(made["images"][:1], kit.target) and made["images"].shape == (3, 128, 128, 3)
    lines = made["report"].splitlines()
    assert lines[0].startswith("1. result 3, score")
    assert "nothing appeared" in made["report"]
    assert made["sheet"].shape[0] == 1 and made["sheet"].shape[2] > 3 * 128


def test_a_toy_of_another_kind_is_worse(comfy, kit):
    """The object of another case in the place of this one's."""
    x0, y0, x1, y1 = (round(side) for side in kit.box)
    wrong = kit.target.clone()
    wrong[0][kit.mask] = 1 - wrong[0][kit.mask]
    made = ranking(comfy, kit, torch.cat([wrong, kit.target]))
    assert made["index"] == 1


def test_a_pasted_picture_is_worse_than_a_result_that_is_none(comfy, kit):
    pasted = kit.scene.clone()
    on = kit.thing_mask[0] > 0.5
    pasted[0, 50:114, 40:104][on] = kit.thing[0][on]
    (guidance,) = comfy("GuidanceControl", object_scale=2.5, scene_scale=1.2)
    honest = sampled(comfy, kit, 3, guidance)
    made = ranking(comfy, kit, torch.cat([pasted, honest]), object_mask=kit.thing_mask)
    assert made["index"] == 1
    assert made["report"].count("copy-paste") == 1 and "copy-paste" in made["report"].splitlines()[1]


def test_results_of_another_size_are_laid_over_the_scene(comfy, kit):
    (large,) = comfy("ImageScale", image=kit.target, upscale_method="bicubic", width=256, height=256, crop="disabled")
    (small,) = comfy("ImageScale", image=kit.scene, upscale_method="bicubic", width=256, height=256, crop="disabled")
    made = ranking(comfy, kit, torch.cat([small, large]))
    assert made["index"] == 1 and made["image"].shape == (1, 256, 256, 3)


def test_it_sees_without_an_embedding_optimizer(comfy, kit):
    made = ranking(comfy, kit, torch.cat([kit.scene, kit.target]), embedding_optimizer=None)
    assert made["index"] == 1


def test_of_equal_results_the_first_is_the_best(comfy, kit):
    assert ranking(comfy, kit, kit.target.repeat(2, 1, 1, 1))["index"] == 0
    nothing = ranking(comfy, kit, kit.scene)
    assert nothing["index"] == 0 and "Nothing appeared in any result" in nothing["report"]


# Guidance Sweep


def test_each_cell_is_to_the_bit_what_the_sampler_makes(comfy, kit):
    """Also cells that took their first step from another one."""
    for pick, object_scale, scene_scale in (("1, 1", 2.0, 1.0), ("1, 2", 3.0, 1.0), ("2, 2", 3.0, 1.4)):
        made = swept(comfy, kit, object_scales="2, 3", scene_scales="1, 1.4", pick=pick)
        guidance = made["guidance"]
        assert (guidance.object_scale, guidance.scene_scale) == (object_scale, scene_scale)
        assert torch.equal(made["image"], sampled(comfy, kit, made["seed"], guidance))


def test_the_first_step_is_evaluated_once_for_all_cells_of_a_seed(comfy, kit):
    unet = kit.conditions["model"].model.diffusion_model
    rows = []
    hook = unet.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    try:
        swept(comfy, kit, object_scales="2, 3, 4", scene_scales="1.2, 1.4", seeds=2)
    finally:
        hook.remove()
    cells = 6
    assert sum(rows) == 2 * 3 * (cells * (STEPS - 1) + 1)


def test_the_best_cell_and_the_best_of_its_seeds_go_on(comfy, kit):
    made = swept(comfy, kit, object_scales="0, 2.5", scene_scales="1.2", seeds=2)
    assert made["guidance"].object_scale == 2.5
    assert "row 1, column 2 (object 2.5, scene 1.2)" in made["report"].splitlines()[0]
    assert made["seed"] in (3, 4)
    assert torch.equal(made["image"], sampled(comfy, kit, made["seed"], made["guidance"]))


def test_intervals_and_rescales_are_kept(comfy, kit):
    (control,) = comfy("GuidanceControl", object_scale=9.0, scene_scale=9.0, object_end=0.6, scene_rescale=0.3)
    guidance = swept(comfy, kit, guidance=control)["guidance"]
    assert (guidance.object_scale, guidance.object_end, guidance.scene_rescale) == (2.5, 0.6, 0.3)


def test_a_mask_is_kept_to(comfy, kit):
    mask = torch.zeros(1, 128, 128)
    mask[:, 64:] = 1
    free, masked = swept(comfy, kit), swept(comfy, kit, mask=mask)
    assert not torch.equal(free["image"], masked["image"])


def test_the_progress_runs_over_all_runs_and_a_cancelled_sweep_ends(comfy, kit, monkeypatch):
    progress = []
    utils = import_module("comfy.utils")
    monkeypatch.setattr(utils, "PROGRESS_BAR_HOOK", lambda value, total, *_, **__: progress.append((value, total)))
    swept(comfy, kit, object_scales="2, 3", seeds=2)
    steps = [value for value, total in progress if total == 4 * STEPS]
    assert steps == sorted(steps) and steps[0] == 1 and steps[-1] == 4 * STEPS  # the host leaves some out
    cancelled = import_module("comfy.model_management").InterruptProcessingException

    def cancel(value, total, *_, **__):
        if total == 2 * STEPS and value > 1:
            raise cancelled

    monkeypatch.setattr(utils, "PROGRESS_BAR_HOOK", cancel)
    with pytest.raises(cancelled):
        swept(comfy, kit, seeds=2)
