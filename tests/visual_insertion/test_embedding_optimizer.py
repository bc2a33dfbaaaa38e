"""Embedding optimizers: ours as a file, and the authors' release with its queries and its nulls."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from visual_insertion_pack.pipelines.visual_insertion import optimizer_files as embedding_optimizer
from visual_insertion_pack.pipelines.visual_insertion.context_encoder import object_context
from visual_insertion_pack.pipelines.visual_insertion.released_optimizers import set_null


def settings(variant="resampler", **others):
    return embedding_optimizer.OptimizerSettings(
        variant, **dict(encoder_width=24, context_width=16, context_tokens=5, blocks=2, heads=4) | others
    )


def test_a_file_gives_back_the_optimizer_that_was_saved(tmp_path):
    ours = embedding_optimizer.build(settings()).eval()
    ours.null.normal_()
    save_file(
        ours.state_dict(), tmp_path / "o.safetensors", embedding_optimizer.metadata(ours.settings, licence="none")
    )
    read = embedding_optimizer.load(tmp_path / "o.safetensors")
    features = torch.randn(2, 9, 24)
    assert read.settings == ours.settings and torch.equal(read(features), ours(features))
    assert torch.equal(read(features)[:, 0], ours.null[0].expand(2, -1))  # the start token is the null's own


def test_strength_moves_from_the_null_to_the_object_and_views_join():
    ours = embedding_optimizer.build(settings()).eval()
    ours.null.normal_()
    features = torch.randn(3, 9, 24)
    nothing, null = object_context(ours, features, strength=0.0)
    assert torch.equal(nothing, null) and null.shape == (1, 5, 16)
    average, _ = object_context(ours, features)
    assert torch.allclose(average, ours(features).mean(0, keepdim=True))
    joined, null = object_context(ours, features, views="concatenate")
    assert joined.shape == null.shape == (1, 15, 16) and torch.equal(null[0, 5:10], ours.null)
    assert object_context(ours, features, views="separate")[0].shape == (3, 5, 16)
    with pytest.raises(ValueError, match="Unknown way to join views"):
        object_context(ours, features, views="sum")


@torch.no_grad()
def test_details_are_read_beside_the_features():
    """Both encoders' tokens are one sequence to attend to, so their order among themselves does not matter."""
    ours = embedding_optimizer.build(settings(detail_width=12)).eval()
    features, details = torch.randn(2, 9, 24), torch.randn(2, 14, 12)
    both, null = object_context(ours, features, details=details, views="separate")
    assert both.shape == null.shape == (2, 5, 16)
    shuffled, _ = object_context(ours, features, details=details.flip(1), views="separate")
    assert torch.allclose(both, shuffled, atol=1e-6)
    other, _ = object_context(ours, features, details=details + 1, views="separate")
    assert torch.allclose(both, other, atol=1e-5)  # a shift of all channels is what the norm takes away
    other, _ = object_context(ours, features, details=torch.randn(2, 14, 12), views="separate")
    assert (both - other).abs().max() > 0.01
    apart = [object_context(ours, features[n : n + 1], details=details[n : n + 1])[0] for n in range(2)]
    assert torch.allclose(torch.cat(apart), both, atol=1e-6)
    assert torch.allclose(object_context(ours, features, details=details)[0], both.mean(0, keepdim=True), atol=1e-6)


@pytest.mark.parametrize(
    ("detail_width", "details", "message"),
    [
        (12, None, "trained with a second encoder of width 12 .*connect the result to 'detail_output'"),
        (12, (2, 14, 24), "second encoder gives tokens of width 24; this embedding optimizer wants width 12"),
        (0, (2, 14, 12), "second encoder gives tokens of width 12; this embedding optimizer wants none"),
        (12, (3, 14, 12), "second encoder saw 3 pictures, the first 2"),
    ],
)
def test_details_that_do_not_fit_are_refused(detail_width, details, message):
    ours = embedding_optimizer.build(settings(detail_width=detail_width))
    with pytest.raises(ValueError, match=message):
        object_context(ours, torch.randn(2, 9, 24), details=details and torch.randn(details))


