"""`visual-insertion convert optimizer`: the authors' file becomes one of ours, and says what was chosen for it."""

import json
import shutil
from hashlib import sha256

import pytest
import torch
from safetensors import safe_open
from torch import nn

from visual_insertion_pack.pipelines.__main__ import main
from visual_insertion_pack.pipelines.commands.convert import RELEASED_NULLS
from visual_insertion_pack.pipelines.visual_insertion import optimizer_files as embedding_optimizer
from visual_insertion_pack.pipelines.visual_insertion.released_optimizers import NULLS

WIDTH, ENCODER_WIDTH = 32, 24


@pytest.fixture
def released(tmp_path):
    """released(layers, **changed tensors): a small file of the published layout."""

    def write(layers=2, **changed):
        torch.manual_seed(layers)
        parts = {"projection_layer": nn.Linear(ENCODER_WIDTH, WIDTH)}
        parts["attention_pooling"] = nn.MultiheadAttention(WIDTH, 8)
        parts |= {f"mlp_fc{n + 1}": nn.Linear(WIDTH, WIDTH) for n in range(layers)}
        state = {f"{name}.{key}": value for name, part in parts.items() for key, value in part.state_dict().items()}
        torch.save(state | changed, tmp_path / "emb_opt.pt")
        return tmp_path / "emb_opt.pt"

    return write


@pytest.fixture
def convert(tmp_path):
    """convert(file, *options): the exit code; the result is tmp_path/made.safetensors."""

    def run(file, *options, output="made.safetensors"):
        words = ["convert", "optimizer", file, tmp_path / output, *options]
        return main([str(word) for word in words])

    return run


def notes(path):
    with safe_open(path, framework="pt") as file:
        return file.metadata()


