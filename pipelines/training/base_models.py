"""What a training run starts from: frozen encoders, the base model's null, and the part of its UNet that learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from ..weights.pretrained import load_model
from ..weights.unet_patch import select_parameters


def load_part(kind: Any, folder: Path) -> Any:
    """A diffusers model of this class in float32, from full or 16 bit files. Raises what `load_model` does."""
    return load_model(kind, folder)


def train_part(
    unet: UNet2DConditionModel, parts: str, tensors: int | None, parameters: int | None
) -> dict[str, Tensor]:
    """Freeze the UNet but for `parts` of its cross-attention ("none", "kv", "attn2"); copies of those by name.

    Raises ValueError when nothing matches, or not as many `tensors` and `parameters` as were expected.
    """
    unet.requires_grad_(False)
    chosen = {} if parts == "none" else select_parameters(unet, cast(Any, parts))
    size = sum(parameter.numel() for parameter in chosen.values())
    for what, count, expected in (("tensors", len(chosen), tensors), ("parameters", size, parameters)):
        if expected is not None and count != expected:
            raise ValueError(
                f"unet.train = {parts} matches {count:,} {what} of this UNet, not the {expected:,} expected. It is "
                "another model than the recipe was written for; if that is meant, correct unet.tensors and parameters."
            )
    for parameter in chosen.values():
        parameter.requires_grad_(True)
    return {name: parameter.detach().clone() for name, parameter in chosen.items()}


def halve_frozen(network: nn.Module, half: torch.dtype = torch.bfloat16) -> None:
    """Keep what autocast would round anyway in 16 bits: frozen linear layers and convolutions. Halves their memory."""
    for module in network.modules():
        own = list(module.parameters(recurse=False))
        if isinstance(module, nn.Linear | nn.Conv2d) and not any(p.requires_grad for p in own):
            module.to(half)
