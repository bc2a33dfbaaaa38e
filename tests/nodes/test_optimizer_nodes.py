"""The embedding optimizer's nodes in the real host: released files, nulls, a second encoder, a text beside the object.

Encoders here have the real widths, token counts and tokenizer, but two layers and random weights.
"""

import json
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from visual_insertion_pack.pipelines.__main__ import main
from visual_insertion_pack.pipelines.encoders.vision import vision_tokens
from visual_insertion_pack.pipelines.visual_insertion import optimizer_files as embedding_optimizer
from visual_insertion_pack.pipelines.visual_insertion.context_encoder import object_context
from visual_insertion_pack.pipelines.visual_insertion.pipeline import VisualInsertionPipeline
from visual_insertion_pack.pipelines.weights.reading import read_weights
from visual_insertion_pack.tests.nodes.parts import relative, run_guider

MODELS = Path(__file__).resolve().parents[2] / "playroom_models"
START, END = 49406, 49407  # of CLIP's vocabulary


@pytest.fixture(scope="module")
def models(comfy):
    return comfy("PlayroomModels")


@pytest.fixture
def folder(comfy):
    """Where the loader looks; emptied afterwards."""
    folder = comfy.base / "models" / "embedding_optimizers"
    folder.mkdir(exist_ok=True)
    before = set(folder.iterdir())
    yield folder
    for path in set(folder.iterdir()) - before:
        path.unlink()


@torch.no_grad()
def randomise(module):
    """Random weights that 16 bit hold exactly, as the host stores encoders."""
    torch.manual_seed(0)
    for name, parameter in module.named_parameters():
        gain = name.endswith("weight") and parameter.ndim == 1
        nn.init.normal_(parameter, mean=1.0 if gain else 0.0, std=0.05).copy_(parameter.half().float())
    return module.eval()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """saved(module): the folder that transformers makes of it, and the tensors in its file, which the host reads."""

    def save(module):
        folder = tmp_path_factory.mktemp("saved")
        module.save_pretrained(folder)
        return folder, read_weights(folder / "model.safetensors")[0]

    return save


