"""Networks from diffusers and transformers folders: every form they are saved in, every sentence where they fail."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionModelWithProjection

from visual_insertion_pack.pipelines.__main__ import main
from visual_insertion_pack.pipelines.encoders.vision import load_encoder
from visual_insertion_pack.pipelines.paint_by_example.pipeline import PaintByExamplePipeline
from visual_insertion_pack.pipelines.sampling.pix2pix import load_pix2pix
from visual_insertion_pack.pipelines.sampling.schedulers import read_scheduler
from visual_insertion_pack.pipelines.weights.configs import pixel_statistics
from visual_insertion_pack.pipelines.weights.pretrained import load_model, load_whole

TOYS = Path(__file__).resolve().parents[2] / "playroom_models"
STEM = "diffusion_pytorch_model"
KINDS = {"unet": UNet2DConditionModel, "vae": AutoencoderKL}
ABSURD = [-1, 0, 1_000_000_000, 10**30, "x", [], {}, True, float("nan"), [-1]]
FEW = [-1, 1_000_000_000, "x", [[1]]]


@pytest.fixture
def toys(tmp_path):
    """A copy of the shipped folder."""
    shutil.copytree(TOYS, tmp_path / "toys", ignore=shutil.ignore_patterns("samples", "judge*"))
    return tmp_path / "toys"


def same(one, other):
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def halve(path):
    """In place of a weight file, its 16 bit variant."""
    state = {name: tensor.half() for name, tensor in load_file(path).items()}
    path.unlink()
    save_file(state, path.with_name(path.name.replace(".safetensors", ".fp16.safetensors")))


def rewrite(path, change):
    state = load_file(path)
    change(state)
    save_file(state, path)


def configure(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes))


# what loads


@pytest.mark.parametrize("part", KINDS)
def test_a_model_is_what_diffusers_reads_from_the_folder(part):
    theirs = KINDS[part].from_pretrained(TOYS / part, torch_dtype=torch.float32)
    ours = load_model(KINDS[part], TOYS / part)
    assert same(ours, theirs) and not ours.training
    assert dict(ours.config) == dict(theirs.config) | {"_name_or_path": str(TOYS / part)} and type(ours) is type(theirs)
    assert all(parameter.requires_grad for parameter in ours.parameters())
    assert load_model(KINDS[part], TOYS / part, torch.float16).dtype == torch.float16


def as_half(folder, state):
    halve(folder / f"{STEM}.safetensors")


def as_pickle(folder, state):
    (folder / f"{STEM}.safetensors").unlink()
    torch.save(state, folder / f"{STEM}.bin")


def as_old_pickle(folder, state):
    (folder / f"{STEM}.safetensors").unlink()
    torch.save(state, folder / f"{STEM}.bin", _use_new_zipfile_serialization=False)


def as_shards(folder, state):
    (folder / f"{STEM}.safetensors").unlink()
    placed = {name: f"{STEM}-{number % 2 + 1:05}-of-00002.safetensors" for number, name in enumerate(state)}
    for shard in set(placed.values()):
        save_file({name: state[name] for name in state if placed[name] == shard}, folder / shard)
    (folder / f"{STEM}.safetensors.index.json").write_text(json.dumps({"weight_map": placed}))


def as_wrapped(folder, state):
    save_file({f"module._orig_mod.{name}": tensor for name, tensor in state.items()}, folder / f"{STEM}.safetensors")


@pytest.mark.parametrize("form", [as_half, as_pickle, as_old_pickle, as_shards, as_wrapped])
@pytest.mark.parametrize("part", KINDS)
def test_every_form_of_a_folder_loads(toys, part, form):
    state = load_file(toys / part / f"{STEM}.safetensors")
    form(toys / part, state)
    loaded = load_model(KINDS[part], toys / part).state_dict()
    expected = {name: tensor.half().float() if form is as_half else tensor.float() for name, tensor in state.items()}
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], expected[name]) for name in expected)


def test_full_precision_is_preferred_to_its_half(toys):
    state = load_file(toys / "vae" / f"{STEM}.safetensors")
    save_file({name: torch.zeros_like(t).half() for name, t in state.items()}, toys / f"vae/{STEM}.fp16.safetensors")
    assert same(load_model(AutoencoderKL, toys / "vae"), load_model(AutoencoderKL, TOYS / "vae"))


def test_attention_of_a_vae_may_have_the_names_of_its_first_publication(toys):
    old = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}

    def rename(state):
        for name in list(state):
            for now, before in old.items():
                if now in name:
                    state[name.replace(now, before)] = state.pop(name)

    before = load_file(toys / "vae" / f"{STEM}.safetensors").keys()
    rewrite(toys / "vae" / f"{STEM}.safetensors", rename)
    assert before != load_file(toys / "vae" / f"{STEM}.safetensors").keys()
    assert same(load_model(AutoencoderKL, toys / "vae"), load_model(AutoencoderKL, TOYS / "vae"))


def test_a_vision_encoder_is_what_transformers_reads_from_the_folder(toys):
    theirs = CLIPVisionModelWithProjection.from_pretrained(TOYS / "image_encoder", dtype=torch.float32)
    assert same(load_whole(CLIPVisionModelWithProjection, TOYS / "image_encoder", "The encoder")[0], theirs)
    halve(toys / "image_encoder" / "model.safetensors")
    ours, _ = load_whole(CLIPVisionModelWithProjection, toys / "image_encoder", "The encoder")
    assert same(ours, theirs.half().float())


@pytest.mark.parametrize("command", ["insert", "paint"])
def test_the_commands_read_folders_of_16_bit_files(toys, command, tmp_path):
    for part in ("unet", "vae", "paint_by_example/unet"):
        halve(toys / part / f"{STEM}.safetensors")
    halve(toys / "image_encoder" / "model.safetensors")
    samples = TOYS / "samples"
    mask = ["--box", "40", "40", "40", "40"] if command == "paint" else []
    object_option = "--exemplar" if command == "paint" else "--object"
    models = toys / "paint_by_example" if command == "paint" else toys
    options = [object_option, samples / "object.png", "--models", models, "--output", tmp_path / "out.png", *mask]
    code = main([str(word) for word in [command, "--scene", samples / "scene.png", *options, "--steps", 1]])
    assert code == 0 and (tmp_path / "out.png").is_file()


# what does not


@pytest.mark.parametrize("part", KINDS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop(min(s)), "do not fit their own config: 1 missing (such as "),
        (lambda s: s.update(more=torch.ones(1)), "do not fit their own config: 1 unexpected (such as more)"),
        (lambda s: s.update({min(s): torch.ones(7)}), "do not fit their own config: 1 of another shape (such as "),
        (lambda s: s.update({min(s): s[min(s)] * float("nan")}), "hold values that are not finite: "),
        (lambda s: s.update({min(s): s[min(s)].to(torch.int8)}), "hold weights that are not 16 or 32 bit floating poi"),
        (lambda s: s.update({min(s): s[min(s)].to(torch.float8_e4m3fn)}), "hold weights that are not 16 or 32 bit"),
        (lambda s: [s.update({f"x.{name}": s.pop(name)}) for name in list(s)], "do not fit their own config: "),
    ],
    ids=["missing", "unexpected", "another shape", "NaN", "int8", "fp8", "renamed"],
)
def test_weights_that_do_not_fit_are_named_as_the_nodes_do(toys, part, change, message):
    rewrite(toys / part / f"{STEM}.safetensors", change)
    with pytest.raises(ValueError) as caught:
        load_pix2pix(toys)
    assert str(caught.value).startswith(f"The weights in {toys / part} {message}")


def test_a_folder_without_weights_is_named(toys):
    (toys / "unet" / f"{STEM}.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=re.escape(f"{toys / 'unet'} holds no weights: none of ")):
        load_pix2pix(toys)


def loads_or_names(load, path):
    """Whether `load` refuses; it may only do so by an error that names the file or its folder."""
    try:
        load()
    except (ValueError, FileNotFoundError) as error:
        assert str(path.parent) in str(error), error
        return True
    return False


@pytest.mark.parametrize("value", FEW, ids=repr)
@pytest.mark.parametrize("part", KINDS)
def test_a_config_is_checked_before_memory_is_spent(toys, part, value):
    """Some numbers are not looked at by the network; no other leads to more than an error."""
    path = toys / part / "config.json"
    config = json.loads(path.read_text("utf-8"))
    refused = []
    for name in config:
        path.write_text(json.dumps(config | {name: value}))
        if loads_or_names(lambda: load_model(KINDS[part], toys / part), path):
            refused.append(name)
    assert "block_out_channels" in refused


@pytest.mark.parametrize(
    "name", ["num_hidden_layers", "hidden_size", "num_attention_heads", "patch_size", "image_size"]
)
@pytest.mark.parametrize("value", [*FEW, 0], ids=repr)
def test_a_vision_config_is_checked_before_memory_is_spent(toys, name, value):
    path = toys / "image_encoder" / "config.json"
    configure(path, **{name: value})
    assert loads_or_names(lambda: load_encoder(toys / "image_encoder", toys / "feature_extractor"), path)
    own = json.loads((TOYS / "image_encoder/config.json").read_text("utf-8"))
    assert own[name] != value
    folder = toys / "paint_by_example"
    assert loads_or_names(lambda: PaintByExamplePipeline.from_folder(folder), path)


@pytest.mark.parametrize("value", ABSURD, ids=repr)
def test_a_noise_schedule_is_checked_before_memory_is_spent(toys, value):
    path = toys / "scheduler" / "scheduler_config.json"
    config = json.loads(path.read_text("utf-8"))
    names = {*config, "trained_betas", "num_train_timesteps", "beta_schedule", "rescale_betas_zero_snr"}
    refused = []
    for name in sorted(names):
        path.write_text(json.dumps(config | {name: value}))
        if loads_or_names(lambda: read_scheduler(path), path):
            refused.append(name)
    assert {"beta_start", "beta_schedule", "timestep_spacing", "prediction_type"} <= set(refused)


@pytest.mark.parametrize("value", [*ABSURD, None, [0.5, 0.5], [0.5, 0.5, "x"], [0.5, 0.5, float("inf")]], ids=repr)
@pytest.mark.parametrize("name", ["image_mean", "image_std"])
def test_statistics_of_pixels_are_three_numbers(toys, name, value):
    path = toys / "feature_extractor" / "preprocessor_config.json"
    configure(path, **{name: value})
    with pytest.raises(ValueError, match=f"{re.escape(str(path))}: '{name}' must be three numbers"):
        pixel_statistics(path)


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000, '{"a": ' + "[" * 300 + "]" * 300 + "}", "<html>"])
@pytest.mark.parametrize(
    "name",
    ["unet/config.json", "vae/config.json", "scheduler/scheduler_config.json", "image_encoder/config.json",
     "feature_extractor/preprocessor_config.json", "playroom.json"],
)  # fmt: skip
def test_json_of_any_shape_is_refused_by_name(toys, name, text, tmp_path, capsys):
    (toys / name).write_text(text)
    samples = TOYS / "samples"
    options = ["--object", samples / "object.png", "--models", toys, "--output", tmp_path / "out.png"]
    code = main([str(word) for word in ["insert", "--scene", samples / "scene.png", *options, "--steps", 1]])
    said = capsys.readouterr().err
    assert code == 1 and str(toys / name) in said and len(said.strip().splitlines()) == 1
