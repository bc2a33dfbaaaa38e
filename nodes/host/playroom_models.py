"""The shipped playroom models as host types."""

from __future__ import annotations

from pathlib import Path

import comfy.latent_formats

from ...pipelines.weights.unets import read_json
from .diffusers_models import load_clip_vision, load_vae
from .managed import ManagedEmbeddingOptimizer
from .unets import load_pix2pix_unet

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


class PlayroomLatent(comfy.latent_formats.LatentFormat):
    """Four channels, eight-fold, unit variance; live previews use factors fitted to the VAE."""

    def __init__(self):
        facts = read_json(FOLDER / "playroom.json")
        self.latent_rgb_factors = facts["latent_rgb_factors"]
        self.latent_rgb_factors_bias = facts["latent_rgb_factors_bias"]


def load_playroom():
    """(MODEL, VAE, CLIP_VISION, EMBEDDING_OPTIMIZER). Raises FileNotFoundError when the checkout is incomplete."""
    if absent := [name for name in FILES if not (FOLDER / name).is_file()]:
        raise FileNotFoundError(f"The playroom models in {FOLDER} lack {', '.join(absent)}; install the pack again.")
    return (
        load_pix2pix_unet(FOLDER, PlayroomLatent),
        load_vae(FOLDER),
        load_clip_vision(FOLDER),
        ManagedEmbeddingOptimizer(FOLDER / "embedding_optimizer.safetensors"),
    )