@pytest.fixture(scope="module")
def vision(comfy, saved):
    """(CLIP_VISION, the same as transformers makes it) of ViT-L/14's widths: 257 tokens of 1024."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    from visual_insertion_pack.nodes.host.diffusers_models import build_clip_vision

    config = CLIPVisionConfig(
        hidden_size=1024, intermediate_size=256, num_hidden_layers=2, num_attention_heads=16, patch_size=14
    )
    theirs = randomise(CLIPVisionModelWithProjection(config))
    host = build_clip_vision(config.to_dict())
    assert not host.load_sd(saved(theirs)[1])[0]
    return host, theirs


@pytest.fixture(scope="module")
def text(comfy, saved):
    """text(width): (CLIP, the same as transformers makes it), with the real tokenizer."""
    import comfy.sd
    from transformers import CLIPTextConfig, CLIPTextModel

    @cache
    def make(width):
        size = dict(hidden_size=width, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4)
        theirs = randomise(CLIPTextModel(CLIPTextConfig(**size)))
        state = {f"text_model.{name.removeprefix('text_model.')}": x for name, x in saved(theirs)[1].items()}
        host = comfy.sd.load_text_encoder_state_dicts([state], model_options={"model_config": {**size}})
        return host, theirs

    return make


# The authors' files at their full size


def released(variant):
    """The tensors of a released file; layers as torch initialises them."""
    torch.manual_seed(0)
    if variant == "two_linear":
        sizes = {"projection": (1024, 768), "fc1": (768, 768), "fc2": (768, 768), "seq_projection": (257, 77)}
        parts = {name: nn.Linear(*size) for name, size in sizes.items()}
    else:
        parts = {"projection_layer": nn.Linear(1024, 768), "attention_pooling": nn.MultiheadAttention(768, 8)}
        parts |= {f"mlp_fc{n + 1}": nn.Linear(768, 768) for n in range(int(variant[-1]))}
    return {f"{name}.{key}": value for name, part in parts.items() for key, value in part.state_dict().items()}


SHAPES = {"two_linear": 1_988_250, "pooled_mlp2": 4_330_752, "pooled_mlp4": 5_511_936}


@torch.no_grad()
@pytest.mark.parametrize(("variant", "parameters"), SHAPES.items())
def test_the_released_shapes_load_and_pair_at_full_size(comfy, models, vision, folder, variant, parameters):
    state = released(variant)
    assert sum(tensor.numel() for tensor in state.values()) == parameters
    torch.save(state, folder / "emb_opt.pt")
    (optimizer,) = comfy("EmbeddingOptimizerLoader", name="emb_opt.pt", queries_seed=3)
    assert optimizer.module.settings.variant == variant
    picture = torch.rand(1, 60, 50, 3, generator=torch.Generator().manual_seed(0))
    (seen,) = comfy("ObjectImageEncode", clip_vision=vision[0], image=picture)
    assert seen["last_hidden_state"].shape == (1, 257, 1024)
    positive, negative = comfy("EmbeddingOptimizer", embedding_optimizer=optimizer, clip_vision_output=seen)
    alone = embedding_optimizer.load(folder / "emb_opt.pt", queries_seed=3)
    wanted, null = object_context(alone, seen["last_hidden_state"])
    assert wanted.shape == (1, 77, 768) and null.abs().max() == 0
    assert relative(positive[0][0], wanted) < 1e-5 and torch.equal(negative[0][0], null)
    (other,) = comfy("EmbeddingOptimizerLoader", name="emb_opt.pt", queries_seed=4)
    changed, _ = comfy("EmbeddingOptimizer", embedding_optimizer=other, clip_vision_output=seen)
    assert torch.equal(changed[0][0], positive[0][0]) == (variant == "two_linear")  # the others ask with noise
    (toy,) = comfy("ObjectImageEncode", clip_vision=models[2], image=picture)
    with pytest.raises(ValueError, match="reads vision tokens of width 1024, but the vision encoder gives width 128"):
        comfy("EmbeddingOptimizer", embedding_optimizer=optimizer, clip_vision_output=toy)


@pytest.fixture
def negative_of(comfy, folder, vision):
    """negative_of(variant, **inputs of the loader): the null [77,768] of a released file."""

    def run(variant, **inputs):
        torch.save(released(variant), folder / "emb_opt.pt")
        (optimizer,) = comfy("EmbeddingOptimizerLoader", name="emb_opt.pt", **inputs)
        seen = {"last_hidden_state": torch.zeros(1, 257, 1024)}
        return comfy("EmbeddingOptimizer", embedding_optimizer=optimizer, clip_vision_output=seen)[1][0][0][0]

    return run


@torch.no_grad()
@pytest.mark.parametrize("variant", ["two_linear", "pooled_mlp2"])
def test_a_blank_picture_is_the_null_of_the_authors_training(negative_of, vision, folder, variant):
    host, theirs = vision
    null = negative_of(variant, null="blank picture", clip_vision=host, queries_seed=2)
    tokens = theirs(pixel_values=torch.zeros(1, 3, 224, 224)).last_hidden_state
    wanted = embedding_optimizer.load(folder / "emb_opt.pt", queries_seed=2)(tokens)[0]
    assert null.std() > 0.01 and relative(null, wanted) < 1e-4


@torch.no_grad()
def test_the_empty_prompt_is_the_null_of_the_base_model(negative_of, text):
    host, theirs = text(768)
    null = negative_of("pooled_mlp2", null="empty prompt", clip=host)
    wanted = theirs(torch.tensor([[START] + [END] * 76])).last_hidden_state[0]
    assert relative(null, wanted) < 1e-4


def test_encoders_that_the_null_does_not_need_change_nothing(negative_of, vision, text):
    for null in ("stored", "zeros"):
        assert negative_of("pooled_mlp4", null=null, clip_vision=vision[0], clip=text(128)[0]).abs().max() == 0


def test_our_own_null_is_kept_unless_another_is_asked_for(comfy, with_details):
    (kept,) = comfy("EmbeddingOptimizerLoader", name=with_details.name, queries_seed=9)
    (again,) = comfy("EmbeddingOptimizerLoader", name=with_details.name)
    (zeros,) = comfy("EmbeddingOptimizerLoader", name=with_details.name, null="zeros")
    assert torch.equal(kept.module.null, again.module.null) and kept.module.null.std() > 0.5
    assert zeros.module.null.abs().max() == 0
    assert torch.equal(kept.module.queries, again.module.queries)


# A second encoder


@pytest.fixture(scope="module")
def dino(comfy, saved):
    """(CLIP_VISION, folder of the same for transformers): DINOv2 as the host feeds the large one, at 518 px."""
    import comfy.clip_vision
    from transformers import Dinov2Config, Dinov2Model

    from visual_insertion_pack.nodes.host.diffusers_models import build_clip_vision

    config = Dinov2Config(hidden_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=518, patch_size=14)
    folder, state = saved(randomise(Dinov2Model(config)))
    own = json.loads((Path(comfy.clip_vision.__file__).parent / "image_encoders/dino2_large.json").read_text("utf-8"))
    statistics = {name: own[name] for name in ("image_mean", "image_std")}
    published = {"crop_size": {"height": 224, "width": 224}, "size": {"shortest_edge": 256}}
    (folder / "preprocessor_config.json").write_text(json.dumps(statistics | published))
    size = {name: getattr(config, name) for name in ("hidden_size", "num_hidden_layers", "num_attention_heads")}
    host = build_clip_vision(own | size)
    missing, unexpected = host.load_sd(state)
    assert not missing and not unexpected
    return host, folder


@pytest.fixture
def with_details(models, folder):
    """The file of an optimizer for the playroom that reads the second encoder as well."""
    torch.manual_seed(0)
    settings = type(models[3].module.settings)(**{**vars(models[3].module.settings), "detail_width": 64})
    optimizer = embedding_optimizer.build(settings)
    optimizer.null.normal_()
    embedding_optimizer.save(optimizer, folder / "details.safetensors")
    return folder / "details.safetensors"


VIEWS = torch.rand(2, 90, 60, 3, generator=torch.Generator().manual_seed(1))
MASK = torch.zeros(2, 90, 60)
MASK[:, 20:70, 10:50] = 1
LOOK = dict(framing="pad", background="mean")


def test_both_doors_read_a_second_encoder_alike(comfy, models, dino, with_details):
    """Two views, with the mean colour of each encoder around the object, squashed to each encoder's size."""
    host, folder = dino
    (optimizer,) = comfy("EmbeddingOptimizerLoader", name=with_details.name)
    shown = dict(image=VIEWS, mask=MASK, **LOOK)
    (seen,) = comfy("ObjectImageEncode", clip_vision=models[2], **shown)
    (details,) = comfy("ObjectImageEncode", clip_vision=host, **shown)
    assert details["last_hidden_state"].shape == (2, 37**2 + 1, 64)
    given = dict(embedding_optimizer=optimizer, clip_vision_output=seen, detail_output=details)
    alone = VisualInsertionPipeline.from_folder(MODELS, with_details, detail_encoder=folder)
    tokens = vision_tokens(alone.detail_encoder, list(VIEWS), list(MASK), **LOOK)
    assert alone.detail_encoder.size == 518 and relative(tokens, details["last_hidden_state"]) < 1e-5
    for views in ("average", "concatenate", "separate"):
        positive, negative = comfy("EmbeddingOptimizer", **given, views=views)
        context, null = alone.contexts(list(VIEWS), list(MASK), **LOOK, views=views)
        assert relative(context, positive[0][0]) < 1e-4 and torch.equal(null, negative[0][0])
    (other,) = comfy("ObjectImageEncode", clip_vision=host, image=VIEWS.flip(-1), mask=MASK, **LOOK)
    changed, _ = comfy("EmbeddingOptimizer", **(given | {"detail_output": other}))
    assert relative(changed[0][0], comfy("EmbeddingOptimizer", **given)[0][0][0]) > 1e-3


