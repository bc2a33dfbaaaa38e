"""What the flagship is compared with: each against an independent computation, in the table, and at its edges."""

import json
import shutil
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from visual_insertion_pack.pipelines.__main__ import main
from visual_insertion_pack.pipelines.baselines import frozen_swap as swap
from visual_insertion_pack.pipelines.baselines.base_null import base_null
from visual_insertion_pack.pipelines.baselines.exemplar_token import exemplar_in_front
from visual_insertion_pack.pipelines.baselines.ip_adapter import AdapterPipeline
from visual_insertion_pack.pipelines.baselines.methods import ToldInWords
from visual_insertion_pack.pipelines.baselines.told_in_words import TextPipeline
from visual_insertion_pack.pipelines.encoders.vision import encoder_pixels, load_encoder, vision_tokens
from visual_insertion_pack.pipelines.paint_by_example.pipeline import PaintByExamplePipeline
from visual_insertion_pack.pipelines.playroom.judging import benchmark
from visual_insertion_pack.pipelines.playroom.world import toys
from visual_insertion_pack.pipelines.playroom.world.words import HUES
from visual_insertion_pack.pipelines.sampling.guidance import Guidance
from visual_insertion_pack.pipelines.visual_insertion.pipeline import VisualInsertionPipeline
from visual_insertion_pack.tests import evaluation_parts, paint_by_example_parts

MODELS = Path(__file__).resolve().parents[2] / "playroom_models"
WIDTH = 48  # of the base's contexts, and of the small Paint by Example's
WORDS = 24  # tokens of its text encoder
SHOWN = 40  # width of the IP-Adapter's image vectors, as ViT-H's 1024 differs from ViT-L's 768


def pictures(seed, *shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


SCENE, OBJECT, OTHER = pictures(1, 1, 64, 64, 3), pictures(2, 1, 32, 32, 3), pictures(3, 1, 32, 32, 3)


def relative(a, b):
    return float((a - b).norm() / b.norm())


@pytest.fixture(scope="module")
def exemplar_folder(tmp_path_factory):
    """A small Paint by Example, its diffusers folder with everything."""
    folder = tmp_path_factory.mktemp("exemplar")
    paint_by_example_parts.write_folder(folder)
    return folder


@pytest.fixture(scope="module")
def ldm_file(tmp_path_factory):
    """The same in one file."""
    path = tmp_path_factory.mktemp("ldm") / "model.safetensors"
    save_file(paint_by_example_parts.ldm_state(paint_by_example_parts.random_encoder()), path)
    return path


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A small folder laid out like Paint by Inpaint's; its vision encoder is that of the small Paint by Example."""
    from diffusers import EulerAncestralDiscreteScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModelWithProjection

    words = evaluation_parts.WORDS
    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    UNet2DConditionModel(**{**paint_by_example_parts.UNET, "in_channels": 8}).save_pretrained(folder / "unet")
    paint_by_example_parts.random_vae().save_pretrained(folder / "vae")
    EulerAncestralDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="leading", steps_offset=1
    ).save_pretrained(folder / "scheduler")

    ends = dict(vocab_size=len(words), bos_token_id=len(words) - 2, eos_token_id=len(words) - 1)
    sizes = dict(hidden_size=WIDTH, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2)
    text = CLIPTextConfig(**sizes, **ends, pad_token_id=len(words) - 1, max_position_embeddings=WORDS)
    CLIPTextModel(text).save_pretrained(folder / "text_encoder")
    tokenizer = folder / "tokenizer"
    tokenizer.mkdir()
    (tokenizer / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}), "utf-8")
    (tokenizer / "merges.txt").write_text("#version: 0.2\nb a</w>\n", "utf-8")
    (tokenizer / "tokenizer_config.json").write_text(json.dumps({"model_max_length": WORDS}), "utf-8")

    vision = CLIPVisionModelWithProjection(CLIPVisionConfig(**paint_by_example_parts.VISION))
    vision.save_pretrained(folder / "image_encoder")
    state = load_file(folder / "image_encoder" / "model.safetensors")
    theirs = paint_by_example_parts.published_names(paint_by_example_parts.random_encoder().state_dict())
    state |= {name[6:]: x for name, x in theirs.items() if name[6:] in state}
    assert len([name for name in state if f"model.{name}" in theirs]) > 20
    save_file(state, folder / "image_encoder" / "model.safetensors", {"format": "pt"})
    (folder / "image_encoder" / "preprocessor_config.json").write_text(
        json.dumps(paint_by_example_parts.PIXELS), "utf-8"
    )
    return folder


