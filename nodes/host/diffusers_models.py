"""Models in diffusers layout, of any size, as the host's own classes: MODEL, VAE, CLIP_VISION.

The host recognises a network by the exact shape of the public ones; these take the shape from the folder's config.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import comfy.clip_vision
import comfy.diffusers_convert
import comfy.latent_formats
import comfy.ldm.models.autoencoder
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.supported_models_base
import comfy.utils
import torch

from ...pipelines.files import StateDict, describe_non_finite, read_weights

_MODEL_TYPES = {
    "epsilon": comfy.model_base.ModelType.EPS,
    "v_prediction": comfy.model_base.ModelType.V_PREDICTION,
}


def read_json(path: Path) -> dict[str, Any]:
    """Content of a config file. Raises FileNotFoundError or ValueError naming the file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error


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


def host_unet_config(config: dict[str, Any]) -> dict[str, Any]:
    """The host's UNet settings for a diffusers `UNet2DConditionModel` config."""
    channels = config["block_out_channels"]
    base, levels = channels[0], len(channels)
    if any(width % base for width in channels):
        raise ValueError(f"Block widths {channels} are not multiples of the first; the host cannot build this UNet.")
    layers = config["layers_per_block"]
    layers = [layers] * levels if isinstance(layers, int) else list(layers)
    depth = config.get("transformer_layers_per_block", 1)
    attends = ["CrossAttn" in kind for kind in config["down_block_types"]]
    return dict(
        image_size=32,
        in_channels=config["in_channels"],
        out_channels=config["out_channels"],
        model_channels=base,
        channel_mult=[width // base for width in channels],
        num_res_blocks=layers,
        transformer_depth=[depth * a for a, n in zip(attends, layers, strict=True) for _ in range(n)],
        transformer_depth_output=[depth * a for a, n in zip(attends, layers, strict=True) for _ in range(n + 1)],
        transformer_depth_middle=depth,
        context_dim=config["cross_attention_dim"],
        use_spatial_transformer=True,
        use_linear_in_transformer=bool(config.get("use_linear_projection")),
        legacy=False,
        adm_in_channels=None,
        use_temporal_resblock=False,
        use_temporal_attention=False,
    )


def _model_config(config: dict[str, Any], heads: int, prediction: str, latent: type) -> Any:
    class DiffusersPix2Pix(comfy.supported_models_base.BASE):
        unet_extra_config = {"num_heads": heads, "num_head_channels": -1}
        latent_format = latent
        supported_inference_dtypes = [torch.float16, torch.bfloat16, torch.float32]
        memory_usage_factor = 1.0

        def model_type(self, state_dict, prefix=""):
            return _MODEL_TYPES[prediction]

        def get_model(self, state_dict, prefix="", device=None):
            return comfy.model_base.SD15_instructpix2pix(self, self.model_type(state_dict, prefix), device=device)

    return DiffusersPix2Pix(config)


def load_pix2pix_unet(folder: Path, latent: type = comfy.latent_formats.SD15, disable_dynamic: bool = False):
    """MODEL from `folder/unet` and the prediction type in `folder/scheduler`.

    Raises FileNotFoundError, or ValueError when weights and config do not belong together.
    """
    config = read_json(folder / "unet" / "config.json")
    prediction = read_json(folder / "scheduler" / "scheduler_config.json").get("prediction_type", "epsilon")
    state, _ = read_weights(folder / "unet" / "diffusion_pytorch_model.safetensors")
    unet_config = host_unet_config(config)
    names = comfy.utils.unet_to_diffusers(unet_config)
    renamed = {names.get(name, name): tensor for name, tensor in state.items()}
    management = comfy.model_management
    device = management.get_torch_device()
    model_config = _model_config(unet_config, config["attention_head_dim"], prediction, latent)
    dtype = management.unet_dtype(
        device=device,
        model_params=sum(tensor.numel() for tensor in renamed.values()),
        supported_dtypes=model_config.supported_inference_dtypes,
    )
    cast = management.unet_manual_cast(dtype, device, model_config.supported_inference_dtypes)
    model_config.set_inference_dtype(dtype, cast)
    model = model_config.get_model({}, "", device=management.unet_offload_device())
    _check_fit(folder / "unet", model.diffusion_model, renamed)
    model.diffusion_model.load_state_dict(renamed)
    patcher_class = comfy.model_patcher.ModelPatcher if disable_dynamic else comfy.model_patcher.CoreModelPatcher
    patcher = patcher_class(model, load_device=device, offload_device=management.unet_offload_device())
    patcher.cached_patcher_init = (load_pix2pix_unet, (folder, latent))
    return patcher


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
    _check_fit(folder / "image_encoder", encoder.model, state)
    encoder.load_sd(state)
    return encoder