def released(layers, seed=0):
    """The tensors of the authors' module, made from torch's own layers, and its forward pass for given queries."""
    torch.manual_seed(seed)
    project, attend = nn.Linear(1024, 768), nn.MultiheadAttention(768, 8, batch_first=True)
    dense = [nn.Linear(768, 768) for _ in range(layers)]
    parts = {"projection_layer": project, "attention_pooling": attend}
    parts |= {f"mlp_fc{n + 1}": layer for n, layer in enumerate(dense)}
    state = {f"{name}.{key}": value for name, part in parts.items() for key, value in part.state_dict().items()}

    def forward(features, queries):
        tokens = project(features)
        x, _ = attend(queries.expand(len(features), -1, -1), tokens, tokens)
        for layer in dense[:-1]:
            x = torch.relu(layer(x))
        return dense[-1](x)

    return state, forward


@pytest.mark.parametrize(("layers", "parameters"), [(2, 4_330_752), (4, 5_511_936)])
@torch.no_grad()
def test_the_released_file_loads_and_computes_what_the_authors_module_does(tmp_path, layers, parameters):
    state, forward = released(layers)
    assert sum(tensor.numel() for tensor in state.values()) == parameters
    torch.save(state, tmp_path / "emb_opt.pt")
    optimizer = embedding_optimizer.load(tmp_path / "emb_opt.pt")
    assert optimizer.settings.variant == f"pooled_mlp{layers}"
    features = torch.randn(2, 257, 1024)
    assert torch.allclose(optimizer(features), forward(features, optimizer.queries), atol=1e-5)
    again = embedding_optimizer.load(tmp_path / "emb_opt.pt")
    assert torch.equal(again(features), optimizer(features))  # one seed, one result
    assert optimizer.null.abs().max() == 0 and optimizer.null.shape == (77, 768)


def two_linear(seed=0):
    """The first published shape, made from torch's own layers: its tensors, and its forward pass."""
    torch.manual_seed(seed)
    parts = {"projection": nn.Linear(1024, 768), "fc1": nn.Linear(768, 768), "fc2": nn.Linear(768, 768)}
    parts["seq_projection"] = nn.Linear(257, 77)
    state = {f"{name}.{key}": value for name, part in parts.items() for key, value in part.state_dict().items()}

    def forward(features):
        x = parts["fc2"](torch.relu(parts["fc1"](parts["projection"](features))))
        return parts["seq_projection"](x.transpose(1, 2)).transpose(1, 2)

    return state, forward


@torch.no_grad()
def test_the_first_released_shape_computes_what_the_authors_module_does(tmp_path):
    state, forward = two_linear()
    assert sum(tensor.numel() for tensor in state.values()) == 1_988_250
    torch.save(state, tmp_path / "emb_opt.pt")
    optimizer = embedding_optimizer.load(tmp_path / "emb_opt.pt", queries_seed=5)
    assert optimizer.settings.variant == "two_linear" and optimizer.queries is None
    features = torch.randn(2, 257, 1024)
    assert torch.allclose(optimizer(features), forward(features), atol=1e-5)
    assert optimizer.null.abs().max() == 0 and optimizer.null.shape == (77, 768)
    with pytest.raises(ValueError, match="reads exactly 257 vision tokens, but the encoder gives 50"):
        object_context(optimizer, features[:, :50])


@torch.no_grad()
def test_the_seed_draws_the_queries_of_a_released_file_and_of_no_other(tmp_path):
    state, _ = released(2)
    torch.save(state, tmp_path / "emb_opt.pt")
    first, again, other = (embedding_optimizer.load(tmp_path / "emb_opt.pt", queries_seed=seed) for seed in (7, 7, 8))
    assert torch.equal(first.queries, again.queries)
    drawn = torch.randn(77, 768, generator=torch.Generator().manual_seed(7))
    assert torch.equal(first.queries, drawn) and (first.queries - other.queries).std() > 1
    embedding_optimizer.save(first, tmp_path / "ours.safetensors")
    assert torch.equal(embedding_optimizer.load(tmp_path / "ours.safetensors", queries_seed=8).queries, first.queries)


