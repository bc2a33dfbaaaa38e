"""A learned object: its file, its strength, its change of attention, and what is refused."""

import json

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from visual_insertion_pack.pipelines.object_representation import attention_changes, learned_object
from visual_insertion_pack.pipelines.object_representation.attention_changes import AttentionChanges, chosen_layers
from visual_insertion_pack.pipelines.object_representation.training.of_pipeline import attention_layers
from visual_insertion_pack.pipelines.weights import unet_likeness, unet_patch
from visual_insertion_pack.pipelines.weights.unet_patch_reading import read_patch
from visual_insertion_pack.tests import paint_by_example_parts as parts

WIDTH = parts.UNET["cross_attention_dim"]


@pytest.fixture(scope="module")
def unet():
    return parts.random_unet().requires_grad_(False)


@pytest.fixture(scope="module")
def layers(unet):
    return attention_layers(unet)


def random_changes(layers, rank=None, which="kv", size=0.02):
    generator = torch.Generator().manual_seed(1)
    changes = AttentionChanges.zero(chosen_layers(layers, which), rank, generator)
    for parameter in changes.parameters():
        parameter.data += size * torch.randn(parameter.shape, generator=generator)
    return changes


def learned_of(layers, changes=None, tokens=3, **facts):
    own = torch.randn(tokens, WIDTH, generator=torch.Generator().manual_seed(4)).half().float()
    null = torch.randn(1, WIDTH, generator=torch.Generator().manual_seed(5)).half().float()
    patch = {} if changes is None else changes.tensors()
    return learned_object.LearnedObject(own, null, patch, learned_object.base_text(layers), facts)


def predict(unet, context=None):
    generator = torch.Generator().manual_seed(2)
    latents = torch.randn(1, 9, 8, 8, generator=generator)
    if context is None:
        context = torch.randn(1, 2, WIDTH, generator=generator)
    with torch.no_grad():
        return unet(latents, torch.tensor([400]), encoder_hidden_states=context).sample


@pytest.mark.parametrize(("rank", "which"), [(None, "kv"), (4, "kv"), (None, "attn2")])
def test_a_change_beside_the_layers_is_the_change_of_their_weights(unet, layers, rank, which):
    changes = random_changes(layers, rank, which)
    plain = predict(unet)
    with changes.attached(layers, 0.7):
        beside = predict(unet)
    changed = parts.random_unet().requires_grad_(False)
    for name, layer in chosen_layers(attention_layers(changed), which).items():
        change = changes.changes[name]
        layer.weight += 0.7 * change.matrix()
        if layer.bias is not None:
            layer.bias += 0.7 * change.diff_b.detach()
    inside = predict(changed)
    assert parts.relative(beside, inside) <= 1e-5 < parts.relative(plain, inside)
    assert torch.equal(predict(unet), plain), "something is left behind"


def test_a_detached_first_token_teaches_nothing_and_changes_nothing(unet, layers):
    context = torch.randn(1, 3, WIDTH)
    latents = torch.randn(1, 9, 8, 8)

    def run(detach, context):
        changes = random_changes(layers)
        with changes.attached(layers, detach_first=detach):
            predicted = unet(latents, torch.tensor([400]), encoder_hidden_states=context).sample
        predicted.square().sum().backward()
        return predicted.detach(), torch.cat([parameter.grad.flatten() for parameter in changes.parameters()])

    plain, learned = run(False, context)
    detached, taught = run(True, context)
    assert torch.equal(plain, detached) and not torch.allclose(learned, taught)
    assert not run(True, context[:, :1])[1].any(), "there is nothing but the first token"


def test_strength_0_leaves_every_bit(unet, layers):
    plain = predict(unet)
    with random_changes(layers).attached(layers, 0.0):
        assert torch.equal(predict(unet), plain)
    null = torch.randn(1, WIDTH)
    exemplar = torch.randn(1, 1, WIDTH)
    context, beside = learned_of(layers).contexts(0.0, exemplar, null)
    assert torch.equal(context, exemplar) and torch.equal(beside, null[None])


