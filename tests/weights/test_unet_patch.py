"""A fine-tuned UNet's cross-attention as a patch: what is chosen, the maths, the file and the command."""

import hashlib
import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from visual_insertion_pack.pipelines.__main__ import main
from visual_insertion_pack.pipelines.weights import unet_patch
from visual_insertion_pack.pipelines.weights.layouts import to_ldm

SMALL = dict(
    block_out_channels=[32, 64],
    down_block_types=["CrossAttnDownBlock2D", "DownBlock2D"],
    up_block_types=["UpBlock2D", "CrossAttnUpBlock2D"],
    layers_per_block=1,
    cross_attention_dim=16,
    attention_head_dim=4,
)


def build(**config):
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(in_channels=8, out_channels=4, **config)


@pytest.fixture
def base():
    torch.manual_seed(0)
    return build(**SMALL).state_dict()


@pytest.fixture
def tuned(base):
    """The base with keys and values of its cross-attention changed."""
    torch.manual_seed(1)
    moved = {n: 0.01 * torch.randn_like(t) for n, t in base.items() if ".attn2.to_k." in n or ".attn2.to_v." in n}
    return {name: tensor + moved[name] if name in moved else tensor for name, tensor in base.items()}


@pytest.fixture
def convert(base, tuned, tmp_path):
    """convert(...options): the exit code; tuned and base lie as files, the patch is tmp_path/patch.safetensors."""
    save_file(base, tmp_path / "base.safetensors")
    save_file(tuned, tmp_path / "tuned.safetensors")

    def run(*options, tuned="tuned.safetensors", base="base.safetensors", output="patch.safetensors"):
        paths = ["--tuned", tmp_path / tuned, "--base", tmp_path / base, tmp_path / output]
        return main(["convert", "unet-patch", *map(str, paths), *options])

    return run


# what is chosen


@pytest.mark.parametrize(("parts", "tensors", "count"), [("attn2", 80, 43_962_560), ("kv", 32, 19_169_280)])
def test_cross_attention_of_sd15_has_so_many_parameters(parts, tensors, count):
    with torch.device("meta"):
        unet = build(cross_attention_dim=768)
    chosen = unet_patch.select_parameters(unet, parts)
    assert len(chosen) == tensors
    assert sum(parameter.numel() for parameter in chosen.values()) == count
    assert all(parameter is unet.get_parameter(name) for name, parameter in chosen.items())
    ldm = to_ldm(dict(unet.named_parameters()))
    assert {ldm[name] for name in chosen} == set(unet_patch.cross_attention_parameters(ldm.values(), parts))


def test_a_filter_that_matches_nothing_is_an_error():
    with pytest.raises(ValueError, match="None of the 2 parameters of this Linear belongs to cross-attention"):
        unet_patch.select_parameters(torch.nn.Linear(2, 2), "kv")
    with pytest.raises(ValueError, match="There are no parts 'cross_attention'"):
        unet_patch.cross_attention_parameters(["a.attn2.to_k.weight"], "cross_attention")


# the maths


def test_a_low_rank_is_the_nearest_one():
    torch.manual_seed(0)
    matrix = torch.randn(12, 7)
    values = torch.linalg.svdvals(matrix)
    for rank in (1, 3, 7, 50):
        up, down = unet_patch.low_rank(matrix, rank)
        assert up.shape == (12, min(rank, 7)) and down.shape == (min(rank, 7), 7)
        assert torch.dist(up @ down, matrix) == pytest.approx(float(values[rank:].norm()), abs=1e-5)


@pytest.mark.parametrize(("shape", "rank"), [((4, 4), 0), ((4,), 1), ((2, 2, 3, 3), 1)])
def test_a_rank_that_cannot_be_is_refused(shape, rank):
    with pytest.raises(ValueError, match=f"A patch of rank {rank} of a tensor of shape"):
        unet_patch.low_rank(torch.zeros(shape), rank)


