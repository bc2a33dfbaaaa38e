"""Add-it without ComfyUI on the playroom's trained FLUX, and on a small random folder of diffusers' FluxPipeline."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from PIL import Image

from visual_insertion_pack.pipelines.__main__ import main
from visual_insertion_pack.pipelines.add_it.pipeline import AddItPipeline
from visual_insertion_pack.pipelines.playroom.add_it.additions import judge_all, make_case, make_stages
from visual_insertion_pack.pipelines.playroom.add_it.export import load_detector
from visual_insertion_pack.pipelines.playroom.add_it.scenes import VALIDATION_SEEDS
from visual_insertion_pack.pipelines.playroom.add_it.toy_model import FOLDER, toy_pipeline
from visual_insertion_pack.pipelines.systems import load_add_it

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def toy():
    return toy_pipeline()


@pytest.fixture(scope="module")
def case():
    return make_stages(VALIDATION_SEEDS[3])[0]


def tensor(picture):
    return torch.from_numpy(picture.copy())[None].float() / 255


def array(images):
    return (images * 255).round().byte().numpy()


def test_a_toy_is_added_told_and_shown_and_the_room_stays(toy, case):
    scene = tensor(case.scene)
    told = toy(scene, str(case.target), case.subject, scene_prompt=str(case.source), steps=6)
    shown = toy(
        scene, "a room with a toy on the floor", "toy", picture=tensor(case.view), scene_prompt="a room", steps=6
    )
    pictures = np.concatenate([array(told.images), array(shown.images)])
    scenes = np.stack([case.scene] * 2)
    findings = judge_all([case] * 2, pictures, scenes, load_detector(FOLDER / "detector.safetensors"))
    for finding in findings:
        assert finding.new and finding.hue
        assert finding.background > 24
    x0, y0, x1, y1 = told.place.box
    assert x0 <= told.place.points[0][0] < x1
    assert y0 <= told.place.points[0][1] < y1
    assert told.place.mask[0, told.place.points[0][1], told.place.points[0][0]] == 1
    assert not told.notes


def test_pictures_of_any_size_keep_it_and_the_seed_decides(toy):
    scene = tensor(make_case(VALIDATION_SEEDS[0]).scene)[:, 5:100, :121]
    options = dict(prompt="a room with a red ball", subject="red ball", steps=2, settings=None)
    one = toy(scene, **options)
    assert one.images.shape == (1, 95, 121, 3)
    assert one.place.mask.shape == one.place.relevance.shape == (1, 95, 121)
    assert torch.equal(one.images, toy(scene, **options).images)
    assert not torch.equal(one.images, toy(scene, **options, seed=1).images)


def test_words_that_the_toy_does_not_know_and_long_captions_are_refused(toy):
    scene = torch.rand(1, 64, 64, 3)
    with pytest.raises(ValueError, match="does not know the word “astronaut”"):
        toy(scene, "a room with an astronaut", "astronaut")
    with pytest.raises(ValueError, match="40 words"):
        toy(scene, "red ball " * 20, "red ball", occurrence=1)
    with pytest.raises(ValueError, match="at least one step"):
        toy(scene, "a red ball", "red ball", steps=0)


@pytest.fixture
def files(tmp_path, case):
    scene = Image.fromarray(case.scene).resize((150, 140))
    scene.putalpha(200)
    scene.save(tmp_path / "scene.png")
    Image.fromarray(case.view).save(tmp_path / "toy.png")
    return tmp_path


def command(folder, *more):
    return main(["add", "--scene", str(folder / "scene.png"), "--output", str(folder / "out.png"), *more])


def test_the_command_adds_twice_and_leaves_the_rest_to_the_last_bit(files, capsys):
    one = ["--prompt", "a room with a red ball on the floor", "--subject", "red ball"]
    two = ["--prompt", "a room with a red ball on the floor and a blue mug on the floor", "--subject", "mug"]
    assert command(files, *one, *two, "--scene-prompt", "a room", "--steps", "5", "--device", "cpu") == 0
    assert capsys.readouterr().out.strip().endswith("out.png")
    scene = np.asarray(Image.open(files / "scene.png"))
    result = np.asarray(Image.open(files / "out.png"))
    assert result.shape == scene.shape
    assert (result[..., 3] == 200).all()
    same = (result == scene).all(-1)
    assert 0.4 < same.mean() < 0.99


def test_the_command_says_in_a_line_what_is_wrong(files, capsys):
    def said(*more):
        code = command(files, *more)
        assert code in (1, 2)
        error = capsys.readouterr().err.strip()
        assert "\n" not in error
        return error

    assert "is not in the prompt" in said("--prompt", "a room with a ball", "--subject", "mug")
    assert "2 times" in said("--prompt", "a ball and a ball", "--subject", "ball")
    assert "as many --object" in said(
        "--prompt", "a ball", "--subject", "ball", *["--object", str(files / "toy.png")] * 2
    )
    assert "must come after start" in said("--prompt", "a ball", "--subject", "ball", "--start", ".9", "--blend", ".3")
    assert "missing" in said("--prompt", "a ball", "--subject", "ball", "--models", str(files))
    with pytest.raises(SystemExit):
        command(files, "--prompt", "a ball", "--subject", "ball", "--gamma", "much")


def tokenizers(folder):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import CLIPTokenizer, PreTrainedTokenizerFast

    words = ["▁a", "▁room", "▁with", "▁red", "▁ball", "▁", "▁and"]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0), *((word, -1.0) for word in words)]
    t5 = Tokenizer(models.Unigram(pieces, unk_id=2))
    t5.pre_tokenizer = pre_tokenizers.Metaspace()
    t5.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=t5, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    fast.save_pretrained(folder / "tokenizer_2")
    CLIPTokenizer.from_pretrained(FOLDER / "tokenizer").save_pretrained(folder / "tokenizer")


@pytest.fixture(scope="module")
def flux(tmp_path_factory):
    """diffusers' layout of FLUX.1 in small, with random weights."""
    from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

    folder = tmp_path_factory.mktemp("flux")
    torch.manual_seed(0)
    FluxTransformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=24, pooled_projection_dim=16, guidance_embeds=True, axes_dims_rope=(4, 6, 6),
    ).save_pretrained(folder / "transformer")  # fmt: skip
    AutoencoderKL(
        latent_channels=4, block_out_channels=(8,) * 4, norm_num_groups=4, scaling_factor=0.36, shift_factor=0.12,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    ).save_pretrained(folder / "vae")  # fmt: skip
    clip = dict(vocab_size=647, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
    CLIPTextModel(CLIPTextConfig(**clip, eos_token_id=646)).save_pretrained(folder / "text_encoder")
    t5 = dict(vocab_size=32, d_model=24, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    T5EncoderModel(T5Config(**t5)).save_pretrained(folder / "text_encoder_2")
    tokenizers(folder)
    return folder


def test_a_public_flux_folder_runs_with_words_and_refuses_pictures(flux):
    pipeline = load_add_it(flux, CPU, torch.float32)
    assert type(pipeline) is AddItPipeline
    assert pipeline.find_subject("a room with a red ball", "red ball") == [4, 5]
    settings = replace(pipeline.defaults.settings, gamma=None)
    scene = torch.rand(1, 40, 56, 3, generator=torch.Generator().manual_seed(0))
    added = pipeline(scene, "a room with a red ball", "red ball", scene_prompt="a room", steps=5, settings=settings)
    assert added.images.shape == scene.shape
    with pytest.raises(ValueError, match="told what to add in words alone"):
        pipeline(scene, "a room with a red ball", "red ball", picture=torch.rand(1, 8, 8, 3))


def test_what_is_missing_from_a_folder_is_named(flux, tmp_path):
    with pytest.raises(FileNotFoundError, match="transformer"):
        load_add_it(tmp_path, CPU, torch.float32)