def test_the_pipeline_and_the_command_pair_the_second_encoder(dino, with_details, tmp_path, capsys):
    with pytest.raises(ValueError, match=r"tokens of width 64 of a second encoder .* gives width 0\. Name as detail"):
        VisualInsertionPipeline.from_folder(MODELS, with_details)
    with pytest.raises(ValueError, match=r"tokens of width 0 of a second encoder .* gives width 64\."):
        VisualInsertionPipeline.from_folder(MODELS, detail_encoder=dino[1])
    with pytest.raises(FileNotFoundError, match="config.json is missing"):
        VisualInsertionPipeline.from_folder(MODELS, with_details, detail_encoder=tmp_path)
    from PIL import Image

    for name in ("scene", "object"):
        Image.radial_gradient("L").resize((64, 64)).convert("RGB").save(tmp_path / f"{name}.png")
    words = ["insert", "--steps", 1, "--device", "cpu", "--embedding-optimizer", with_details]
    words += ["--scene", tmp_path / "scene.png", "--object", tmp_path / "object.png", "--output", tmp_path / "r.png"]
    assert main([str(word) for word in (*words, "--detail-encoder", dino[1])]) == 0
    assert Image.open(tmp_path / "r.png").size == (64, 64)
    assert main([str(word) for word in words]) == 1 and "Name as detail encoder" in capsys.readouterr().err