def adapter_state(unet, reads, plus=False):
    """Random tensors by the published names of an IP-Adapter, or of its Plus, for a UNet."""
    from diffusers import UNet2DConditionModel

    widths = [module.to_k.out_features for name, module in unet_cross_attention(UNet2DConditionModel.load_config(unet))]
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return 0.3 * torch.randn(*shape, generator=generator)

    state = {}
    if plus:
        hidden, inner, queries = 64, 64, 4  # one head of 64
        state |= {"latents": draw(1, queries, hidden), "proj_in.weight": draw(hidden, reads)}
        state |= {"proj_in.bias": draw(hidden), "proj_out.weight": draw(WIDTH, hidden), "proj_out.bias": draw(WIDTH)}
        state |= {"norm_out.weight": 1 + draw(WIDTH), "norm_out.bias": draw(WIDTH)}
        for layer in (f"layers.{number}" for number in range(4)):
            for norm in ("0.norm1", "0.norm2", "1.0"):
                state |= {f"{layer}.{norm}.weight": 1 + draw(hidden), f"{layer}.{norm}.bias": draw(hidden)}
            state |= {f"{layer}.0.to_q.weight": draw(inner, hidden), f"{layer}.0.to_kv.weight": draw(2 * inner, hidden)}
            state |= {f"{layer}.0.to_out.weight": draw(hidden, inner)}
            state |= {f"{layer}.1.1.weight": draw(4 * hidden, hidden), f"{layer}.1.3.weight": draw(hidden, 4 * hidden)}
    else:
        state |= {"proj.weight": draw(4 * WIDTH, reads), "proj.bias": draw(4 * WIDTH)}
        state |= {"norm.weight": 1 + draw(WIDTH), "norm.bias": draw(WIDTH)}
    state = {f"image_proj.{name}": tensor for name, tensor in state.items()}
    for place, width in enumerate(widths):
        for part in ("k", "v"):
            state[f"ip_adapter.{2 * place + 1}.to_{part}_ip.weight"] = draw(width, WIDTH)
    return state


def unet_cross_attention(config):
    """Names and modules of a UNet's cross-attention, down, up, middle: the order in which an adapter's are numbered."""
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel.from_config(config)
    order = [name.removesuffix(".processor") for name in unet.attn_processors]
    return [(name, unet.get_submodule(name)) for name in order if name.endswith("attn2")]


@pytest.fixture(scope="module")
def adapters(base, tmp_path_factory):
    """Small IP-Adapters as published, {"": file, "plus": file}; beside them their image encoder, no preprocessor."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    folder = tmp_path_factory.mktemp("adapters")
    torch.manual_seed(1)
    sizes = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, projection_dim=SHOWN)
    encoder = CLIPVisionModelWithProjection(CLIPVisionConfig(**sizes, image_size=32, patch_size=8))
    encoder.save_pretrained(folder / "image_encoder")
    files = {"": folder / "ip-adapter_sd15.safetensors", "plus": folder / "ip-adapter-plus_sd15.safetensors"}
    save_file(adapter_state(base / "unet", SHOWN), files[""])
    save_file(adapter_state(base / "unet", 32, plus=True), files["plus"])
    return files


@pytest.fixture(scope="module")
def swapped(base):
    return swap.frozen_swap(base)


@pytest.fixture(scope="module")
def exemplar(base, exemplar_folder):
    return exemplar_in_front(base, exemplar_folder)


@pytest.fixture(scope="module")
def adapted(base, adapters):
    return AdapterPipeline.from_folder(base, adapters[""])


@pytest.fixture(scope="module")
def told(base):
    return TextPipeline.from_folder(base)


@pytest.fixture(scope="module")
def playroom_encoder(tmp_path_factory):
    """The playroom's vision encoder and its preprocessor in one folder."""
    folder = Path(shutil.copytree(MODELS / "image_encoder", tmp_path_factory.mktemp("vision") / "encoder"))
    shutil.copy(MODELS / "feature_extractor" / "preprocessor_config.json", folder)
    return folder