def test_tokens_move_from_the_exemplar_to_what_was_learned(unet, layers):
    learned = learned_of(layers)
    whole, nulls = learned.contexts()
    half, _ = learned.contexts(0.5)
    little, _ = learned.contexts(1e-6)
    assert torch.allclose(whole[0, 1:], learned.tokens, atol=1e-6) and torch.equal(nulls, learned.null.expand(1, 4, -1))
    assert torch.allclose(half[0, 1:], (learned.tokens + learned.tokens[:1]) / 2, atol=1e-6)
    alone = predict(unet, learned.tokens[None, :1])
    assert parts.relative(predict(unet, little), alone) <= 1e-4, "near 0 is near the exemplar alone"


def test_a_change_too_small_for_half_precision_is_not_lost():
    weight = (0.05 + 0.02 * torch.rand(64, 64, generator=torch.Generator().manual_seed(1))).half()
    layer = torch.nn.Linear(64, 64, bias=False).requires_grad_(False)
    layer.weight.data = weight.float()
    small = torch.full((64, 64), 1e-5)
    assert ((weight.float() + small).half() == weight).float().mean() > 0.3, "what baking into 16 bit does to it"
    changes = AttentionChanges({"x": attention_changes.Change({"diff": small})})
    x = torch.rand(1, 64)
    plain = layer(x)
    with changes.attached({"x": layer}):
        assert torch.allclose(layer(x) - plain, x @ small.T, rtol=0.02)


def test_a_file_comes_back_as_it_was_in_every_form(unet, layers, tmp_path):
    whole = learned_of(layers, random_changes(layers), settings=json.dumps({"train": "kv"}), licence="CC0")
    low, kept = learned_object.of_rank(whole, layers, 4)
    every, all_of_it = learned_object.of_rank(whole, layers, 10_000)
    assert 0 < kept < 1 and all_of_it == pytest.approx(1.0, abs=1e-6)
    for number, one in enumerate((whole, low, every, learned_object.as_set(whole, layers), learned_of(layers))):
        path = tmp_path / f"{number}.safetensors"
        learned_object.save(one, path)
        again = learned_object.load(path)
        assert torch.equal(again.tokens, one.tokens) and again.facts == one.facts and again.base == one.base
        assert again.patch.keys() == one.patch.keys()
        with again.changes(layers).attached(layers):
            loaded = predict(unet)
        with one.changes(layers).attached(layers):
            assert parts.relative(predict(unet), loaded) <= 1e-5
        first = path.read_bytes()
        learned_object.save(one, path)
        assert path.read_bytes() == first
    assert len(list(tmp_path.iterdir())) == 5, "no part of a file is left"


def test_weights_that_are_set_have_a_strength_too(unet, layers):
    changes = random_changes(layers)
    learned = learned_object.as_set(learned_of(layers, changes), layers)
    with learned.changes(layers).attached(layers, 0.5):
        half = predict(unet)
    with changes.attached(layers, 0.5):
        assert parts.relative(half, predict(unet)) <= 1e-5


def test_low_rank_keeps_the_largest_singular_values(layers):
    changes = random_changes(layers)
    low, kept = changes.of_rank(5)
    squares = whole = 0.0
    for change in changes.changes.values():
        values = torch.linalg.svdvals(change.matrix().double())
        squares += float(values[:5].square().sum())
        whole += float(values.square().sum())
    assert kept == pytest.approx((squares / whole) ** 0.5, rel=1e-4)
    assert {change.up.shape[1] for change in low.changes.values()} == {5}


def test_the_unet_part_is_a_patch_file_of_this_pack(unet, layers, tmp_path):
    changes = random_changes(layers)
    path = tmp_path / "patch.safetensors"
    save_file(changes.tensors(), path)
    shapes = {name: tuple(parameter.shape) for name, parameter in unet.named_parameters()}
    differences = read_patch(path, shapes)
    assert differences.keys() == set(unet_patch.cross_attention_parameters(shapes, "kv"))
    for name, difference in differences.items():
        layer = "lora_unet_" + name.removesuffix(".weight").replace(".", "_")
        assert torch.equal(difference, changes.changes[layer].matrix())


