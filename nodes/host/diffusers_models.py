"""The parts around a UNet in diffusers layout, of any size, as the host's own classes: VAE, CLIP_VISION.

The host recognises a network by the exact shape of the public ones; these take the shape from the folder's config.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import comfy.clip_model
import comfy.clip_vision
import comfy.diffusers_convert
import comfy.ldm.models.autoencoder
import comfy.sd
import torch

from ...pipelines.weights.configs import (
    CONFIG,
    PIXELS,
    blueprint,
    check_counts_in,
    count_in,
    counts_in,
    pixel_statistics,
    read_json,
)
from ...pipelines.weights.reading import StateDict, check_numbers, describe_misfit, shapes_of
from ...pipelines.weights.tensors import HALF_FIRST, NO_WEIGHTS, TRANSFORMERS, open_folder
from .plain_layers import PlainLayers


def load_vae(folder: Path) -> comfy.sd.VAE:
    """VAE from `folder/vae`."""
    config_file = folder / "vae" / CONFIG
    config = read_json(config_file)
    files = open_folder(folder / "vae", HALF_FIRST)
    channels = counts_in(config, "block_out_channels", config_file)
    groups = count_in(config, "norm_num_groups", config_file)
    if any(width % channels[0] or width % groups for width in channels):
        raise ValueError(f"{config_file}: the widths {channels} are no multiples of the first and of {groups} groups.")
    settings = dict(
        double_z=True,
        z_channels=count_in(config, "latent_channels", config_file),
        resolution=256,
        in_channels=3,
        out_ch=3,
        ch=channels[0],
        ch_mult=[width // channels[0] for width in channels],
        num_res_blocks=count_in(config, "layers_per_block", config_file),
        attn_resolutions=[],
        dropout=0.0,
    )
    params = {"ddconfig": settings, "embed_dim": config["latent_channels"]}
    with blueprint(str(config_file), len(files.stored)):
        empty_vae = comfy.ldm.models.autoencoder.AutoencoderKL(**params)
    state = dict(files.read())
    host_state = comfy.diffusers_convert.convert_vae_state_dict(state)
    _check_weights(folder / "vae", empty_vae, host_state)  # the host only logs it
    vae = comfy.sd.VAE(sd=state, config={"params": params})
    for module in vae.first_stage_model.modules():
        if isinstance(module, torch.nn.GroupNorm):  # the host builds 32 groups, whatever the model was trained with
            module.num_groups = groups
    return vae


def load_clip_vision(folder: Path) -> comfy.clip_vision.ClipVisionModel:
    """CLIP_VISION from `folder/image_encoder`, with the pixel statistics of `folder/feature_extractor`."""
    config_file = folder / "image_encoder" / CONFIG
    config = read_json(config_file) | {"model_type": "clip_vision_model"}
    mean, std = pixel_statistics(folder / "feature_extractor" / PIXELS)
    files = open_folder(folder / "image_encoder", TRANSFORMERS)
    state = dict(files.read(name for name in files.stored if not name.endswith(NO_WEIGHTS)))
    check_clip_vision(config, config_file, state, config_file.parent)
    encoder = build_clip_vision(config | {"image_mean": mean, "image_std": std})
    encoder.load_sd(state)
    return encoder


def build_clip_vision(config: dict[str, Any]) -> comfy.clip_vision.ClipVisionModel:
    """CLIP_VISION of this config, its weights still to come. Through a file: all that hosts before 0.24 take."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.json"
        file.write_text(json.dumps(config), "utf-8")
        return comfy.clip_vision.ClipVisionModel(file)


def check_clip_vision(config: dict[str, Any], config_file: Path, state: StateDict, where: Path) -> None:
    """Raise ValueError unless a config makes a vision tower that the weights in `where` fit, all of them finite."""
    check_counts_in(config, config_file)
    with blueprint(str(config_file), len(state)):
        tower = comfy.clip_model.CLIPVisionModelProjection(config, torch.float32, "meta", PlainLayers)
    _check_weights(where, tower, state)


def _check_weights(folder: Path, network: torch.nn.Module, state: StateDict) -> None:
    """Raise ValueError unless the weights have the names and shapes of the network's, and are finite."""
    misfit = describe_misfit(shapes_of(network.state_dict()), shapes_of(state))
    if misfit:
        raise ValueError(f"The weights in {folder} do not fit their own config: {misfit}.")
    check_numbers(state, folder)
