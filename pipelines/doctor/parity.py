"""One step of a UNet that the host has loaded against diffusers' own class on the same file.

The file is read for diffusers by names that are diffusers' own, or through diffusers' own conversion of a checkpoint:
a mistake of ours in a name or in the arithmetic is a difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..weights.hub import human_bytes
from ..weights.unets import open_unet, unet_folder
from .check import OK, PROBLEM, SKIPPED, Check
from .hardware import available_memory
from .software import import_error

NAME = "parity with diffusers"
CELLS = 16  # latent cells on a side
TOKENS = 77
SD15: dict[str, Any] = {"cross_attention_dim": 768}  # all else is diffusers' default
LDM = "model.diffusion_model."
MOST = {torch.float32: 5e-3, torch.float16: 3e-2, torch.bfloat16: 1e-1}  # relative difference, by what the host used
SPARE = 1.5  # times the weights in 32 bits


@dataclass(frozen=True)
class LoadedUNet:
    """A UNet of the host's: the file or folder of its weights, if that is known, and how to run it."""

    path: Path | None
    parameters: int
    channels: int  # of its input; 0, as the width, for what is no UNet
    context_width: int
    dtype: torch.dtype  # that it computes in
    averaged: bool  # whether its weights are a checkpoint's averaged copy
    predict: Callable[[Step], Tensor]  # [1,4,16,16]


@dataclass(frozen=True)
class Step:
    """What a UNet is given: noise and scene [1,C,16,16], the time step [1], a context [1,77,D]."""

    latents: Tensor
    time: Tensor
    context: Tensor


def step_for(channels: int, context_width: int) -> Step:
    """Always the same numbers for the same shapes."""
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(1, channels, CELLS, CELLS, generator=generator)
    context = torch.randn(1, TOKENS, context_width, generator=generator)
    return Step(latents, torch.tensor([500]), context)


def parity(unet: LoadedUNet | None) -> Iterator[Check]:
    """One step of a loaded UNet against diffusers; skipped, with the reason, where that cannot be."""
    if obstacle := _obstacle(unet):
        yield Check(NAME, SKIPPED, obstacle)
    elif unet and unet.path:
        step = step_for(unet.channels, unet.context_width)
        prediction = unet.predict(step).float().cpu()
        reference = prediction_of_diffusers(unet.path, step, averaged=unet.averaged)
        yield compared(prediction, reference, unet.dtype, unet.path.name)


def _obstacle(unet: LoadedUNet | None) -> str:
    """Why there can be no comparison; empty if there can."""
    if unet is None:
        return "no model is connected"
    if unet.path is None:
        return "the model does not say which file it is of"
    if unet.path.is_file() and unet.context_width != SD15["cross_attention_dim"]:
        return f"{unet.path.name} is not of Stable Diffusion 1.5's family"
    if error := import_error("diffusers"):
        return f"diffusers is needed for it: {error}"
    memory = available_memory()
    needed = SPARE * 4 * unet.parameters
    if memory and memory[0] < needed:
        available = human_bytes(memory[0])
        return f"diffusers' copy needs {human_bytes(needed)} of memory beside what is loaded, {available} are available"
    return ""


@torch.inference_mode()
def prediction_of_diffusers(path: Path, step: Step, averaged: bool = False) -> Tensor:
    """What diffusers' UNet with the weights of a file or folder predicts, on the CPU in 32 bits: [1,4,16,16].

    Raises ImportError without diffusers, ValueError or FileNotFoundError for what holds no UNet of its layout.
    """
    from diffusers import UNet2DConditionModel

    from ..weights.pretrained import load_model

    if path.is_dir():
        network: Any = load_model(UNet2DConditionModel, unet_folder(path))
    else:
        with torch.device("meta"):
            network = UNet2DConditionModel(**SD15, in_channels=step.latents.shape[1])
        network.load_state_dict(diffusers_state(path, network.config, averaged), assign=True)
    return network.eval()(step.latents, step.time, step.context).sample


def diffusers_state(path: Path, config: Any, averaged: bool) -> dict[str, Tensor]:
    """The tensors of the UNet in a file by diffusers' names, in 32 bits."""
    files = open_unet(path, averaged)
    if files.layout == "diffusers":
        return {files.stored[name].name: tensor.float() for name, tensor in files.read()}
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    return convert_ldm_unet_checkpoint({LDM + name: tensor.float() for name, tensor in files.read()}, config)


def compared(prediction: Tensor, reference: Tensor, dtype: torch.dtype, what: str) -> Check:
    """How far two predictions [1,4,h,w] of the same step are apart, where the first was made in `dtype`."""
    difference = float((prediction.float().cpu() - reference).norm() / reference.norm())
    name = str(dtype).removeprefix("torch.")
    found = f"one UNet step of {what} in {name} is within {difference:.1e} of diffusers in float32"
    if difference <= MOST.get(dtype, MOST[torch.bfloat16]):
        return Check(NAME, OK, found)
    return Check(NAME, PROBLEM, found.replace("is within", "differs by").replace("of diffusers", "from diffusers"))