@torch.no_grad()
@pytest.mark.parametrize("layers", [2, 4])
def test_the_converted_file_computes_the_same_and_says_what_was_chosen(convert, released, tmp_path, capsys, layers):
    file = released(layers)
    assert convert(file, "--queries-seed", 11, "--licence", "mine to use") == 0
    said = capsys.readouterr()
    assert f"pooled_mlp{layers}" in said.out and "null: zeros" in said.out and said.err == ""
    made, theirs = (
        embedding_optimizer.load(tmp_path / "made.safetensors"),
        embedding_optimizer.load(file, queries_seed=11),
    )
    features = torch.randn(2, 9, ENCODER_WIDTH)
    assert torch.equal(made(features), theirs(features))
    assert made.settings == theirs.settings and made.null.abs().max() == 0
    found = notes(tmp_path / "made.safetensors")
    assert found.pop("format") == embedding_optimizer.FORMAT and json.loads(found.pop("settings"))["variant"]
    assert found == {
        "variant": f"pooled_mlp{layers}",
        "source": "emb_opt.pt",
        "source_sha256": sha256(file.read_bytes()).hexdigest(),
        "null": "zeros",
        "queries_seed": "11",
        "nan_to_zero": "none",
        "licence": "mine to use",
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["emb_opt.pt", "made.safetensors"]


@torch.no_grad()
def test_nan_is_refused_or_replaced_and_named(convert, released, tmp_path, capsys):
    bias = torch.ones(WIDTH)
    bias[:3] = float("nan")
    file = released(**{"mlp_fc1.bias": bias})
    assert convert(file) == 1
    said = capsys.readouterr().err
    assert f"{file} holds values that are not finite: mlp_fc1.bias (3 values)" in said and "--nan-to-zero" in said
    assert not (tmp_path / "made.safetensors").exists()
    assert convert(file, "--nan-to-zero") == 0
    assert "mlp_fc1.bias (3 values)" in capsys.readouterr().err
    assert notes(tmp_path / "made.safetensors")["nan_to_zero"] == "mlp_fc1.bias (3 values)"
    healed = embedding_optimizer.load(tmp_path / "made.safetensors").layers[0].bias
    assert torch.equal(healed, torch.nan_to_num(bias, 0.0))


@pytest.fixture(scope="module")
def vision_folder(tmp_path_factory):
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=ENCODER_WIDTH,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
    )
    folder = tmp_path_factory.mktemp("vision")
    CLIPVisionModelWithProjection(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def text_folder(home, tmp_path_factory):
    """A diffusers folder's text encoder, small, with the real tokenizer (the host has it)."""
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    config = CLIPTextConfig(hidden_size=WIDTH, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2)
    folder = tmp_path_factory.mktemp("text")
    CLIPTextModel(config).save_pretrained(folder / "text_encoder")
    shutil.copytree(home / "comfy" / "sd1_tokenizer", folder / "tokenizer")
    return folder


@torch.no_grad()
@pytest.mark.parametrize("name", ["blank picture", "blank-picture"])
def test_the_null_may_be_a_blank_picture(convert, released, vision_folder, tmp_path, name):
    from transformers import CLIPVisionModelWithProjection

    assert convert(released(), "--null", name, "--image-encoder", vision_folder) == 0
    made = embedding_optimizer.load(tmp_path / "made.safetensors")
    encoder = CLIPVisionModelWithProjection.from_pretrained(vision_folder).eval()
    tokens = encoder(pixel_values=torch.zeros(1, 3, 32, 32)).last_hidden_state
    assert torch.allclose(made.null, made(tokens)[0], atol=1e-6) and made.null.std() > 0
    assert notes(tmp_path / "made.safetensors")["null"] == "blank picture"


@torch.no_grad()
@pytest.mark.parametrize("layout", ["diffusers", "alone"])
def test_the_null_may_be_an_empty_prompt(convert, released, text_folder, tmp_path, layout):
    from transformers import CLIPTextModel

    folder = text_folder
    if layout == "alone":
        folder = tmp_path / "alone"
        shutil.copytree(text_folder / "text_encoder", folder)
        shutil.copytree(text_folder / "tokenizer", folder, dirs_exist_ok=True, ignore=lambda *_: ["config.json"])
    assert convert(released(), "--null", "empty-prompt", "--text-encoder", folder) == 0
    start, end = 49406, 49407
    encoder = CLIPTextModel.from_pretrained(text_folder / "text_encoder").eval()
    wanted = encoder(torch.tensor([[start] + [end] * 76])).last_hidden_state[0]
    assert torch.allclose(embedding_optimizer.load(tmp_path / "made.safetensors").null, wanted, atol=1e-6)
    assert notes(tmp_path / "made.safetensors")["null"] == "empty prompt"


def test_an_encoder_of_another_width_is_refused(convert, released, text_folder, tmp_path, capsys):
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModelWithProjection

    small = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
    folder = tmp_path / "vision"
    CLIPVisionModelWithProjection(CLIPVisionConfig(image_size=32, patch_size=8, **small)).save_pretrained(folder)
    assert convert(released(), "--null", "blank picture", "--image-encoder", folder) == 1
    assert f"reads vision tokens of width {ENCODER_WIDTH}, but the vision encoder gives" in capsys.readouterr().err
    shutil.copytree(text_folder / "tokenizer", tmp_path / "text" / "tokenizer")
    CLIPTextModel(CLIPTextConfig(**small)).save_pretrained(tmp_path / "text" / "text_encoder")
    assert convert(released(), "--null", "empty prompt", "--text-encoder", tmp_path / "text") == 1
    assert "would be (77, 16), but this optimizer's contexts are (77, 32)" in capsys.readouterr().err
    assert not (tmp_path / "made.safetensors").exists()


class Program:
    """Pickled, it makes a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return type(self.path).touch, (self.path,)


def test_the_command_says_what_is_wrong(convert, released, tmp_path, capsys):
    def refused(code, message, *options, file=None, output="made.safetensors"):
        assert convert(file or released(), *options, output=output) == code
        assert message in capsys.readouterr().err
        assert not (tmp_path / output).exists()

    refused(2, "gone.pt does not exist", file=tmp_path / "gone.pt")
    refused(2, "The folder of", output="nowhere/made.safetensors")
    refused(1, "must end in .safetensors", output="made.pt")
    refused(1, "The null 'blank picture' is made with a CLIP vision model", "--null", "blank picture")
    refused(1, "The null 'empty prompt' is made with a text encoder", "--null", "empty prompt")
    refused(2, "config.json is missing", "--null", "blank picture", "--image-encoder", tmp_path / "nowhere")
    refused(2, "config.json is missing", "--null", "empty prompt", "--text-encoder", tmp_path)
    torch.save({"weight": Program(tmp_path / "canary")}, tmp_path / "program.pt")
    refused(1, "is a pickle that cannot be read as plain tensors", file=tmp_path / "program.pt")
    assert not (tmp_path / "canary").exists()
    ours = embedding_optimizer.build(embedding_optimizer.OptimizerSettings("resampler", 8, 8, 3, heads=2))
    embedding_optimizer.save(ours, tmp_path / "ours.safetensors")
    refused(1, "is not one of the authors' released embedding optimizers", file=tmp_path / "ours.safetensors")
    short = torch.load(released())
    del short["mlp_fc1.bias"]
    torch.save(short, tmp_path / "short.pt")
    refused(1, "is not an embedding optimizer of this pack", file=tmp_path / "short.pt")
    with pytest.raises(SystemExit):
        convert(released(), "--null", "nothing")


def test_a_full_disk_leaves_the_old_file(convert, released, tmp_path, full_disk, capsys):
    (tmp_path / "made.safetensors").write_bytes(b"old")
    file = released()
    with full_disk(1000):
        assert convert(file) == 1
    assert str(tmp_path / "made.safetensors") in capsys.readouterr().err
    assert (tmp_path / "made.safetensors").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["emb_opt.pt", "made.safetensors"]


def test_the_command_offers_the_nulls_there_are():
    assert [name.replace("-", " ") for name in RELEASED_NULLS] == list(NULLS[1:])