def test_rounding_of_the_file_is_no_training():
    base = torch.randn(50, 50)
    assert not unet_patch.difference(base.half(), base).any()
    assert torch.equal(unet_patch.difference(base, base.half()), base - base.half().float())


# the file


def test_a_full_patch_holds_the_difference(tmp_path):
    change = {"mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0.weight": torch.randn(4, 4)}
    change["mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0.bias"] = torch.randn(4)
    saved = unet_patch.save_patch(tmp_path / "p.safetensors", change, dtype=torch.float32, metadata={"note": "x"})
    key = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_out_0"
    weight, bias = change.values()
    found = load_file(tmp_path / "p.safetensors")
    assert found.keys() == {f"{key}.diff", f"{key}.diff_b"}
    assert torch.equal(found[f"{key}.diff"], weight) and torch.equal(found[f"{key}.diff_b"], bias)
    assert (saved.tensors, saved.parameters, saved.kept) == (2, 20, 1.0)
    with safe_open(tmp_path / "p.safetensors", "pt") as file:
        facts = file.metadata()
    assert facts["format"] == "visual-insertion-unet-patch" and facts["rank"] == "full" and facts["note"] == "x"


def test_the_kept_share_is_that_of_the_norm(tmp_path):
    torch.manual_seed(0)
    change = {"a.attn2.to_k.weight": torch.randn(20, 30), "a.attn2.to_v.weight": torch.randn(30, 20)}
    saved = unet_patch.save_patch(tmp_path / "p.safetensors", change, rank=4, dtype=torch.float32)
    found = load_file(tmp_path / "p.safetensors")
    kept = [found[f"lora_unet_a_attn2_{x}.lora_up.weight"] @ found[f"lora_unet_a_attn2_{x}.lora_down.weight"]
            for x in ("to_k", "to_v")]  # fmt: skip
    norm = sum(float(product.square().sum()) for product in kept)
    whole = sum(float(tensor.square().sum()) for tensor in change.values())
    assert saved.kept == pytest.approx((norm / whole) ** 0.5, rel=1e-4)
    assert found["lora_unet_a_attn2_to_k.alpha"] == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, "There is no difference to save"),
        ({"a.attn2.to_k.weight": torch.full((2, 2), float("nan"))}, "not finite"),
        ({"a.attn2.to_k.weight": torch.full((2, 2), 1e6)}, "too large for 16 bit"),
        ({"a.attn2.queries": torch.zeros(2)}, "neither a weight nor a bias"),
    ],
)
def test_what_cannot_be_a_patch_is_refused_and_leaves_no_file(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        unet_patch.save_patch(tmp_path / "p.safetensors", change)
    assert not list(tmp_path.iterdir())


def test_a_patch_is_whole_or_not_there(tmp_path, full_disk):
    (tmp_path / "p.safetensors").write_bytes(b"an older patch")
    with full_disk(1000), pytest.raises(OSError):
        unet_patch.save_patch(tmp_path / "p.safetensors", {"a.attn2.to_k.weight": torch.ones(200, 200)})
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"an older patch"]


def test_diffusers_reads_the_names_of_a_low_rank_patch(tuned, base, tmp_path):
    from diffusers.loaders import StableDiffusionLoraLoaderMixin

    names = unet_patch.cross_attention_parameters(base, "kv")
    change = {name: tuned[name] - base[name] for name in names}
    unet_patch.save_patch(tmp_path / "p.safetensors", change, rank=2)
    state, _ = StableDiffusionLoraLoaderMixin.lora_state_dict(load_file(tmp_path / "p.safetensors"))
    assert len(state) == 2 * len(names) and all(name.startswith("unet.") for name in state)


# the command


