"""InstructPix2Pix UNets of any public layout as the host's MODEL."""

from __future__ import annotations

from pathlib import Path

from ...pipelines.weights.layouts import kind_of
from ...pipelines.weights.unets import UNetFiles, open_unet, unet_folder
from .unet_models import build
from .unet_settings import FIRST, folder_settings, settings_of, stored_size

SD15 = {  # what a file without a config must be; the number of heads is not stored in weights
    "in_channels": 8,
    "out_channels": 4,
    "block_out_channels": [320, 640, 1280, 1280],
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "layers_per_block": 2,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
ADVICE = (
    "Use an InstructPix2Pix or Paint by Inpaint UNet, such as paint-by-inpaint-add-base-unet.safetensors or "
    "instruct-pix2pix-00-22000.safetensors."
)


def load_pix2pix_unet(path: Path, averaged: bool = False, disable_dynamic: bool = False):
    """MODEL of InstructPix2Pix's family: a file of Stable Diffusion 1.5's size, or a diffusers folder of any size.

    16 bit weights stay so in memory. `averaged` takes the EMA copy of an LDM checkpoint. Raises FileNotFoundError, or
    ValueError for another family.
    """
    if path.is_dir():
        files = open_unet(unet_folder(path), averaged)
        check_family(files)
        settings = folder_settings(path)
    else:
        files = open_unet(path, averaged)
        check_family(files)
        check_size(files)
        settings = settings_of(SD15)
    patcher = build(files, settings, keep_half=True, disable_dynamic=disable_dynamic)
    patcher.cached_patcher_init = (load_pix2pix_unet, (path, averaged))
    return patcher


def check_family(files: UNetFiles) -> None:
    """Raise ValueError unless the UNet is of InstructPix2Pix's family."""
    if "label_emb.0.0.weight" in files.shapes:
        raise ValueError(
            f"{files.where} is a UNet of SDXL's family; this method's are of Stable Diffusion 1.5's. {ADVICE}"
        )
    channels = files.shapes[FIRST][1]
    if channels != SD15["in_channels"]:
        raise ValueError(
            f"{files.where} is {kind_of(channels)}: its UNet takes {channels} channels, one for InstructPix2Pix takes "
            f"8 (noise and scene). {ADVICE}"
        )


def check_size(files: UNetFiles) -> None:
    """Raise ValueError unless the UNet is of Stable Diffusion 1.5's size, which no config says of a file."""
    channels, contexts = stored_size(files)
    sd15_channels = SD15["block_out_channels"][0]
    sd15_context = SD15["cross_attention_dim"]
    if (channels, contexts) != (sd15_channels, [sd15_context]):
        raise ValueError(
            f"{files.where} is not of Stable Diffusion 1.5's size: {channels} channels and a context of width "
            f"{', '.join(map(str, contexts)) or 'none'} instead of {sd15_channels} and {sd15_context}, and a file does "
            "not say with how many heads to run it. Put it into a folder with its config.json, below models/diffusers."
        )
