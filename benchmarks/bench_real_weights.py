"""A full-size UNet in diffusers layout, random: our loaded MODEL's network against diffusers' own class.

One after the other, so that no more than one of them is in memory (about 4 GB).
"""

from __future__ import annotations

import gc
import json
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file

from ..devtools.environment import find_host
from ..devtools.inprocess import InProcess
from .figures import record

PARAMETERS = 859_532_484
CONFIG = {"in_channels": 8, "cross_attention_dim": 768}  # diffusers' defaults are Stable Diffusion 1.5's
FOLDER = "random"


def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(noisy latent and scene [2,8,32,32], steps [2], context [2,77,768]), always the same."""
    generator = torch.Generator().manual_seed(1)
    noisy = torch.randn(2, 8, 32, 32, generator=generator)
    context = torch.randn(2, 77, 768, generator=generator)
    return noisy, torch.tensor([20, 900]), context


@torch.inference_mode()
def of_diffusers(folder: Path) -> torch.Tensor:
    """The prediction of a network as diffusers initialises it, whose weights are left in the folder."""
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    network = UNet2DConditionModel(**CONFIG).eval()
    assert sum(weight.numel() for weight in network.parameters()) == PARAMETERS
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(dict(network.config)), encoding="utf-8")
    save_file(network.state_dict(), folder / "diffusion_pytorch_model.safetensors")
    noisy, steps, context = inputs()
    return network(noisy, steps, context).sample


@torch.inference_mode()
def of_the_host(base: Path) -> torch.Tensor:
    """The prediction of the MODEL that our node loads from the folder, in float32 on the CPU."""
    home = find_host()
    assert home, "no ComfyUI yet: run `python dev.py test` once, or set COMFYUI_PATH"
    node = InProcess(home, base)
    (model,) = node("Pix2PixUNetLoader", name=FOLDER, weights="as saved")
    noisy, steps, context = inputs()
    return model.model.diffusion_model(noisy, steps, context=context)


def main() -> None:
    with tempfile.TemporaryDirectory() as base:
        reference = of_diffusers(Path(base, "models", "diffusers", FOLDER))
        gc.collect()
        prediction = of_the_host(Path(base))
    relative = float((prediction - reference).norm() / reference.norm())
    print(f"converted_unet_rel {relative:g}")
    record("flagship", {"converted_unet_rel": (relative, "relative norm")}, "python dev.py bench real_weights")
