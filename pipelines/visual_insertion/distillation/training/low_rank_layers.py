"""The layers of a UNet that a student changes, each by a product of low rank; peft puts them in and takes them out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from ....weights.layouts import patch_module
from ....weights.reading import StateDict

ADAPTER = "student"
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2")
CONVOLUTIONS = ("conv1", "conv2", "conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv", "time_emb_proj")
LAYERS = (*ATTENTION, *CONVOLUTIONS)  # those of LCM-LoRA (arXiv 2311.05556)


def add_layers(unet: Any, rank: int) -> None:
    """Freeze a diffusers UNet, and put layers in that change nothing yet and learn."""
    from peft import LoraConfig

    unet.requires_grad_(False)
    unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=list(LAYERS)), adapter_name=ADAPTER)


def _products(unet: nn.Module) -> Iterator[tuple[str, nn.Module, nn.Module]]:
    """(key in a patch file, down, up) of each layer."""
    for name, module in unet.named_modules():
        layers: Any = module
        if ADAPTER in getattr(layers, "lora_A", ()):
            yield patch_module(name), layers.lora_A[ADAPTER], layers.lora_B[ADAPTER]


def patch_tensors(unet: nn.Module) -> StateDict:
    """What was learned, as a patch file has it."""
    tensors: StateDict = {}
    for key, down, up in _products(unet):
        tensors[f"{key}.lora_down.weight"] = down.get_parameter("weight").detach().float().cpu()
        tensors[f"{key}.lora_up.weight"] = up.get_parameter("weight").detach().float().cpu()
        tensors[f"{key}.alpha"] = torch.tensor(float(len(tensors[f"{key}.lora_down.weight"])))
    return tensors


@torch.no_grad()
def set_patch(unet: nn.Module, tensors: StateDict, name: str) -> None:
    """Put the products of a patch file into the layers. Raises ValueError for those of another UNet or rank."""
    for key, down, up in _products(unet):
        for layer, leaf in ((down, "lora_down"), (up, "lora_up")):
            tensor = tensors.get(f"{key}.{leaf}.weight")
            parameter = layer.get_parameter("weight")
            if tensor is None or tensor.shape != parameter.shape:
                shape = "no" if tensor is None else f"a {tuple(tensor.shape)}"
                raise ValueError(
                    f"{name} is of another UNet or rank: it has {shape} tensor for {key}.{leaf}, needed is "
                    f"{tuple(parameter.shape)}."
                )
            parameter.copy_(tensor)
