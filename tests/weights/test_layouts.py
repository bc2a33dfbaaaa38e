"""Key names of UNets: diffusers, LDM and the host agree, for any number of levels and layers."""

import pytest
import torch

from visual_insertion_pack.pipelines.weights import layouts

BLOCKS = {True: ("CrossAttnDownBlock2D", "CrossAttnUpBlock2D"), False: ("DownBlock2D", "UpBlock2D")}
SHAPES = {  # (layers per block, which levels attend, transformers in each, linear projections)
    "SD1.5": (2, [True, True, True, False], 1, False),
    "playroom": (1, [False, True, True], 1, False),
    "two levels": (3, [True, True], 1, True),
    "five levels": (1, [True, False, True, False, True], 1, False),
    "deep transformers": (2, [False, True, True], 3, True),
}


def diffusers_names(layers, attends, depth, linear):
    """Name -> shape of diffusers' own UNet."""
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(
            in_channels=8,
            out_channels=4,
            block_out_channels=[32 * min(2**level, 4) for level in range(len(attends))],
            down_block_types=[BLOCKS[a][0] for a in attends],
            up_block_types=[BLOCKS[a][1] for a in reversed(attends)],
            layers_per_block=layers,
            transformer_layers_per_block=depth,
            cross_attention_dim=16,
            attention_head_dim=4,
            use_linear_projection=linear,
        )
    return {name: tuple(tensor.shape) for name, tensor in unet.state_dict().items()}, dict(unet.config)


@pytest.fixture(params=SHAPES)
def unet(request):
    return diffusers_names(*SHAPES[request.param])


def test_the_host_says_the_same(unet, comfy):
    import comfy.utils

    from visual_insertion_pack.nodes.host import unet_settings

    names, config = unet
    theirs = comfy.utils.unet_to_diffusers(unet_settings.host_unet_config(config))
    assert layouts.to_ldm(names) == {name: theirs[name] for name in names}


def test_the_hosts_network_has_these_names_and_shapes(unet, comfy):
    from visual_insertion_pack.nodes.host import unet_settings

    names, config = unet
    wanted = unet_settings.settings_of(config).weight_shapes()
    assert {ours: names[theirs] for theirs, ours in layouts.to_ldm(names).items()} == wanted


def test_unequal_levels_have_their_own_numbers(comfy):
    """Where the host's own table goes wrong: it takes every level for as long as the first."""
    from visual_insertion_pack.nodes.host import unet_settings

    names, config = diffusers_names([1, 2, 3], [False, True, True], 1, False)
    wanted = unet_settings.settings_of(config).weight_shapes()
    renamed = layouts.to_ldm(names)
    assert {ours: names[theirs] for theirs, ours in renamed.items()} == wanted
    assert layouts.to_diffusers(wanted) == {ours: theirs for theirs, ours in renamed.items()}


def test_there_and_back_is_the_same(unet):
    names, _ = unet
    ours = layouts.to_ldm(names)
    assert len(set(ours.values())) == len(names)
    assert layouts.to_diffusers(ours.values()) == {new: old for old, new in ours.items()}


def test_sd15_has_686_tensors():
    names, _ = diffusers_names(*SHAPES["SD1.5"])
    ours = layouts.to_ldm(names)
    assert len(ours) == 686
    assert ours["conv_in.weight"] == "input_blocks.0.0.weight"
    assert ours["down_blocks.2.downsamplers.0.conv.bias"] == "input_blocks.9.0.op.bias"
    assert ours["up_blocks.0.upsamplers.0.conv.bias"] == "output_blocks.2.1.conv.bias"
    assert ours["up_blocks.1.upsamplers.0.conv.bias"] == "output_blocks.5.2.conv.bias"


def test_unknown_names_stay_for_the_caller_to_see():
    names, _ = diffusers_names(*SHAPES["playroom"])
    for strange in ("lora.up.weight", "down_blocks.x.resnets.0.conv1.weight", "down_blocks.9.resnets.0.new.weight"):
        assert layouts.to_ldm([*names, strange])[strange] == strange
        assert layouts.to_diffusers([*layouts.to_ldm(names).values(), strange])[strange] == strange


def test_averaged_names_are_those_of_the_published_checkpoint():
    assert layouts.averaged_name("input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight") == (
        "model_ema.diffusion_modelinput_blocks11transformer_blocks0attn2to_kweight"
    )
    names = layouts.to_ldm(diffusers_names(*SHAPES["SD1.5"])[0]).values()
    assert len({layouts.averaged_name(name) for name in names}) == 686, "two names without dots are the same"
