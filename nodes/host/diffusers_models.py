"""The parts around a UNet in diffusers layout, of any size, as the host's own classes: VAE, CLIP_VISION.

The host recognises a network by the exact shape of the public ones; these take the shape from the folder's config.
"""

from __future__ import annotations

from pathlib import Path

import comfy.clip_model
import comfy.clip_vision
import comfy.diffusers_convert
import comfy.ldm.models.autoencoder
import comfy.sd
import torch

from ...pipelines.weights.reading import StateDict, describe_non_finite, read_weights
from ...pipelines.weights.unets import read_json
from .unets import PlainLayers


def _check_fit(folder: Path, module: torch.nn.Module, state: StateDict) -> None:
    """Raise ValueError unless the weights have the names and shapes of the module, and are finite."""
    wanted, given = ({name: tensor.shape for name, tensor in table.items()} for table in (module.state_dict(), state))
    wrong = {
        "missing": wanted.keys() - given.keys(),
        "unexpected": given.keys() - wanted.keys(),
        "of another shape": {name for name in wanted.keys() & given.keys() if wanted[name] != given[name]},
    }
    found = [f"{len(names)} {what} (such as {min(names)})" for what, names in wrong.items() if names]
    if found:
        raise ValueError(f"The weights in {folder} do not fit their own config: {', '.join(found)}.")
    if bad := describe_non_finite(state):
        raise ValueError(f"The weights in {folder} hold values that are not finite: {bad}. Fetch another copy.")


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
        shape = comfy.ldm.models.autoencoder.AutoencoderKL(**params)
    _check_fit(folder / "vae", shape, comfy.diffusers_convert.convert_vae_state_dict(state))  # the host only logs it
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
    statistics = {"image_mean": pixels["image_mean"], "image_std": pixels["image_std"]}
    encoder = comfy.clip_vision.ClipVisionModel(config | statistics)
    state = {name: tensor for name, tensor in state.items() if not name.endswith("position_ids")}  # of old exports
    with torch.device("meta"):
        shape = comfy.clip_model.CLIPVisionModelProjection(encoder.config, torch.float32, "meta", PlainLayers)
    _check_fit(folder / "image_encoder", shape, state)
    encoder.load_sd(state)
    return encoder
