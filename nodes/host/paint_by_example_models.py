"""Paint by Example's parts as host types: its UNet with the channels in its own order, VAE and both encoders.

The host's inpainting has mask and then masked picture, with 1 for what is painted; this model was trained with masked
picture and then 1 for what is kept. `concat_keys` names both orders (model_base.BaseModel.concat_cond).
"""

from __future__ import annotations

from pathlib import Path

import comfy.clip_vision
import comfy.latent_formats
import comfy.ops
import comfy.sd
import comfy.supported_models
import torch

from ...pipelines.paint_by_example.checkpoints import (
    CHANNELS,
    PaintByExampleFiles,
    check_channels,
    open_paint_by_example,
)
from ...pipelines.weights.configs import CONFIG, PIXELS, count_in, pixel_statistics, read_json
from ...pipelines.weights.unets import FIRST, UNetFiles, open_unet, unet_folder
from .diffusers_models import build_clip_vision, check_clip_vision, load_vae
from .managed_networks import ManagedExemplarEncoder
from .pix2pix_unets import SD15
from .unet_models import build
from .unet_settings import folder_settings, settings_of, stored_size

ORDER = ("masked_image", "mask_inverted")  # after the noisy latent
SD14 = SD15 | {"in_channels": CHANNELS}  # what a file without a config must be
WIDEST = 1 << 12  # projection of a published CLIP: 768 to 1280
VIT_L = dict(  # the vision tower of an LDM file, which has no config
    hidden_act="quick_gelu",
    hidden_size=1024,
    image_size=224,
    intermediate_size=4096,
    model_type="clip_vision_model",
    num_attention_heads=16,
    num_channels=3,
    num_hidden_layers=24,
    patch_size=14,
    projection_dim=768,
)


def load_paint_by_example(path: Path):
    """(MODEL, VAE, CLIP_VISION, EXEMPLAR_ENCODER) of an LDM file or a diffusers folder.

    Raises FileNotFoundError, or ValueError for damaged files and other models.
    """
    files = open_paint_by_example(path)
    if files.layout == "LDM":
        _check_size(files.unet())
    exemplar_encoder = ManagedExemplarEncoder(files.exemplar_encoder(comfy.ops.manual_cast))
    clip_vision = clip_vision_of(files)  # what is read whole comes before what is large
    vae = vae_of(files)
    return load_unet(path), vae, clip_vision, exemplar_encoder


def load_unet(
    path: Path,
    latent: type = comfy.latent_formats.SD15,
    schedule: Path | None = None,
    disable_dynamic: bool = False,
):
    """MODEL of an LDM file or a diffusers folder, with the channels in this model's order; 16 bit weights stay so.

    `schedule` is the folder whose scheduler/ says what is predicted, if not `path`. Raises FileNotFoundError, or
    ValueError for another family or size.
    """
    if path.is_dir():
        files = open_unet(unet_folder(path))
        check_channels(path, files.shapes[FIRST][1])
        settings = folder_settings(path, schedule)
    else:
        files = open_paint_by_example(path).unet()
        _check_size(files)
        settings = settings_of(SD14)
    patcher = build(
        files,
        settings,
        latent=latent,
        keep_half=True,
        disable_dynamic=disable_dynamic,
        stock=comfy.supported_models.SD15,
    )
    patcher.add_object_patch("concat_keys", ORDER)
    patcher.cached_patcher_init = (load_unet, (path, latent, schedule))
    return patcher


def _check_size(files: UNetFiles) -> None:
    """Raise ValueError unless the UNet in a file is of Stable Diffusion 1.4's size."""
    channels, contexts = stored_size(files)
    if (channels, contexts) != (SD14["block_out_channels"][0], [SD14["cross_attention_dim"]]):
        raise ValueError(
            f"{files.where} is not of Stable Diffusion 1.4's size: {channels} channels and a context of width "
            f"{', '.join(map(str, contexts)) or 'none'}, and a file does not say with how many heads to run it. Put "
            "it into a diffusers folder with its config.json, below models/diffusers."
        )


def vae_of(files: PaintByExampleFiles) -> comfy.sd.VAE:
    """The stock VAE, of any size where a folder's config says which."""
    if files.where.is_dir() and (files.where / "vae" / CONFIG).is_file():
        return load_vae(files.where)
    return comfy.sd.VAE(sd=files.vae())


def clip_vision_of(files: PaintByExampleFiles) -> comfy.clip_vision.ClipVisionModel:
    """The vision tower as a CLIP_VISION. The model has no projection: image_embeds of this one are zeros."""
    config = VIT_L
    config_file = files.where
    if files.where.is_dir():
        config_file = files.where / "image_encoder" / CONFIG
        config = VIT_L | read_json(config_file) | {"model_type": "clip_vision_model"}
        pixels = files.where / "feature_extractor" / PIXELS
        if pixels.is_file():
            config["image_mean"], config["image_std"] = pixel_statistics(pixels)
    state = files.vision()
    width = state["vision_model.post_layernorm.weight"].numel()  # the config's, if they belong together
    projection = count_in(config, "projection_dim", config_file, most=WIDEST)
    state["visual_projection.weight"] = torch.zeros(projection, width)
    check_clip_vision(config, config_file, state, files.encoder.path)
    encoder = build_clip_vision(config)
    encoder.load_sd(state)
    return encoder