def test_the_command_extracts_and_says_what(convert, tuned, base, tmp_path, capsys):
    assert convert("--dtype", "fp32") == 0
    said = capsys.readouterr()
    assert "cross-attention tensors (attn2, " in said.out and "8 differ" in said.out and not said.err
    found = load_file(tmp_path / "patch.safetensors")
    changed = [name for name in base if not torch.equal(base[name], tuned[name])]
    assert len(found) == len(changed) == 8
    for name in changed:
        key = "lora_unet_" + name.removesuffix(".weight").replace(".", "_")
        assert torch.equal(found[f"{key}.diff"], tuned[name] - base[name])
    with safe_open(tmp_path / "patch.safetensors", "pt") as file:
        facts = file.metadata()
    assert facts["base"] == "base.safetensors" and facts["parts"] == "attn2" and facts["dtype"] == "fp32"
    assert facts["base_sha256"] == hashlib.sha256((tmp_path / "base.safetensors").read_bytes()).hexdigest()


def test_the_command_makes_low_ranks(convert, tmp_path, capsys):
    assert convert("--rank", "2", "--parts", "kv") == 0
    assert "rank 2 holds " in capsys.readouterr().out
    found = load_file(tmp_path / "patch.safetensors")
    assert {name.rpartition("attn2_")[2] for name in found} == {
        f"{part}.{leaf}" for part in ("to_k", "to_v") for leaf in ("lora_up.weight", "lora_down.weight", "alpha")
    }
    assert {tensor.dtype for tensor in found.values()} == {torch.float16}


def test_layouts_and_folders_may_be_mixed(convert, base, tmp_path):
    """A tuned checkpoint in LDM layout against the base's diffusers folder."""
    folder = tmp_path / "pipeline" / "unet"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(SMALL))
    save_file(base, folder / "diffusion_pytorch_model.safetensors")
    names = to_ldm(base)
    tuned = load_file(tmp_path / "tuned.safetensors")
    whole = {f"model.diffusion_model.{names[name]}": tensor for name, tensor in tuned.items()}
    save_file(whole | {"first_stage_model.x": torch.ones(1)}, tmp_path / "checkpoint.safetensors")
    assert convert() == 0
    direct = load_file(tmp_path / "patch.safetensors")
    assert convert(tuned="checkpoint.safetensors", base="pipeline", output="mixed.safetensors") == 0
    mixed = load_file(tmp_path / "mixed.safetensors")
    assert mixed.keys() == direct.keys() and all(torch.equal(mixed[name], direct[name]) for name in direct)


def test_changes_elsewhere_are_reported(convert, tuned, tmp_path, capsys):
    save_file({**tuned, "conv_in.bias": tuned["conv_in.bias"] + 1}, tmp_path / "tuned.safetensors")
    assert convert() == 0
    assert "Not in the patch: 1 tensors outside of these parts differ as well." in capsys.readouterr().err


def test_a_model_that_was_never_trained_is_named(convert, capsys):
    assert convert(tuned="base.safetensors") == 1
    said = capsys.readouterr().err
    assert "are equal in all " in said and "there is nothing to extract. Cross-attention was not trained." in said


def other_width(folder):
    save_file(build(**{**SMALL, "cross_attention_dim": 24}).state_dict(), folder / "tuned.safetensors")


def damage(folder):
    state = load_file(folder / "tuned.safetensors")
    state["mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"][0, 0] = float("nan")
    save_file(state, folder / "tuned.safetensors")


@pytest.mark.parametrize(
    ("spoil", "options", "code", "message"),
    [
        (None, dict(tuned="gone.safetensors"), 2, "gone.safetensors does not exist."),
        (None, dict(base="."), 2, "is no diffusers folder"),
        (None, dict(output="patch.ckpt"), 1, "must end in .safetensors"),
        (None, dict(output="gone/patch.safetensors"), 2, "does not exist"),
        (other_width, {}, 1, "was not tuned from"),
        (damage, {}, 1, "holds values that are not finite: mid_block.attentions.0"),
    ],
)
def test_the_command_says_what_is_wrong(convert, tmp_path, capsys, spoil, options, code, message):
    if spoil:
        spoil(tmp_path)
    assert convert(**options) == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "patch.safetensors").exists()