def encoder_of(base):
    from transformers import CLIPVisionModelWithProjection

    return CLIPVisionModelWithProjection.from_pretrained(base / "image_encoder").eval()


@torch.no_grad()
def prompt_context(base, text):
    """A prompt's context [1,N,C], by diffusers' own StableDiffusionPipeline."""
    from diffusers import StableDiffusionPipeline
    from transformers import CLIPTextModel, CLIPTokenizer

    parts = dict(
        text_encoder=CLIPTextModel.from_pretrained(base / "text_encoder"),
        tokenizer=CLIPTokenizer.from_pretrained(base / "tokenizer"),
    )
    absent = dict.fromkeys(("vae", "unet", "scheduler", "safety_checker", "feature_extractor"))
    stock = StableDiffusionPipeline(**parts, **absent, requires_safety_checker=False)
    return stock.encode_prompt(text, "cpu", 1, False)[0]


# Vision tokens for text


def test_the_swap_is_clips_own_way_to_the_width_of_words(swapped, base):
    context, null = swapped.contexts(OBJECT)
    encoder = encoder_of(base)
    look = swapped.encoder.mean, swapped.encoder.std
    pixels = encoder_pixels(OBJECT, 32, *look)
    with torch.no_grad():
        seen = encoder(pixels)
    assert context.shape == null.shape == (1, WORDS, WIDTH)
    assert torch.allclose(context[:, 0], seen.image_embeds, atol=1e-5)
    assert torch.allclose(null, prompt_context(base, ""), atol=1e-5)


def test_the_swap_keeps_the_order_of_the_picture():
    encoder = swap.TokensForWords(encoder_width=8, context_width=8, context_tokens=77)
    ramp = torch.arange(257.0)[None, :, None].expand(1, -1, 8)
    context = encoder(ramp)[0, :, 0]
    assert context.shape == (77,) and context[0] == 0
    assert (context.diff() > 0).all() and context[1] < 4 and context[-1] > 253
    assert encoder(ramp.half()).dtype == torch.float16