# A text beside the object


SCENE = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(3))
TIMESTEPS = (999, 600, 200)
OBJECT_SCALE, SCENE_SCALE = 4.0, 1.5


@pytest.fixture(scope="module")
def object_and_text(comfy, models, text, tmp_path_factory):
    """By number of tokens, (positive, negative) of an object, and "text" of 77 tokens; for the playroom's UNet."""
    from visual_insertion_pack.nodes.host.managed_networks import load_embedding_optimizer

    kit = SimpleNamespace(conditionings={})
    path = tmp_path_factory.mktemp("long") / "long.safetensors"
    torch.manual_seed(1)
    settings = type(models[3].module.settings)(**{**vars(models[3].module.settings), "context_tokens": 77})
    long = embedding_optimizer.build(settings)
    long.null.normal_()
    embedding_optimizer.save(long, path)
    long = load_embedding_optimizer(path)
    (seen,) = comfy("ObjectImageEncode", clip_vision=models[2], image=VIEWS[:1])
    for tokens, optimizer in ((16, models[3]), (77, long)):
        kit.conditionings[tokens] = comfy("EmbeddingOptimizer", embedding_optimizer=optimizer, clip_vision_output=seen)
    host, _ = text(128)
    (kit.text,) = comfy("CLIPTextEncode", clip=host, text="a red mug on the table")

    @cache
    def alone(tokens):
        thing, null = (conditioning[0][0] for conditioning in kit.conditionings[tokens])
        return by_hand(kit, [thing], null)

    kit.alone = alone
    kit.short = [[kit.text[0][0][:, :16], {}]]
    kit.pipeline = VisualInsertionPipeline.from_folder(MODELS)
    return kit


@torch.no_grad()
def by_hand(kit, contexts, null):
    """Euler steps of eq. 3 with diffusers' UNet, one context at a time; of several the mean of what they predict."""
    stock, noise = kit.pipeline.pipeline, torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    shown = stock.vae.encode(2 * SCENE.movedim(-1, 1) - 1).latent_dist.mean
    sigmas = [*kit.pipeline.levels[list(TIMESTEPS)].tolist(), 0.0]
    assert stock.scheduler.config.prediction_type == "v_prediction"

    def denoise(x, sigma, t, scene, context):
        scaled = torch.cat([x / (1 + sigma**2) ** 0.5, scene], 1)
        out = stock.unet(scaled, t, encoder_hidden_states=context).sample
        return x / (1 + sigma**2) - sigma * out / (1 + sigma**2) ** 0.5

    x = noise * (1 + sigmas[0] ** 2) ** 0.5
    for sigma, below, t in zip(sigmas, sigmas[1:], TIMESTEPS, strict=False):
        empty, scene = denoise(x, sigma, t, 0 * shown, null), denoise(x, sigma, t, shown, null)
        full = torch.stack([denoise(x, sigma, t, shown, context) for context in contexts]).mean(0)
        x0 = empty + SCENE_SCALE * (scene - empty) + OBJECT_SCALE * (full - scene)
        x = x + (x - x0) / sigma * (below - sigma)
    return x / stock.vae.config.scaling_factor


