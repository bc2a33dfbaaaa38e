"""Attention without the question for free memory: the host's bits, and the host's own wherever bits could differ."""

import pytest
import torch

SMALL = dict(tokens=256, context=5, width=64, heads=4)


@pytest.fixture(scope="module")
def host(comfy):
    """The host's attention of a processor, and what asks for free memory."""
    from comfy import model_management
    from comfy.ldm.modules import attention

    assert attention.optimized_attention is attention.attention_sub_quad
    return attention.attention_sub_quad, model_management


def options(given=None):
    from visual_insertion_pack.nodes.host.whole_attention import with_whole_attention

    return with_whole_attention({"transformer_options": given or {}})["transformer_options"]


def parts(tokens, context, width, heads, dtype=torch.float32):
    """Queries, keys and values of random numbers, and the number of heads."""
    generator = torch.Generator().manual_seed(tokens)
    shapes = ((3, tokens, width), (3, context, width), (3, context, width))
    return *(torch.randn(shape, generator=generator).to(dtype) for shape in shapes), heads


@pytest.fixture
def asked(host, monkeypatch):
    """How often free memory was asked for, in a list."""
    _, management = host
    times = []
    free = management.get_free_memory
    monkeypatch.setattr(management, "get_free_memory", lambda *args: times.append(1) or free(*args))
    return times


@pytest.mark.parametrize(
    "shape",
    [
        SMALL,
        SMALL | dict(tokens=64, context=64),
        SMALL | dict(tokens=257, context=257, width=40, heads=1),
        SMALL | dict(tokens=1, context=77, width=320, heads=8),
        SMALL | dict(tokens=1024, context=77, width=320, heads=8),
    ],
)
def test_it_has_the_hosts_bits_and_asks_for_nothing(host, asked, shape):
    attend, _ = host
    theirs = attend(*parts(**shape), attn_precision=None, transformer_options={})
    assert len(asked) == 1 and theirs.std() > 0.01
    assert torch.equal(attend(*parts(**shape), attn_precision=None, transformer_options=options()), theirs)
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("shape", "more"),
    [
        (SMALL | dict(dtype=torch.bfloat16), {}),
        (SMALL, dict(mask=torch.zeros(256, 5))),
        (SMALL, dict(scale=0.5)),
        (SMALL | dict(tokens=1024, context=1024, heads=8), {}),
    ],
    ids=["half precision", "a mask", "a scale", "large"],
)
def test_the_host_answers_for_all_else(host, asked, shape, more):
    attend, _ = host
    theirs = attend(*parts(**shape), transformer_options={}, **more)
    assert torch.equal(attend(*parts(**shape), transformer_options=options(), **more), theirs)
    assert len(asked) == 2


def test_the_override_of_another_pack_stays():
    theirs = {"optimized_attention_override": print}
    assert options(theirs) is theirs


def test_a_model_keeps_its_own_options(comfy):
    from visual_insertion_pack.nodes.host.three_branch_guider import ThreeBranchGuider
    from visual_insertion_pack.pipelines.sampling.guidance import Guidance

    model = comfy("PlayroomModels")[0]
    guider = ThreeBranchGuider(model, Guidance())
    assert "optimized_attention_override" in guider.model_options["transformer_options"]
    assert "optimized_attention_override" not in model.model_options["transformer_options"]