def test_at_equal_widths_tokens_go_in_as_they_are():
    pipeline = swap.frozen_swap(MODELS)
    whole = VisualInsertionPipeline.from_folder(MODELS)
    context, null = pipeline.contexts(OBJECT)
    encoder = load_encoder(MODELS / "image_encoder", MODELS / "feature_extractor")
    tokens = vision_tokens(encoder, [OBJECT], [None], "squash", "keep")
    assert torch.allclose(context[:, 0], tokens[:, 0], atol=1e-5)
    ends = [(64 * group // 15, -(-64 * (group + 1) // 15)) for group in range(15)]
    groups = torch.stack([tokens[:, 1 + first : 1 + last].mean(1) for first, last in ends], 1)
    assert torch.allclose(context[:, 1:], groups, atol=1e-5)
    assert torch.equal(null, whole.contexts(OBJECT)[1]) and pipeline.guidance == whole.guidance


def test_a_width_that_nothing_untrained_leads_to_is_refused(base, playroom_encoder):
    with pytest.raises(ValueError, match="width 64.*gives 48.*reads 128.*nothing untrained"):
        swap.untrained_projection(encoder_of(base), 128)
    with pytest.raises(ValueError, match="width 128.*reads 48"):
        swap.frozen_swap(base, playroom_encoder)


# Paint by Example's encoder


def test_the_exemplar_token_is_that_of_paint_by_example(exemplar, base):
    theirs = paint_by_example_parts.random_encoder()
    look = exemplar.encoder.mean, exemplar.encoder.std
    pixels = encoder_pixels(OBJECT, 32, *look)
    with torch.no_grad():
        expected, null = theirs(pixels, return_uncond_vector=True)
    found = exemplar.contexts(OBJECT)
    assert found[0].shape == found[1].shape == (1, 1, WIDTH)
    assert relative(found[0], expected) < 1e-5 and torch.equal(found[1], null)


def test_a_folder_and_a_file_of_paint_by_example_are_the_same(exemplar, base, ldm_file):
    from_file = exemplar_in_front(base, ldm_file)
    for one, other in zip(from_file.contexts(OBJECT), exemplar.contexts(OBJECT), strict=True):
        assert torch.equal(one, other)


def test_the_playrooms_exemplar_encoder_says_what_it_says_to_its_own_unet():
    ours = exemplar_in_front(MODELS, MODELS / "paint_by_example")
    own = PaintByExamplePipeline.from_folder(MODELS / "paint_by_example")
    for one, other in zip(ours.contexts(OBJECT), own.contexts(OBJECT), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_another_vision_encoder_is_refused(base, exemplar_folder, ldm_file, playroom_encoder, tmp_path):
    vision = encoder_of(base)
    vision.vision_model.embeddings.class_embedding.data.add_(0.1)
    vision.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text((base / "image_encoder/preprocessor_config.json").read_text())
    for weights in (exemplar_folder, ldm_file):
        with pytest.raises(ValueError, match="is not the one in.*clip-vit-large-patch14"):
            exemplar_in_front(base, weights, tmp_path)
    with pytest.raises(ValueError, match="width 128.*reads width 48"):
        exemplar_in_front(base, MODELS / "paint_by_example", playroom_encoder)


def test_what_is_no_paint_by_example_is_refused(base, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        exemplar_in_front(base, tmp_path / "nowhere")
    with pytest.raises(ValueError, match="takes 8 channels"):
        exemplar_in_front(base, base)


# IP-Adapter


def stock_run(pipeline, steps, **arguments):
    """diffusers' own three branches on our models: latents, and the noise they began with."""
    from diffusers import EulerDiscreteScheduler

    stock, start = pipeline.pipeline, torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    first, held = float(pipeline.levels[-1]), stock.scheduler
    stock.scheduler = EulerDiscreteScheduler.from_config(held.config, timestep_spacing="linspace", steps_offset=0)
    stock.set_progress_bar_config(disable=True)
    latents = stock(
        image=SCENE.movedim(-1, 1),
        num_inference_steps=steps,
        guidance_scale=7.5,
        image_guidance_scale=1.5,
        latents=start * (1 + first**2) ** 0.5 / first,  # it starts from variance sigma^2, we from 1 + sigma^2
        output_type="latent",
        **arguments,
    ).images
    sigmas, stock.scheduler = stock.scheduler.sigmas, held
    return latents / stock.vae.config.scaling_factor, dict(sampler="euler", sigmas=sigmas, latents=start)


@pytest.mark.parametrize("kind", ["", "plus"])
def test_the_adapter_equals_diffusers_own_three_branches(base, adapters, kind):
    pipeline = AdapterPipeline.from_folder(base, adapters[kind])
    extractor = pipeline.pipeline.feature_extractor
    pixels = encoder_pixels(OBJECT, 32, extractor.image_mean, extractor.image_std)
    empty = prompt_context(base, "")
    theirs, same = stock_run(pipeline, 10, ip_adapter_image=pixels, prompt_embeds=empty, negative_prompt_embeds=empty)
    guidance = Guidance(7.5, 1.5)
    ours = pipeline(SCENE, OBJECT, None, guidance, **same)
    assert relative(ours.latents, theirs) < 1e-4
    assert relative(pipeline(SCENE, OTHER, None, guidance, **same).latents, theirs) > 1e-3
    pipeline.pipeline.set_ip_adapter_scale(0.0)
    silent = [pipeline(SCENE, one, None, guidance, **same).latents for one in (OBJECT, OTHER)]
    assert torch.equal(*silent)


def test_several_pictures_are_several_views_of_one_object(adapted):
    both = adapted.embeds([OBJECT, OTHER])
    assert both[0].shape == both[1].shape == (1, 2, SHOWN) and not both[1].any()
    result = adapted(torch.cat([SCENE, SCENE]), [OBJECT, OTHER], steps=1)
    assert result.images.shape == (2, 64, 64, 3)


def test_an_adapter_that_does_not_pair_is_refused(base, adapters, tmp_path):
    from_folder, file = AdapterPipeline.from_folder, tmp_path / "adapter.safetensors"
    vision, state = adapters[""].parent / "image_encoder", load_file(adapters[""])

    def refused(tensors, message, encoder=vision):
        save_file(tensors, file)
        with pytest.raises(ValueError, match=message):
            from_folder(base, file, encoder)

    wide = {name: torch.cat([x, x], 1) if "_ip." in name else x for name, x in state.items()}
    refused(wide, "does not fit this UNet.*h94/IP-Adapter.*size mismatch")
    refused({name: x for name, x in state.items() if ".5." not in name}, "does not fit this UNet")
    refused(state, "reads vision vectors of width 40.*gives 48", base / "image_encoder")
    refused({name: x for name, x in state.items() if "_ip." in name}, "is no IP-Adapter")
    refused(state | {"image_proj.proj.bias": state["image_proj.proj.bias"] * float("nan")}, "not finite: image_proj")
    with pytest.raises(FileNotFoundError, match="nowhere.safetensors"):
        from_folder(base, tmp_path / "nowhere.safetensors")
    save_file(state, file)
    with pytest.raises(FileNotFoundError, match="image_encoder.*ViT-H/14"):
        from_folder(base, file)


# Text


def test_text_equals_diffusers_own_pipeline_with_a_prompt(told, base):
    stock = told.pipeline
    stock.register_modules(text_encoder=told.text.network, tokenizer=told.text.tokenizer)
    theirs, same = stock_run(told, 10, prompt="add a ball")
    guidance = Guidance(7.5, 1.5)
    assert relative(told(SCENE, "add a ball", guidance, **same).latents, theirs) < 1e-4
    assert torch.allclose(told.text.context("add a ball"), prompt_context(base, "add a ball"), atol=1e-5)
    assert told.text.context("a " * 200).shape == (1, WORDS, WIDTH)


def test_a_base_without_words_is_refused():
    with pytest.raises(FileNotFoundError, match="text_encoder.*know no words"):
        TextPipeline.from_folder(MODELS)


def test_without_words_and_optimizer_there_is_no_null(tmp_path):
    with pytest.raises(FileNotFoundError, match="whole diffusers folder"):
        base_null(tmp_path)


# All of them


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("image_encoder/model.safetensors", "model.safetensors is not a readable safetensors file"),
        ("image_encoder/preprocessor_config.json", "preprocessor_config.json is not valid JSON"),
        ("text_encoder/model.safetensors", "model.safetensors is not a readable safetensors file"),
        ("tokenizer/vocab.json", "The tokenizer in .* cannot be read"),
    ],
)
@pytest.mark.parametrize("damage", ["page", "cut"])
def test_a_damaged_file_of_a_base_is_named(base, tmp_path, file, said, damage):
    folder = Path(shutil.copytree(base, tmp_path / "base"))
    whole = (folder / file).read_bytes()
    (folder / file).write_bytes(b"<!doctype html><html></html>" if damage == "page" else whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=f"{said}.*download it again"):
        swap.frozen_swap(folder)


def test_a_network_that_lacks_a_tensor_is_not_filled_up_with_random_ones(base, tmp_path):
    folder = Path(shutil.copytree(base, tmp_path / "base"))
    weights = folder / "image_encoder" / "model.safetensors"
    tensors = load_file(weights)
    del tensors["vision_model.post_layernorm.weight"]
    save_file(tensors, weights, {"format": "pt"})
    with pytest.raises(ValueError, match="1 are missing, such as vision_model.post_layernorm.weight"):
        swap.frozen_swap(folder)


@pytest.mark.parametrize("damage", ["page", "cut"])
def test_a_damaged_image_encoder_of_an_adapter_is_named(base, adapters, tmp_path, damage):
    encoder = Path(shutil.copytree(adapters[""].parent / "image_encoder", tmp_path / "encoder"))
    weights = encoder / "model.safetensors"
    weights.write_bytes(b"<!doctype html><html></html>" if damage == "page" else weights.read_bytes()[:5000])
    with pytest.raises(ValueError, match="model.safetensors is not a readable safetensors file.*download it again"):
        AdapterPipeline.from_folder(base, adapters[""], encoder)


@pytest.mark.parametrize("which", ["swapped", "exemplar", "adapted", "told"])
def test_object_scale_0_ignores_the_object_and_more_does_not(request, which):
    pipeline = request.getfixturevalue(which)
    objects = ("add a ball", "put b") if which == "told" else (OBJECT, OTHER)

    def run(scale):
        return [pipeline(SCENE, one, guidance=Guidance(scale, 1.5), steps=2, seed=4) for one in objects]

    assert torch.equal(*(result.images for result in run(0.0)))
    assert not torch.equal(*(result.images for result in run(7.5)))
    assert [result.unet_evaluations for result in run(7.5)] == [6, 6]


def test_in_half_precision_they_do_the_same(request, base, exemplar_folder, adapters):
    half = dict(dtype=torch.bfloat16)
    pipelines = {
        "swapped": swap.frozen_swap(base, **half),
        "exemplar": exemplar_in_front(base, exemplar_folder, **half),
        "adapted": AdapterPipeline.from_folder(base, adapters[""], **half),
        "told": TextPipeline.from_folder(base, **half),
    }
    for name, pipeline in pipelines.items():
        said = "add a ball" if name == "told" else OBJECT
        found, expected = (one(SCENE, said, steps=2).latents for one in (pipeline, request.getfixturevalue(name)))
        assert pipeline.pipeline.unet.dtype == torch.bfloat16 and found.dtype == torch.float32
        assert 0 < relative(found, expected) < 0.1, name


# In the table


@pytest.fixture
def evaluate(tmp_path, capsys):
    """evaluate(*arguments): (exit code, stderr, report) on two cases of the playroom."""

    def call(*arguments):
        shared = ["--benchmark", "playroom", "--limit", "2", "--output", str(tmp_path / "out"), "--device", "cpu"]
        code = main(["evaluate", *shared, *map(str, arguments)])
        report = tmp_path / "out" / "report.json"
        return code, capsys.readouterr().err, json.loads(report.read_text("utf-8")) if code == 0 else {}

    return call


def test_the_command_scores_all_of_them_on_a_base(evaluate, base, exemplar_folder, adapters, tmp_path):
    names = ("text", "frozen-swap", "paint-by-example-encoder", "ip-adapter")
    files = ("--paint-by-example", exemplar_folder, "--ip-adapter", adapters[""])
    code, err, report = evaluate("--method", *names, "--base", base, "--steps", 1, *files)
    assert code == 0, err
    assert set(report["summary"]) == set(names)
    files = {name: report["settings"][name]["files"] for name in names}
    assert all(files[name]["base"]["path"] == str(base) for name in names)
    assert files["ip-adapter"]["ip_adapter"]["path"] == str(adapters[""])
    shown = {name: Image.open(next((tmp_path / "out/results" / name).glob("*.png"))).tobytes() for name in names}
    assert len(set(shown.values())) == len(names)


def test_vision_tokens_in_the_place_of_the_playrooms_contexts_do_not_insert_the_toy(evaluate):
    code, err, report = evaluate("--method", "frozen-swap", "visual-insertion", "--steps", 8)
    assert code == 0, err
    identity = {name: row["oracle_identity"]["value"] for name, row in report["summary"].items()}
    assert identity["visual-insertion"] > 0.6 > identity["frozen-swap"] + 0.2


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--method", "ip-adapter"), 2, "--ip-adapter PATH is needed"),
        (("--method", "paint-by-example-encoder"), 2, "--paint-by-example PATH is needed"),
        (("--method", "text"), 2, "playroom's shipped models know no words"),
        (("--method", "frozen-swap", "--base", "nowhere"), 2, "config.json is missing"),
        (("--method", "ip-adapter", "--ip-adapter", "nowhere.safetensors"), 2, "nowhere.safetensors does not exist"),
    ],
)
def test_what_is_missing_is_said_in_a_line(evaluate, arguments, code, said):
    found, err, _ = evaluate(*arguments)
    assert found == code and said in err and "Traceback" not in err


def test_text_is_refused_where_a_benchmark_has_no_instructions(base):
    squares = evaluation_parts.squares()
    mute = replace(squares, read=lambda index: replace(squares.read(index), instruction=""))
    args = Namespace(base=base, models=None, device="cpu")
    with pytest.raises(
        ValueError, match="disc0 of discs has no instruction.*all but dreameditbench, insert-set and anyinsertion"
    ):
        ToldInWords().inserter(args, mute)


def test_the_playrooms_cases_say_what_to_add():
    case = benchmark.playroom(MODELS / "judge.safetensors")[0]
    texture, hue, thing = case.instruction.removeprefix("add a ").split()
    assert texture in benchmark.ADJECTIVES.values() and hue in HUES and thing in toys.SHAPES
    assert case.caption == f"a {texture} {hue} {thing} in a room"
    assert set(benchmark.ADJECTIVES) == set(toys.PATTERNS)
    assert benchmark.name_toy(0, 1, torch.tensor([0.9, 0.1, 0.05]).numpy()) == "a striped red ball"
