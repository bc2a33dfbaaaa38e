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

from ...pipelines.weights.reading import StateDict, describe_misfit, describe_non_finite, read_weights, shapes_of
from ...pipelines.weights.unets import read_json
from .plain_layers import PlainLayers


def load_vae(folder: Path) -> comfy.sd.VAE:
    """VAE from `folder/vae`."""
    config = read_json(folder / "vae" / "config.json")
    state, _ = read_weights(folder / "vae" / "diffusion_pytorch_model.safetensors")
    channels = config["block_out_channels"]
    settings = dict(
        double_z=True,
        z_channels=config["latent_channels"],
        resolution=256,
        in_channels=3,
        out_ch=3,
        ch=channels[0],
        ch_mult=[width // channels[0] for width in channels],
        num_res_blocks=config["layers_per_block"],
        attn_resolutions=[],
        dropout=0.0,
    )
    params = {"ddconfig": settings, "embed_dim": config["latent_channels"]}
    with torch.device("meta"):
        empty_vae = comfy.ldm.models.autoencoder.AutoencoderKL(**params)
    host_state = comfy.diffusers_convert.convert_vae_state_dict(state)
    _check_weights(folder / "vae", empty_vae, host_state)  # the host only logs it
    vae = comfy.sd.VAE(sd=state, config={"params": params})
    for module in vae.first_stage_model.modules():
        if isinstance(module, torch.nn.GroupNorm):  # the host builds 32 groups, whatever the model was trained with
            module.num_groups = config["norm_num_groups"]
    return vae


def load_clip_vision(folder: Path) -> comfy.clip_vision.ClipVisionModel:
    """CLIP_VISION from `folder/image_encoder`, with the pixel statistics of `folder/feature_extractor`."""
    config = read_json(folder / "image_encoder" / "config.json")
    pixels = read_json(folder / "feature_extractor" / "preprocessor_config.json")
    state, _ = read_weights(folder / "image_encoder" / "model.safetensors")
    statistics = {name: pixels[name] for name in ("image_mean", "image_std")}
    encoder = build_clip_vision(config | statistics)
    state = {name: tensor for name, tensor in state.items() if not name.endswith("position_ids")}  # of old exports
    with torch.device("meta"):
        empty_encoder = comfy.clip_model.CLIPVisionModelProjection(encoder.config, torch.float32, "meta", PlainLayers)
    _check_weights(folder / "image_encoder", empty_encoder, state)
    encoder.load_sd(state)
    return encoder


def build_clip_vision(config: dict[str, Any]) -> comfy.clip_vision.ClipVisionModel:
    """CLIP_VISION of this config, its weights still to come. Through a file: all that hosts before 0.24 take."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.json"
        file.write_text(json.dumps(config), "utf-8")
        return comfy.clip_vision.ClipVisionModel(file)


def _check_weights(folder: Path, network: torch.nn.Module, state: StateDict) -> None:
    """Raise ValueError unless the weights have the names and shapes of the network's, and are finite."""
    misfit = describe_misfit(shapes_of(network.state_dict()), shapes_of(state))
    if misfit:
        raise ValueError(f"The weights in {folder} do not fit their own config: {misfit}.")
    bad = describe_non_finite(state)
    if bad:
        raise ValueError(f"The weights in {folder} hold values that are not finite: {bad}. Fetch another copy.")
