"""The small networks of the playroom: public classes, public file layout, small numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, EulerDiscreteScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from ..training import denoising
from ..visual_insertion.embedding_optimizer import EmbeddingOptimizer, OptimizerSettings, build
from ..weights.pretrained import load_model, load_whole
from .world.triplets import OBJECT_SIZE

ENCODER_WIDTH = 128
ENCODER_TOKENS = (OBJECT_SIZE // 8) ** 2 + 1
CONTEXT_WIDTH = 128
CONTEXT_TOKENS = 16
VAE_GROUPS = 8

OPTIMIZER = OptimizerSettings("resampler", ENCODER_WIDTH, CONTEXT_WIDTH, CONTEXT_TOKENS, blocks=2, heads=4)


def make_vae() -> AutoencoderKL:
    """Eight-fold, four-channel VAE; its latents have unit variance, so its scaling factor is 1."""
    blocks: Any = {  # diffusers annotates these as tuples of one string
        "block_out_channels": (32, 32, 64, 64),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
    }
    return AutoencoderKL(
        **blocks,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=VAE_GROUPS,
        sample_size=128,
        scaling_factor=1.0,
    )


def make_vision_encoder() -> CLIPVisionModelWithProjection:
    """A CLIP vision tower for 64 px pictures: 65 tokens of width 128."""
    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=ENCODER_WIDTH,
            intermediate_size=3 * ENCODER_WIDTH,
            num_hidden_layers=4,
            num_attention_heads=4,
            image_size=OBJECT_SIZE,
            patch_size=8,
            projection_dim=ENCODER_WIDTH,
        )
    )


def make_embedding_optimizer(variant: str = "resampler") -> EmbeddingOptimizer:
    """The resampler that ships, or a published shape at the playroom's size with all its layers."""
    layers = {"resampler": OPTIMIZER.blocks, "two_linear": 2, "pooled_mlp2": 2, "pooled_mlp4": 4}[variant]
    return build(replace(OPTIMIZER, variant=variant, blocks=layers, encoder_tokens=ENCODER_TOKENS))


def make_unet() -> UNet2DConditionModel:
    """An InstructPix2Pix UNet: four noisy and four scene channels in, cross-attention at 8x8 and below."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=8,
        out_channels=4,
        block_out_channels=(64, 128, 128),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=CONTEXT_WIDTH,
        attention_head_dim=4,
    )


def make_scheduler() -> EulerDiscreteScheduler:
    """Stable Diffusion's noise schedule, v-prediction."""
    return EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        timestep_spacing="linspace",
    )


def noise_schedule() -> DDIMScheduler:
    """The schedule of training and previews."""
    return denoising.noise_schedule(make_scheduler().config)


@dataclass(frozen=True)
class ShippedNetworks:
    """The shipped networks that further training starts from; VAE and vision encoder stay as they are."""

    folder: Path
    vae: AutoencoderKL
    encoder: CLIPVisionModelWithProjection

    @classmethod
    def load(cls, folder: Path) -> ShippedNetworks:
        vae = load_model(AutoencoderKL, folder / "vae")
        encoder, _ = load_whole(CLIPVisionModelWithProjection, folder / "image_encoder", "The image encoder")
        return cls(folder, vae, encoder)

    def unet(self) -> UNet2DConditionModel:
        """The shipped UNet, loaded anew: it may be trained on."""
        return load_model(UNet2DConditionModel, self.folder / "unet")

    @torch.no_grad()
    def vision_tokens(self, pictures: Tensor, batch: int = 100) -> Tensor:
        """Vision tokens [N,T,D] of pictures [N,3,64,64] in -1..1, where 0 is the encoder's mean colour."""
        return torch.cat([self.encoder(pixel_values=part).last_hidden_state for part in pictures.split(batch)])
