"""Learn Object and Apply Object in the real host, on the playroom's Paint by Example."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from visual_insertion_pack.pipelines.object_representation import learned_object
from visual_insertion_pack.pipelines.object_representation.attention_changes import AttentionChanges
from visual_insertion_pack.pipelines.object_representation.training.of_pipeline import learning_model
from visual_insertion_pack.pipelines.paint_by_example.pipeline import PaintByExamplePipeline
from visual_insertion_pack.pipelines.playroom.world.triplets import make_triplet
from visual_insertion_pack.pipelines.sampling.guidance import Guidance
from visual_insertion_pack.tests import paint_by_example_parts as parts

PLAYROOM = Path(__file__).resolve().parents[2] / "playroom_models" / "paint_by_example"
TRIPLET = make_triplet(900_001_234, views=2)
VIEWS = torch.from_numpy(TRIPLET.objects).float() / 255
MASKS = torch.from_numpy(TRIPLET.objects_mask).float()
SCENE = torch.from_numpy(TRIPLET.scene)[None].float() / 255
HOLE = torch.zeros(1, 128, 128)
x0, y0, x1, y1 = (round(side) for side in TRIPLET.box)
HOLE[:, max(0, y0 - 8) : y1 + 8, max(0, x0 - 8) : x1 + 8] = 1


@pytest.fixture(scope="module")
def models(comfy):
    return comfy("PaintByExamplePlayroomModels")


@pytest.fixture(scope="module")
def folder(comfy):
    import folder_paths

    folder = Path(folder_paths.get_folder_paths("loras")[0]) / "learned_objects"
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def learn(comfy, models, folder):
    def learn(**changes):
        model, vae, vision, encoder = models
        inputs = dict(images=VIEWS, mask=MASKS, name="toy", train="low-rank", steps=3, seed=1, batch_size=2)
        networks = dict(model=model, vae=vae, clip_vision=vision, exemplar_encoder=encoder)
        return comfy("LearnObject", **(networks | inputs | changes))

    return learn


@pytest.fixture(scope="module")
def strong(models):
    """An object whose change is large, as if it had been learned long."""
    door = learning_model(PaintByExamplePipeline.from_folder(PLAYROOM))
    changes = AttentionChanges.zero(
        {name: layer for name, layer in door.layers.items() if name.endswith(("to_k", "to_v"))},
        8,
        torch.Generator().manual_seed(1),
    )
    for parameter in changes.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2))
    tokens = door.null[0] + torch.randn(4, 128, generator=torch.Generator().manual_seed(3))
    return learned_object.LearnedObject(tokens.half().float(), door.null[0], changes.tensors(), door.base)


@pytest.fixture
def sample(comfy, models):
    def sample(model, positive, negative):
        inputs = dict(positive=positive, negative=negative, vae=models[1], image=SCENE, mask=HOLE)
        positive, negative, latent = comfy("PaintByExampleConditioning", **inputs)
        settings = dict(seed=3, steps=3, cfg=3.0, sampler_name="euler", scheduler="normal", denoise=1.0)
        inputs = dict(model=model, positive=positive, negative=negative, latent_image=latent)
        return comfy("KSampler", **inputs, **settings)[0]["samples"]

    return sample


@pytest.fixture
def apply(comfy, models):
    def apply(learned=None, model=None, **changes):
        inputs = dict(model=model or models[0], name="(connected)", strength=1.0)
        return comfy("ApplyObject", **(inputs | dict(learned_object=learned) | changes))

    return apply


def show(comfy, models):
    return comfy("PaintByExampleEncode", clip_vision=models[2], exemplar_encoder=models[3], image=VIEWS[:1])


# learning


def test_learning_makes_a_file_a_curve_and_a_preview(learn, models, folder, sample, apply):
    network = models[0].model.diffusion_model
    before = {name: parameter.clone() for name, parameter in network.named_parameters()}
    learned, curve, preview = learn()
    path = folder / "toy_00001.safetensors"
    assert torch.equal(learned_object.load(path).tokens, learned.tokens.half().float())
    assert learned.tokens.shape == (2, 128)
    assert curve.shape == (1, 240, 480, 3) and preview.shape == (1, 128, 128, 3)
    sample(*apply(learned))
    plain = sample(models[0], *apply(learned, strength=0.0)[1:])
    assert torch.isfinite(plain).all()
    for name, parameter in network.named_parameters():
        assert torch.equal(before[name], parameter)
    assert not any(module._forward_hooks for module in network.modules()), "nothing is left behind"


def test_the_node_learns_what_the_command_learns(learn, models):
    from visual_insertion_pack.nodes.host.object_nodes import views_of
    from visual_insertion_pack.pipelines.object_representation.training.learn import LearningSettings
    from visual_insertion_pack.pipelines.object_representation.training.learn import learn as alone

    settings = LearningSettings("low-rank", steps=3, seed=1, batch=2)
    theirs = alone(learning_model(PaintByExamplePipeline.from_folder(PLAYROOM)), views_of(VIEWS, MASKS, None), settings)
    ours = learn()[0]
    assert parts.relative(ours.tokens, theirs.learned.tokens) <= 1e-3
    assert ours.patch.keys() == theirs.learned.patch.keys()
    whole = {name: tensor.float() for name, tensor in theirs.learned.patch.items() if "up" in name}
    error = sum(float((ours.patch[name].float() - tensor).square().sum()) for name, tensor in whole.items())
    assert error <= 0.05 * sum(float(tensor.square().sum()) for tensor in whole.values())


def test_the_same_seed_makes_the_same_file(learn, folder):
    learn(name="same")
    learn(name="same")
    one, other = (folder / f"same_0000{number}.safetensors" for number in (1, 2))
    assert one.read_bytes() == other.read_bytes()
    learn(name="same", seed=2)
    assert load_file(folder / "same_00003.safetensors").keys() == load_file(one).keys()
    assert (folder / "same_00003.safetensors").read_bytes() != one.read_bytes()


def test_a_cancel_keeps_the_best_so_far(learn, folder, monkeypatch):
    import comfy.model_management
    import comfy.utils

    def hook(value, total, preview, node_id=None):
        if value >= 2:
            raise comfy.model_management.InterruptProcessingException

    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", hook)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        learn(name="cancelled", steps=50)
    assert learned_object.load(folder / "cancelled_00001.safetensors").tokens.shape == (2, 128)
    assert not list(folder.glob("*.part"))
    monkeypatch.undo()
    assert learn(name="afterwards", steps=1)[0].patch, "the host is usable"


def test_one_picture_is_enough_and_views_need_no_training(learn):
    assert learn(images=VIEWS[:1], mask=MASKS[:1], steps=1)[0].tokens.shape == (1, 128)
    learned = learn(train="views")[0]
    assert not learned.patch and learned.tokens.shape == (2, 128)


def test_a_box_goes_before_the_mask(learn):
    boxes = [[dict(x=8, y=8, width=40, height=48)], [dict(x=10, y=8, width=40, height=48)]]
    boxed = learn(train="views", bounding_box=boxes)[0]
    assert not torch.equal(boxed.tokens, learn(train="views")[0].tokens)


@pytest.fixture
def learn_insertion(comfy, folder):
    def learn(**changes):
        model, vae, vision, optimizer = comfy("PlayroomModels")
        inputs = dict(images=VIEWS, mask=MASKS, name="inserted", train="tokens", steps=3, seed=1, batch_size=2)
        networks = dict(model=model, vae=vae, clip_vision=vision, embedding_optimizer=optimizer)
        return comfy("LearnObject", **(networks | inputs | changes))

    return learn


@pytest.mark.parametrize("train", ["tokens", "low-rank"])
def test_an_object_is_learned_and_inserted_without_a_mask(comfy, learn_insertion, train):
    from visual_insertion_pack.nodes.host.object_nodes import views_of
    from visual_insertion_pack.pipelines.object_representation.training.learn import LearningSettings
    from visual_insertion_pack.pipelines.object_representation.training.learn import learn as alone
    from visual_insertion_pack.pipelines.visual_insertion.pipeline import VisualInsertionPipeline

    learned, _, preview = learn_insertion(train=train)
    assert not learned.shown and learned.tokens.shape == (16, 128) and preview.shape == (1, 128, 128, 3)
    door = VisualInsertionPipeline.from_folder(PLAYROOM.parent)
    settings = LearningSettings(train, steps=3, seed=1, batch=2)
    theirs = alone(learning_model(door), views_of(VIEWS, MASKS, None), settings).learned
    assert parts.relative(learned.tokens, theirs.tokens) <= 1e-3
    model, vae, *_ = comfy("PlayroomModels")
    model, positive, negative = comfy(
        "ApplyObject", model=model, name="(connected)", strength=1.0, learned_object=learned
    )
    assert torch.equal(negative[0][0][0], door.context_encoder.null)
    given = [[torch.randn(1, 16, 128), {}]]
    taken = comfy("ApplyObject", model=model, name="(connected)", strength=0.0, learned_object=learned, negative=given)[
        2
    ]
    assert torch.equal(taken[0][0], given[0][0])
    inputs = dict(model=model, vae=vae, scene=SCENE, positive=positive, negative=negative, seed=4, steps=3)
    sampling = dict(sampler_name="euler", scheduler="normal", denoise=1.0)
    latent, _ = comfy("ImageConditionedPix2PixSampler", **inputs, **sampling)
    with learned.changes(learning_model(door).layers).attached(learning_model(door).layers):
        made = door.sample(SCENE, *learned.contexts(), Guidance(), seed=4, steps=3, sampler="euler")
    assert parts.relative(latent["samples"], made.latents) <= 2e-3


# applying


def test_strength_0_is_the_model_as_it_is_to_the_bit(comfy, models, strong, apply, sample):
    positive, negative = show(comfy, models)
    plain = sample(models[0], positive, negative)
    assert torch.equal(sample(*apply(strong, strength=0.0, positive=positive, negative=negative)), plain)
    stored = sample(*apply(strong, strength=0.0, positive=positive))
    assert parts.relative(stored, plain) <= 1e-3, "the stored null is of 16 bit"
    assert not torch.equal(sample(*apply(strong, positive=positive)), plain)


def test_the_node_paints_what_the_command_paints(models, strong, apply, sample):
    from visual_insertion_pack.pipelines.object_representation.application import Applied, applied, contexts_of

    door = PaintByExamplePipeline.from_folder(PLAYROOM)
    one = Applied(strong, 0.8, Path("strong"))
    with applied(door.unet, [one]):
        alone = door(
            SCENE,
            HOLE,
            contexts=contexts_of(one, door.exemplar_encoder.null[0]),
            steps=3,
            sampler="euler",
            similarity=3.0,
            seed=3,
        )
    made = sample(*apply(strong, strength=0.8))
    assert parts.relative(made, alone.latents) <= 2e-3


def test_the_stock_lora_loader_takes_the_unet_part(comfy, models, strong, apply, sample, folder):
    folder.mkdir(parents=True, exist_ok=True)
    learned_object.save(strong, folder / "stock.safetensors")
    inputs = dict(lora_name="learned_objects/stock.safetensors", strength_model=0.7)
    (stock,) = comfy("LoraLoaderModelOnly", model=models[0], **inputs)
    model, positive, negative = apply(None, name="learned_objects/stock.safetensors", strength=0.7)
    assert torch.equal(sample(stock, positive, negative), sample(model, positive, negative))
    assert not torch.equal(sample(models[0], positive, negative), sample(model, positive, negative))


def test_whole_weights_have_a_strength(models, strong, apply, sample):
    door = learning_model(PaintByExamplePipeline.from_folder(PLAYROOM))
    whole = learned_object.as_set(strong, door.layers)
    for strength in (0.5, 1.0):
        as_set = sample(*apply(whole, strength=strength))
        assert parts.relative(as_set, sample(*apply(strong, strength=strength))) <= 1e-3


def test_weights_that_are_set_keep_their_biases(models, strong, apply, sample):
    from dataclasses import replace

    door = learning_model(PaintByExamplePipeline.from_folder(PLAYROOM))
    generator = torch.Generator().manual_seed(1)
    changes = AttentionChanges.zero(door.layers, None, generator)
    for parameter in changes.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    of_all = replace(strong, patch=changes.tensors())
    without = replace(of_all, patch={name: own for name, own in of_all.patch.items() if not name.endswith("diff_b")})
    whole = sample(*apply(of_all))
    as_set = sample(*apply(learned_object.as_set(of_all, door.layers)))
    assert parts.relative(as_set, whole) <= 1e-3 < parts.relative(sample(*apply(without)), whole)


def test_two_objects_chain_and_add_up(models, strong, apply, sample):
    once = apply(strong, strength=0.5)
    twice = apply(strong, model=once[0], strength=0.5)
    whole = apply(strong)
    assert parts.relative(sample(twice[0], *whole[1:]), sample(*whole)) <= 1e-3


def test_another_base_is_refused(comfy, models, strong, apply):
    from dataclasses import replace

    with pytest.raises(ValueError, match="another base model"):
        apply(replace(strong, base=strong.base.replace("0.", "1.")))
    with pytest.raises(ValueError, match="another base model"):
        apply(strong, model=comfy("PlayroomModels")[0])


def test_a_lora_under_the_object_does_not_hide_its_base(models, strong, apply):
    assert apply(strong, model=apply(strong)[0])[0].patches