def joined(comfy, how, to, other):
    """What a stock node makes of two conditionings."""
    if how == "concat":
        return comfy("ConditioningConcat", conditioning_to=to, conditioning_from=other)[0]
    if how == "combine":
        return comfy("ConditioningCombine", conditioning_1=to, conditioning_2=other)[0]
    return comfy("ConditioningAverage", conditioning_to=to, conditioning_from=other, conditioning_to_strength=0.7)[0]


def expected(how, to, other):
    """The contexts that this stands for, made with plain tensors."""
    if how == "concat":
        return [torch.cat([to, other], 1)]
    if how == "combine":
        return [to, other]
    padded = torch.zeros_like(to)
    padded[:, : other.shape[1]] = other[:, : to.shape[1]]
    return [0.7 * to + 0.3 * padded]


@pytest.mark.parametrize("order", ["object first", "text first"])
@pytest.mark.parametrize("how", ["concat", "average", "combine"])
@pytest.mark.parametrize(("tokens", "words"), [(77, 77), (16, 16), (16, 77)])
def test_an_object_and_a_text_steer_together(comfy, models, object_and_text, tokens, words, how, order):
    """With 154 or 32 tokens beside 77 or 16 the three branches share a forward, with 93 beside 16 they do not."""
    model, vae, _, _ = models
    thing, negative = object_and_text.conditionings[tokens]
    said = object_and_text.text if words == 77 else object_and_text.short
    assert said[0][0].shape == (1, words, 128)
    pair = (thing, said) if order == "object first" else (said, thing)
    positive = joined(comfy, how, *pair)
    given = dict(model=model, vae=vae, scene=SCENE, positive=positive, negative=negative)
    given["guidance"] = comfy("GuidanceControl", object_scale=OBJECT_SCALE, scene_scale=SCENE_SCALE)[0]
    guider, latent = comfy("ImageConditionedPix2PixGuider", **given)
    levels = model.get_model_object("model_sampling").sigmas[list(TIMESTEPS)].cpu()
    result = run_guider(comfy, guider, latent, torch.cat([levels, torch.zeros(1)]), seed=5)
    contexts = expected(how, *(conditioning[0][0] for conditioning in pair))
    wanted = by_hand(object_and_text, contexts, negative[0][0])
    found = relative(result["samples"], wanted)
    print(f"relative difference of the latents: {found:.1e}")
    assert found < 1e-3
    assert relative(wanted, object_and_text.alone(tokens)) > 0.02  # the text has a say


def test_the_sampler_and_the_guider_agree_on_an_object_and_a_text(comfy, models, object_and_text):
    model, vae, _, _ = models
    thing, negative = object_and_text.conditionings[77]
    positive = joined(comfy, "concat", thing, object_and_text.text)
    given = dict(model=model, vae=vae, scene=SCENE, positive=positive, negative=negative)
    run = dict(seed=5, steps=3, sampler_name="euler", scheduler="normal", denoise=1.0)
    ours, _ = comfy("ImageConditionedPix2PixSampler", **given, **run)
    guider, latent = comfy("ImageConditionedPix2PixGuider", **given)
    (sigmas,) = comfy("BasicScheduler", model=model, scheduler="normal", steps=3, denoise=1.0)
    result = run_guider(comfy, guider, latent, sigmas, seed=5)
    assert torch.equal(ours["samples"], result["samples"])
    assert guider.evaluations == 9
