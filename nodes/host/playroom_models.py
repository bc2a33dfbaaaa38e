"""The shipped playroom models as host types."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import comfy.latent_formats
import comfy.ops

from ...pipelines.paint_by_example import exemplar_encoder
from ...pipelines.sampling.speed import presets_in
from ...pipelines.weights.configs import read_json
from ...pipelines.weights.unets import open_unet, unet_folder
from . import paint_by_example_models
from .diffusers_models import load_clip_vision, load_vae
from .managed_networks import ManagedExemplarEncoder, load_embedding_optimizer
from .unet_models import build
from .unet_settings import folder_settings

FOLDER = Path(__file__).parents[2] / "playroom_models"
FILES = (
    "playroom.json",
    "embedding_optimizer.safetensors",
    "feature_extractor/preprocessor_config.json",
    "image_encoder/config.json",
    "image_encoder/model.safetensors",
    "scheduler/scheduler_config.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
)
PAINT_BY_EXAMPLE_FILES = (
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "exemplar_encoder.safetensors",
)


class PlayroomLatent(comfy.latent_formats.LatentFormat):
    """Four channels, eight-fold, unit variance; live previews use factors fitted to the VAE."""

    working_size = 128  # px, the side of the rooms that the toys were trained on

    def __init__(self):
        facts = read_json(FOLDER / "playroom.json")
        self.latent_rgb_factors = facts["latent_rgb_factors"]
        self.latent_rgb_factors_bias = facts["latent_rgb_factors_bias"]
        self.presets = presets_in(FOLDER / "playroom.json")


def load_playroom():
    """(MODEL, VAE, CLIP_VISION, EMBEDDING_OPTIMIZER). Raises FileNotFoundError when the checkout is incomplete."""
    check_complete(FOLDER, FILES)
    return (
        load_unet(FOLDER),
        load_vae(FOLDER),
        load_clip_vision(FOLDER),
        load_embedding_optimizer(FOLDER / "embedding_optimizer.safetensors"),
    )


def load_unet(folder: Path, disable_dynamic: bool = False):
    """MODEL of a diffusers folder, with as many input channels as its UNet has.

    Raises FileNotFoundError, or ValueError when weights and config do not belong together.
    """
    files = open_unet(unet_folder(folder))
    patcher = build(files, folder_settings(folder), latent=PlayroomLatent, disable_dynamic=disable_dynamic)
    patcher.cached_patcher_init = (load_unet, (folder,))
    return patcher


def load_paint_by_example_playroom():
    """(MODEL, VAE, CLIP_VISION, EXEMPLAR_ENCODER): its own UNet and exemplar encoder, the rest as `load_playroom`."""
    folder = FOLDER / "paint_by_example"
    check_complete(folder, PAINT_BY_EXAMPLE_FILES)
    encoder = exemplar_encoder.load(folder / "exemplar_encoder.safetensors", comfy.ops.manual_cast)
    return (
        paint_by_example_models.load_unet(folder, PlayroomLatent, schedule=FOLDER),
        load_vae(FOLDER),
        load_clip_vision(FOLDER),
        ManagedExemplarEncoder(encoder),
    )


def check_complete(folder: Path, files: Iterable[str]) -> None:
    """Raise FileNotFoundError, naming what a folder that ships with the pack lacks."""
    absent = [name for name in files if not (folder / name).is_file()]
    if absent:
        raise FileNotFoundError(f"The playroom models in {folder} lack {', '.join(absent)}; install the pack again.")
