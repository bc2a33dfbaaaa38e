"""A UNet patch and the optimizer trained with it, through Python, the command, the nodes and diffusers' own loader."""

import json
import re

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from visual_insertion_pack.benchmarks import bench_patch_doors as doors
from visual_insertion_pack.pipelines.__main__ import main
from visual_insertion_pack.pipelines.visual_insertion.pipeline import VisualInsertionPipeline
from visual_insertion_pack.pipelines.visual_insertion.trained_files import files_of_run

LIMIT = 1e-3  # of a pixel in 0..1


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return doors.train(tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return doors.Case(tmp_path_factory.mktemp("case"))


@pytest.fixture(scope="module")
def python(run, case):
    """The picture of the Python pipeline."""
    return case.insert(VisualInsertionPipeline.from_run(run))


def test_the_nodes_and_the_command_give_the_pictures_of_python(comfy, run, case, python, tmp_path):
    assert (doors.through_the_nodes(case, run, comfy) - python).abs().max() <= LIMIT
    made = doors.through_the_command(case, run, tmp_path / "result.png")
    assert (made - doors.in_8_bits(python)).abs().max() <= LIMIT
    optimizer = files_of_run(run).embedding_optimizer
    without = VisualInsertionPipeline.from_folder(doors.MODELS, optimizer, unet_patch="none")
    assert (case.insert(without) - python).abs().max() > 0.05  # the patch does something


def test_the_sampler_says_that_the_patch_is_missing_and_nothing_where_it_is_there(comfy, run, case):
    from visual_insertion_pack.nodes.host.conditionings import missing_patch

    doors.through_the_nodes(case, run, comfy)  # puts the files where the loaders look
    model, vae, clip_vision, own = comfy("PlayroomModels")
    (patched,) = comfy("LoraLoaderModelOnly", model=model, lora_name=doors.NAME, strength_model=1.0)
    (optimizer,) = comfy("EmbeddingOptimizerLoader", name=doors.NAME)
    (encoded,) = comfy("ObjectImageEncode", clip_vision=clip_vision, image=case.object)
    positive, negative = comfy("EmbeddingOptimizer", embedding_optimizer=optimizer, clip_vision_output=encoded)
    guider = comfy.nodes.NODE_CLASS_MAPPINGS["ImageConditionedPix2PixGuider"]
    inputs = dict(vae=vae, scene=case.scene, positive=positive, negative=negative)
    with torch.inference_mode():
        (told,) = guider.execute(model=model, **inputs).ui["text"]
        assert "trained together with unet_attn2.safetensors" in told and "Load LoRA" in told
        assert guider.execute(model=patched, **inputs).ui["text"] == []
    (plain, _) = comfy("EmbeddingOptimizer", embedding_optimizer=own, clip_vision_output=encoded)
    assert missing_patch(model, plain) == ""


def test_diffusers_loader_gives_the_pictures_of_python(run, case, python, tmp_path):
    pytest.importorskip("peft", reason="diffusers' own loader needs peft")
    assert (doors.through_diffusers(case, run, tmp_path) - python).abs().max() <= LIMIT


def test_the_result_says_what_made_it(run, case, tmp_path):
    doors.through_the_command(case, run, tmp_path / "result.png")
    record = json.loads(Image.open(tmp_path / "result.png").text["visual-insertion"])
    assert record["settings"]["seed"] == doors.SEED
    assert record["settings"]["guidance"]["object_scale"] == 2.5  # the playroom's own
    assert record["software"]["torch"] and re.fullmatch(r"[0-9a-f]{7,}(\+changes)?|none", record["software"]["commit"])
    hashes = record["sha256"]
    assert hashes["unet_patch"].keys() == {"unet_attn2.safetensors"} and "scene.png" in hashes["scene"]
    assert "unet/diffusion_pytorch_model.safetensors" in hashes["models"]


def test_an_optimizer_whose_patch_is_not_named_is_refused_and_another_one_is_said(run, case, tmp_path, capsys):
    optimizer = files_of_run(run).embedding_optimizer
    pictures = ["--scene", str(case.scene_file), "--object", str(case.object_file)]
    once = ["insert", *pictures, "--output", str(tmp_path / "x.png"), "--embedding-optimizer", str(optimizer)]
    once += ["--steps", "1", "--device", "cpu"]
    assert main(once) == 1
    assert "was trained together with the UNet patch unet_attn2.safetensors (sha256 " in capsys.readouterr().err
    other = tmp_path / "other.safetensors"
    patch = run / "unet_attn2.safetensors"
    assert main(["convert", "diffusers-lora", str(patch), str(other), "--base", str(doors.MODELS), "--rank", "1"]) == 0
    assert main([*once, "--unet-patch", str(other)]) == 0  # the same patch in another form
    assert "another UNet patch" not in capsys.readouterr().err
    save_file(load_file(other), other)  # without its metadata it is any patch
    assert main([*once, "--unet-patch", str(other)]) == 0
    assert "was trained together with another UNet patch than" in capsys.readouterr().err
    assert main([*once, "--unet-patch", "none"]) == 0
