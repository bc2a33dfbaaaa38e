"""Patch files read back into a UNet: every form that this pack writes, kohya's LoRAs, and what is none."""

import pytest
import torch
from safetensors.torch import save_file

from visual_insertion_pack.pipelines.weights import unet_patch
from visual_insertion_pack.pipelines.weights.reading import shapes_of
from visual_insertion_pack.pipelines.weights.unet_patch_reading import apply_patch, read_patch

MODULE = "mid_block.attentions.0.transformer_blocks.0.attn2"
KEY = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2"


@pytest.fixture
def unet():
    """A network with the names of a UNet's cross-attention, 12 wide, its words 8 wide."""
    torch.manual_seed(0)
    attention = torch.nn.ModuleDict({"to_k": torch.nn.Linear(8, 12, False), "to_v": torch.nn.Linear(8, 12, False)})
    attention["to_out"] = torch.nn.Sequential(torch.nn.Linear(12, 12))
    blocks = torch.nn.ModuleDict(
        {"transformer_blocks": torch.nn.ModuleList([torch.nn.ModuleDict({"attn2": attention})])}
    )
    return torch.nn.ModuleDict({"mid_block": torch.nn.ModuleDict({"attentions": torch.nn.ModuleList([blocks])})})


@pytest.fixture
def change(unet):
    torch.manual_seed(1)
    return {name: torch.randn_like(parameter) for name, parameter in unet.named_parameters()}


@pytest.mark.parametrize("form", [{}, {"rank": 12}, {"for_diffusers": True}, {"rank": 3}])
def test_what_was_written_is_read_back_in_every_form(unet, change, tmp_path, form):
    path = tmp_path / "patch.safetensors"
    unet_patch.save_patch(path, change, dtype=torch.float32, **form)
    read = read_patch(path, shapes_of(change))
    assert read.keys() == change.keys()
    for name, expected in change.items():
        if form == {"rank": 3} and expected.ndim == 2:
            up, down = unet_patch.low_rank(expected, 3)
            expected = up @ down
        assert torch.allclose(read[name], expected, atol=1e-5), name


def test_a_patch_is_added_in_the_precision_of_the_unet(unet, change, tmp_path):
    path = tmp_path / "patch.safetensors"
    unet_patch.save_patch(path, change, dtype=torch.float32)
    unet.half()
    before = {name: parameter.detach().clone() for name, parameter in unet.named_parameters()}
    assert apply_patch(unet, path).keys() == change.keys()
    for name, parameter in unet.named_parameters():
        assert torch.equal(parameter, (before[name].float() + change[name]).half())


def test_the_scale_of_a_kohya_lora_is_its_alpha_by_its_rank(unet, tmp_path):
    up, down = torch.randn(12, 4), torch.randn(4, 8)
    tensors = {f"{KEY}_to_k.lora_up.weight": up, f"{KEY}_to_k.lora_down.weight": down}
    save_file({**tensors, f"{KEY}_to_k.alpha": torch.tensor(2.0)}, tmp_path / "lora.safetensors")
    (read,) = read_patch(tmp_path / "lora.safetensors", shapes_of(dict(unet.named_parameters()))).values()
    assert torch.allclose(read, up @ down / 2, atol=1e-6)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({f"{KEY}_to_k.diff": torch.zeros(12, 9)}, "is of another UNet: its change of .*to_k.weight has the shape"),
        ({f"{KEY}_to_k.diff": torch.zeros(8, 12)}, "is of another UNet"),
        ({f"{KEY}_to_q.diff": torch.zeros(12, 12)}, "1 of its 1 tensors belong to no layer of it"),
        ({"lora_te_text_model.lora_up.weight": torch.zeros(2, 2)}, "a LoRA of the UNet alone"),
        ({f"{KEY}_to_k.lora_up.weight": torch.zeros(12, 4)}, "belong to no layer"),
        (
            {f"{KEY}_to_k.lora_up.weight": torch.zeros(12, 4), f"{KEY}_to_k.lora_down.weight": torch.zeros(3, 8)},
            "do not belong together",
        ),
        ({f"{KEY}_to_k.diff": torch.full((12, 8), torch.nan)}, "values that are not finite"),
        ({f"{KEY}_to_k.diff": torch.tensor(1.0)}, "is of another UNet"),
    ],
)
def test_what_is_no_patch_of_the_unet_is_said_with_its_file(unet, tmp_path, tensors, message):
    path = tmp_path / "patch.safetensors"
    save_file(tensors, path)
    before = {name: parameter.detach().clone() for name, parameter in unet.named_parameters()}
    with pytest.raises(ValueError, match=message) as error:
        apply_patch(unet, path)
    assert str(path) in str(error.value)
    assert all(torch.equal(before[name], parameter) for name, parameter in unet.named_parameters())


def test_a_missing_patch_is_named(unet, tmp_path):
    with pytest.raises(FileNotFoundError, match="gone.safetensors does not exist"):
        apply_patch(unet, tmp_path / "gone.safetensors")