@torch.no_grad()
def test_each_null_is_what_its_name_says():
    ours = embedding_optimizer.build(settings("pooled_mlp2")).eval()
    ours.null.normal_()
    stored = ours.null.clone()
    set_null(ours, "stored")
    assert torch.equal(ours.null, stored)
    blank = torch.randn(1, 9, 24)
    set_null(ours, "blank picture", blank)
    assert torch.equal(ours.null, ours(blank)[0])
    nothing, null = object_context(ours, blank)
    assert torch.equal(nothing, null)  # a blank picture is then no object, at any scale
    prompt = torch.randn(1, 5, 16)
    set_null(ours, "empty prompt", prompt)
    assert torch.equal(ours.null, prompt[0])
    set_null(ours, "zeros")
    assert ours.null.abs().max() == 0


@pytest.mark.parametrize(
    ("choice", "source", "message"),
    [
        ("blank picture", None, "The null 'blank picture' is made with a CLIP vision model"),
        ("empty prompt", None, "The null 'empty prompt' is made with a text encoder"),
        ("empty prompt", (1, 5, 24), r"would be \(5, 24\), but this optimizer's contexts are \(5, 16\)"),
        ("empty prompt", (1, 6, 16), r"would be \(6, 16\), but this optimizer's contexts are \(5, 16\)"),
        ("nothing", None, "Unknown null 'nothing'; known: stored, zeros, blank picture, empty prompt"),
    ],
)
def test_a_null_that_cannot_be_made_leaves_the_old_one(choice, source, message):
    ours = embedding_optimizer.build(settings())
    ours.null.fill_(3)
    with pytest.raises(ValueError, match=message):
        set_null(ours, choice, source and torch.randn(source))
    assert (ours.null == 3).all()


def test_nan_in_the_released_file_is_reported_and_a_missing_tensor_too(tmp_path):
    state, _ = released(2)
    broken = state | {"mlp_fc2.bias": torch.full((768,), float("nan"))}
    torch.save(broken, tmp_path / "nan.pt")
    with pytest.raises(ValueError, match=r"not finite: mlp_fc2\.bias \(768 values\)"):
        embedding_optimizer.load(tmp_path / "nan.pt")
    del state["attention_pooling.out_proj.bias"]
    torch.save(state, tmp_path / "short.pt")
    with pytest.raises(ValueError, match="is not an embedding optimizer"):
        embedding_optimizer.load(tmp_path / "short.pt")


@torch.no_grad()
def test_nan_becomes_zero_only_when_asked(tmp_path):
    state, _ = released(2)
    bias = torch.randn(768)
    bias[3], bias[5], bias[9] = float("nan"), float("inf"), float("-inf")
    torch.save(state | {"mlp_fc2.bias": bias}, tmp_path / "nan.pt")
    with pytest.raises(ValueError, match=r"mlp_fc2\.bias \(3 values\).*convert the file with --nan-to-zero"):
        embedding_optimizer.load(tmp_path / "nan.pt")
    healed = embedding_optimizer.load(tmp_path / "nan.pt", nan_to_zero=True).layers[1].bias
    assert (healed[[3, 5, 9]] == 0).all() and torch.equal(healed[10:], bias[10:])


@torch.no_grad()
@pytest.mark.parametrize("variant", ["resampler", "pooled_mlp4", "two_linear"])
def test_several_views_are_one_object_or_several(variant):
    ours = embedding_optimizer.build(settings(variant, encoder_tokens=9)).eval()
    ours.null.normal_()
    features = torch.randn(3, 9, 24)
    apart = torch.cat([object_context(ours, view[None])[0] for view in features])
    for views, wanted in (
        ("separate", apart),
        ("average", apart.mean(0, keepdim=True)),
        ("concatenate", apart.reshape(1, 15, 16)),
    ):
        context, null = object_context(ours, features, views=views)
        assert torch.allclose(context, wanted, atol=1e-6)
        assert torch.equal(null, ours.null.repeat(wanted.shape[1] // 5, 1).expand_as(wanted))
