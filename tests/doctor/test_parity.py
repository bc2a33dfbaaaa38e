"""How the doctor reads a UNet for diffusers' own class, and when it says that two predictions are the same."""

import json

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file

from visual_insertion_pack.devtools.pack import ROOT
from visual_insertion_pack.pipelines.doctor import parity
from visual_insertion_pack.pipelines.doctor.check import OK, PROBLEM, SKIPPED
from visual_insertion_pack.pipelines.doctor.parity import LoadedUNet, compared, diffusers_state, step_for
from visual_insertion_pack.pipelines.weights.layouts import averaged_name, to_ldm

TOYS = ROOT / "playroom_models" / "unet"


@pytest.fixture(scope="module")
def unet():
    """(config, tensors by diffusers' names) of the toys, in 32 bits."""
    state = load_file(TOYS / "diffusion_pytorch_model.safetensors")
    config = UNet2DConditionModel(**json.loads((TOYS / "config.json").read_text())).config
    return config, {name: tensor.float() for name, tensor in state.items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_file_with_diffusers_names_is_read_by_them(unet, tmp_path):
    config, state = unet
    save_file(state, tmp_path / "unet.safetensors")
    assert same(diffusers_state(tmp_path / "unet.safetensors", config, averaged=False), state)


@pytest.mark.parametrize(
    ("prefix", "averaged"),
    [("model.diffusion_model.", False), ("model.diffusion_model.", True), ("diffusion_model.", False), ("", False)],
)
def test_a_checkpoint_is_renamed_by_diffusers_itself(unet, tmp_path, prefix, averaged):
    config, state = unet
    names = to_ldm(state)
    trained = {prefix + names[name]: tensor + averaged for name, tensor in state.items()}
    average = {averaged_name(names[name]): tensor for name, tensor in state.items()} if averaged else {}
    save_file(trained | average, tmp_path / "checkpoint.safetensors")
    assert same(diffusers_state(tmp_path / "checkpoint.safetensors", config, averaged), state)


@pytest.mark.parametrize(
    ("dtype", "difference", "state"),
    [
        (torch.float32, 1e-4, OK),
        (torch.float32, 2e-2, PROBLEM),
        (torch.float16, 1e-2, OK),
        (torch.float16, 0.3, PROBLEM),
        (torch.float16, float("nan"), PROBLEM),
    ],
)
def test_how_far_predictions_may_be_apart_depends_on_the_precision(dtype, difference, state):
    reference = torch.randn(1, 4, 16, 16)
    check = compared(reference * (1 + difference), reference, dtype, "a.safetensors")
    assert check.state == state
    assert ("differs by" in check.found) == (state == PROBLEM)


def test_a_model_of_another_family_is_not_compared(tmp_path):
    file = tmp_path / "flux.safetensors"
    file.touch()
    flux = LoadedUNet(file, 10, 16, 0, torch.float32, averaged=False, predict=lambda step: step.latents)
    (check,) = parity.parity(flux)
    assert check.state == SKIPPED and check.found == "flux.safetensors is not of Stable Diffusion 1.5's family"


def test_the_step_is_always_the_same():
    first, second = step_for(8, 768), step_for(8, 768)
    assert torch.equal(first.latents, second.latents) and torch.equal(first.context, second.context)
    assert first.latents.shape == (1, 8, 16, 16) and first.context.shape == (1, 77, 768)
