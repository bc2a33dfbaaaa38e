"""Embedding optimizers: ours as a file, and the authors' release."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn


@pytest.fixture
def optimizers(pack):
    return pack.pipelines.visual_insertion.embedding_optimizer


def settings(optimizers, variant="resampler"):
    return optimizers.OptimizerSettings(
        variant, encoder_width=24, context_width=16, context_tokens=5, blocks=2, heads=4
    )


def test_a_file_gives_back_the_optimizer_that_was_saved(optimizers, tmp_path):
    ours = optimizers.build(settings(optimizers)).eval()
    ours.null.normal_()
    save_file(ours.state_dict(), tmp_path / "o.safetensors", optimizers.metadata(ours.settings, licence="none"))
    read = optimizers.load(tmp_path / "o.safetensors")
    features = torch.randn(2, 9, 24)
    assert read.settings == ours.settings and torch.equal(read(features), ours(features))
    assert torch.equal(read(features)[:, 0], ours.null[0].expand(2, -1))  # the start token is the null's own


def test_strength_moves_from_the_null_to_the_object_and_views_join(optimizers):
    ours = optimizers.build(settings(optimizers)).eval()
    ours.null.normal_()
    features = torch.randn(3, 9, 24)
    nothing, null = optimizers.object_context(ours, features, strength=0.0)
    assert torch.equal(nothing, null) and null.shape == (1, 5, 16)
    average, _ = optimizers.object_context(ours, features)
    assert torch.allclose(average, ours(features).mean(0, keepdim=True))
    joined, null = optimizers.object_context(ours, features, views="concatenate")
    assert joined.shape == null.shape == (1, 15, 16) and torch.equal(null[0, 5:10], ours.null)
    assert optimizers.object_context(ours, features, views="separate")[0].shape == (3, 5, 16)
    with pytest.raises(ValueError, match="Unknown way to join views"):
        optimizers.object_context(ours, features, views="sum")


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
def test_the_released_file_loads_and_computes_what_the_authors_module_does(optimizers, tmp_path, layers, parameters):
    state, forward = released(layers)
    assert sum(tensor.numel() for tensor in state.values()) == parameters
    torch.save(state, tmp_path / "emb_opt.pt")
    optimizer = optimizers.load(tmp_path / "emb_opt.pt")
    assert optimizer.settings.variant == f"pooled_mlp{layers}"
    features = torch.randn(2, 257, 1024)
    assert torch.allclose(optimizer(features), forward(features, optimizer.queries), atol=1e-5)
    again = optimizers.load(tmp_path / "emb_opt.pt")
    assert torch.equal(again(features), optimizer(features))  # one seed, one result
    assert optimizer.null.abs().max() == 0 and optimizer.null.shape == (77, 768)


def test_nan_in_the_released_file_is_reported_and_a_missing_tensor_too(optimizers, tmp_path):
    state, _ = released(2)
    broken = state | {"mlp_fc2.bias": torch.full((768,), float("nan"))}
    torch.save(broken, tmp_path / "nan.pt")
    with pytest.raises(ValueError, match=r"not finite: mlp_fc2\.bias \(768 values\)"):
        optimizers.load(tmp_path / "nan.pt")
    del state["attention_pooling.out_proj.bias"]
    torch.save(state, tmp_path / "short.pt")
    with pytest.raises(ValueError, match="is not an embedding optimizer"):
        optimizers.load(tmp_path / "short.pt")
