"""Patch files of a UNet, read: this pack's in every form, and LoRAs of the UNet in kohya's layout."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path

import torch
from torch import Tensor, nn

from .layouts import patch_module
from .reading import Shapes, StateDict, check_numbers, read_weights, shapes_of


def read_patch(path: Path, shapes: Shapes) -> dict[str, Tensor]:
    """What a patch file adds to a UNet of tensors of these shapes, by their diffusers names; float32.

    A file of this pack, in full, of low rank or in diffusers' layout, or a LoRA in kohya's. Raises FileNotFoundError,
    or ValueError for a damaged file, one that is no patch, and one of another UNet.
    """
    state, _ = read_weights(path)
    check_numbers(state, path)
    return differences(state, shapes, path)


def differences(state: StateDict, shapes: Shapes, path: Path | str) -> dict[str, Tensor]:
    """The same of a patch file's tensors. Raises ValueError, naming their `path`."""
    # In diffusers' layout every product has a bias, zeros where there was none.
    left = {name: tensor for name, tensor in state.items() if not name.endswith(".lora_B.bias") or tensor.any()}
    found: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        try:
            change = _taken(left, name)
        except ValueError as error:
            raise ValueError(f"{path} is no patch of a UNet: {error}.") from error
        if change is None:
            continue
        if change.numel() != prod(shape) or change.shape[:1] != shape[:1]:
            raise ValueError(
                f"{path} is of another UNet: its change of {name} has the shape {tuple(change.shape)}, the UNet's "
                f"tensor {shape}. Name the models that it was trained on."
            )
        found[name] = change.float().reshape(shape)
    if left or not found:
        raise ValueError(
            f"{path} is no patch of this UNet: {len(left)} of its {len(state)} tensors belong to no layer of it"
            f"{f' (such as {min(left)})' if left else ''}. Needed is a file that `visual-insertion train` or `convert "
            "unet-patch` wrote, or a LoRA of the UNet alone."
        )
    return found


def _taken(state: StateDict, name: str) -> Tensor | None:
    """The change of a parameter, out of the tensors of a patch file, which lose it; None where there is none.

    Raises ValueError for the matrices of a product that do not belong together.
    """
    module, _, leaf = name.rpartition(".")
    key = patch_module(module)
    if leaf == "bias":
        bias = state.pop(f"{module}.lora_B.bias", None)
        return state.pop(f"{key}.diff_b", bias)
    if leaf != "weight":
        return None
    for up, down in ((f"{key}.lora_up", f"{key}.lora_down"), (f"{module}.lora_B", f"{module}.lora_A")):
        if f"{up}.weight" in state and f"{down}.weight" in state:
            columns = state.pop(f"{up}.weight").float()
            rows = state.pop(f"{down}.weight").float()
            alpha = state.pop(f"{key}.alpha", torch.tensor(float(len(rows))))
            if min(columns.ndim, rows.ndim) < 2 or columns.shape[1] != len(rows) or alpha.numel() != 1:
                raise ValueError(f"its matrices for {name} do not belong together")
            return columns.flatten(1) @ rows.flatten(1) * (float(alpha) / len(rows))
    return state.pop(f"{key}.diff", None)


def apply_patch(unet: nn.Module, path: Path) -> dict[str, Tensor]:
    """Add a patch file to a diffusers UNet; returns what was added, by name. Raises what `read_patch` does."""
    changes = read_patch(path, shapes_of(dict(unet.named_parameters())))
    add_differences(unet, changes)
    return changes


@torch.no_grad()
def add_differences(unet: nn.Module, changes: Mapping[str, Tensor]) -> None:
    """Add changes by the names of a UNet's parameters, in float32 whatever its own precision."""
    for name, change in changes.items():
        parameter = unet.get_parameter(name)
        parameter.copy_(parameter.float() + change.to(parameter.device))