def test_a_base_is_known_again_in_any_precision_and_another_is_refused(layers):
    learned = learned_of(layers, base_name="small")
    for dtype in (torch.float16, torch.bfloat16):
        learned.check_base(attention_layers(parts.random_unet().to(dtype)))
    tuned = parts.random_unet().requires_grad_(False)
    for parameter in tuned.parameters():
        parameter += 0.1 * parameter.abs().mean() * torch.randn(parameter.shape)
    for other in (parts.random_unet(seed=1), tuned):
        with pytest.raises(ValueError, match=r"another base model.*\(small\)"):
            learned.check_base(attention_layers(other))


def test_likeness_refuses_what_holds_no_numbers():
    with pytest.raises(ValueError, match="not told by numbers"):
        unet_likeness.same_unet("[1, null]", {"a": 1.0})
    assert not unet_likeness.same_unet("[1.0]", {"a": 1.0, "b": 2.0})


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda state, meta: meta.pop("format"), "is no learned object"),
        (lambda state, meta: state.pop("object.tokens"), "is no learned object"),
        (lambda state, meta: state.update({"object.tokens": torch.zeros(4)}), "its tokens have the shape"),
        (lambda state, meta: state["object.tokens"].fill_(float("nan")), "not finite"),
    ],
)
def test_what_is_no_learned_object_is_named(layers, tmp_path, spoil, said):
    path = tmp_path / "spoilt.safetensors"
    learned_object.save(learned_of(layers), path)
    state = load_file(path)
    meta = {"format": learned_object.FORMAT, "base": "[]"}
    spoil(state, meta)
    save_file(state | {"more": torch.zeros(1)}, path, meta)
    with pytest.raises(ValueError, match=said) as error:
        learned_object.load(path)
    assert str(path) in str(error.value)


def test_a_cut_file_and_a_missing_one_are_named(layers, tmp_path):
    path = tmp_path / "cut.safetensors"
    learned_object.save(learned_of(layers, random_changes(layers)), path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"cut\.safetensors"):
        learned_object.load(path)
    with pytest.raises(FileNotFoundError, match=r"gone\.safetensors"):
        learned_object.load(tmp_path / "gone.safetensors")


def test_tensors_of_another_unet_are_refused(layers):
    name = next(iter(random_changes(layers).tensors())).removesuffix(".diff")
    with pytest.raises(ValueError, match="has the shape"):
        AttentionChanges.from_tensors({f"{name}.diff": torch.zeros(3, 3)}, layers)
    with pytest.raises(ValueError, match="belong to no cross-attention"):
        AttentionChanges.from_tensors({"lora_unet_conv_in.diff": torch.zeros(3)}, layers)
    with pytest.raises(ValueError, match="only one of its two matrices"):
        AttentionChanges.from_tensors({f"{name}.lora_up.weight": torch.zeros(3, 3)}, layers)


@pytest.mark.parametrize("rank", [0, 4096])
def test_a_rank_that_is_not_possible_says_what_is(layers, rank):
    with pytest.raises(ValueError, match=rf"A rank of {rank} is not possible.*from 1 to \d+"):
        AttentionChanges.zero(layers, rank, torch.Generator())


def test_files_at_the_size_of_stable_diffusion(tmp_path):
    """The K/V layers of SD 1.5 alone: 16 blocks, contexts of width 768."""
    channels = [*[320] * 2, *[640] * 2, *[1280] * 6, *[640] * 3, *[320] * 3]
    layers = {}
    for number, width in enumerate(channels):
        for leaf in ("to_k", "to_v"):
            layers[f"lora_unet_{number}_attn2_{leaf}"] = torch.nn.Linear(768, width, bias=False)
    assert sum(layer.weight.numel() for layer in layers.values()) == 19_169_280
    base = learned_object.base_text(layers)
    tokens = torch.randn(4, 768)  # of four pictures
    null = torch.randn(1, 768)
    thumbnail = Image.linear_gradient("L").resize((300, 200))
    path = tmp_path / "sd15.safetensors"
    changes = random_changes(layers, 32)
    learned_object.save(learned_object.LearnedObject(tokens, null, changes.tensors(), base, {}, thumbnail), path)
    assert 3_000_000 < path.stat().st_size < 5_000_000
    learned_object.save(learned_object.LearnedObject(tokens, null, {}, base, {"licence": "CC0"}, thumbnail), path)
    assert path.stat().st_size < 10_000
