"""Students in both doors: the stand-alone pipeline, and the nodes in the real host."""

import pytest
import torch

from visual_insertion_pack.pipelines.__main__ import main
from visual_insertion_pack.pipelines.pictures.scene import pad_to_multiple
from visual_insertion_pack.pipelines.sampling.guidance import Guidance
from visual_insertion_pack.pipelines.visual_insertion.distillation import student as files
from visual_insertion_pack.pipelines.visual_insertion.pipeline import VisualInsertionPipeline
from visual_insertion_pack.tests.distillation.conftest import MODELS
from visual_insertion_pack.tests.nodes.parts import relative

SCENE = torch.rand(1, 117, 130, 3, generator=torch.Generator().manual_seed(1))
OBJECT = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(2))
GUIDANCE = Guidance(2.5, 1.2)
LIMIT = 2e-3  # relative, of the latents: the patch is half precision, added in two orders


@pytest.fixture(scope="module", params=["guidance", "few_step"])
def student_file(request, students):
    return students[request.param]


@pytest.fixture(scope="module")
def pipeline(student_file):
    return VisualInsertionPipeline.from_folder(MODELS, student=student_file)


def applied(comfy, student_file):
    """(MODEL, the other models) with the student of a file."""
    from visual_insertion_pack.nodes.host.students import apply_student

    model, *others = comfy("PlayroomModels")
    return apply_student(model, files.load(student_file)), others


def inputs(comfy, models, guidance=GUIDANCE):
    model, (vae, vision, optimizer) = models
    (seen,) = comfy("ObjectImageEncode", clip_vision=vision, image=OBJECT)
    positive, negative = comfy("EmbeddingOptimizer", embedding_optimizer=optimizer, clip_vision_output=seen)
    (control,) = comfy("GuidanceControl", object_scale=guidance.object_scale, scene_scale=guidance.scene_scale)
    return dict(model=model, vae=vae, scene=SCENE, positive=positive, negative=negative, guidance=control)


def own_schedule(student_file):
    settings = files.load(student_file).settings
    return dict(steps=settings.steps, sampler_name=settings.sampler, scheduler=settings.scheduler, denoise=1.0)


def test_one_evaluation_a_step(pipeline, student_file):
    made = pipeline(SCENE, OBJECT, seed=3)
    assert made.unet_evaluations == files.load(student_file).settings.steps
    assert torch.isfinite(made.images).all()
    assert (made.relevance == 1).all()  # nothing to measure it by: everything may have changed


def test_the_nodes_make_the_same_picture_as_the_pipeline(comfy, pipeline, student_file):
    schedule = own_schedule(student_file)
    given = inputs(comfy, applied(comfy, student_file))
    latent, _ = comfy("ImageConditionedPix2PixSampler", **given, **schedule, seed=3)
    made = pipeline(SCENE, OBJECT, guidance=GUIDANCE, seed=3)
    assert relative(latent["samples"], made.latents) < LIMIT


def test_scales_are_asked_in_words_of_the_student(pipeline):
    pictures = [pipeline(SCENE, OBJECT, guidance=Guidance(scale, 1.2), seed=3).images for scale in (1.0, 4.0)]
    assert not torch.equal(*pictures)


def test_an_interval_asks_for_a_scale_of_one_outside(pipeline):
    without = pipeline(SCENE, OBJECT, guidance=Guidance(1.0, 1.2), seed=3).images
    never = pipeline(SCENE, OBJECT, guidance=Guidance(4.0, 1.2, object_start=0.0, object_end=0.0), seed=3).images
    torch.testing.assert_close(never, without)


def test_a_mask_and_a_shorter_run_go_with_a_student(pipeline, student_file):
    mask = torch.zeros(1, 117, 130)
    mask[:, 40:90, 30:80] = 1
    made = pipeline(SCENE, OBJECT, mask=mask, denoise=0.5, seed=3)
    assert made.unet_evaluations == files.load(student_file).settings.steps // 2
    assert torch.isfinite(made.images).all()


def test_a_mask_goes_with_a_student_in_the_host(comfy, student_file):
    mask = torch.zeros(1, 117, 130)
    mask[:, 40:90, 30:80] = 1
    given = inputs(comfy, applied(comfy, student_file))
    latent, _ = comfy("ImageConditionedPix2PixSampler", **given, **own_schedule(student_file), seed=3, mask=mask)
    outside = latent["noise_mask"].expand_as(latent["samples"]) == 0
    whole, _ = comfy("ImageConditionedPix2PixSampler", **given, **own_schedule(student_file), seed=3)
    with torch.inference_mode():
        scene = given["vae"].encode(pad_to_multiple(SCENE, 8))
    assert outside.any() and torch.equal(latent["samples"][outside], scene[outside])
    assert not torch.equal(whole["samples"][outside], scene[outside])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"steps": 20}, "has learned the noise levels of"),
        ({"scheduler": "karras"}, "has learned the noise levels of"),
    ],
)
def test_other_noise_levels_are_refused_in_the_host(comfy, students, changed, message):
    given = inputs(comfy, applied(comfy, students["guidance"]))
    with pytest.raises(ValueError, match=message):
        comfy("ImageConditionedPix2PixSampler", **given, **own_schedule(students["guidance"]) | changed, seed=3)


def test_scales_that_were_not_learned_are_refused_in_the_host(comfy, students):
    given = inputs(comfy, applied(comfy, students["guidance"]), Guidance(7.5, 1.5))
    with pytest.raises(ValueError, match="has learned object scales from 1 to 4"):
        comfy("ImageConditionedPix2PixSampler", **given, **own_schedule(students["guidance"]), seed=3)


def test_a_second_student_is_refused(comfy, students):
    from visual_insertion_pack.nodes.host.students import apply_student

    model, _ = applied(comfy, students["guidance"])
    with pytest.raises(ValueError, match="one student at a time"):
        apply_student(model, files.load(students["few_step"]))


def test_a_student_of_another_unet_is_refused(comfy, students):
    from visual_insertion_pack.nodes.host.students import apply_student

    model, *_ = comfy("PaintByExamplePlayroomModels")
    student = files.load(students["guidance"])
    student.patch["lora_unet_nowhere.lora_up.weight"] = torch.zeros(3, 4)
    student.patch["lora_unet_nowhere.lora_down.weight"] = torch.zeros(4, 3)
    with pytest.raises(ValueError, match="are none of this model's"):
        apply_student(model, student)


def test_evaluate_takes_a_student(students, tmp_path, capsys):
    command = [
        "evaluate",
        "--benchmark",
        "playroom",
        "--limit",
        "2",
        "--method",
        "distilled",
        "--output",
        str(tmp_path / "out"),
    ]
    assert main([*command, "--student", str(students["few_step"])]) == 0, capsys.readouterr().err
    assert len(list((tmp_path / "out").rglob("*.png"))) >= 2
