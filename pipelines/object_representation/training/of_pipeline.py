"""A stand-alone Paint by Example pipeline as what learning asks for."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from ...encoders.vision import encoder_pixels
from ...paint_by_example.inpainting import CELL
from ...paint_by_example.pipeline import PaintByExamplePipeline
from ...training.noise_levels import NoiseLevels
from ...weights.layouts import patch_module
from ..attention_changes import LAYERS, Layers
from ..learned_object import base_text
from .examples import LearningModel


def attention_layers(unet: nn.Module) -> Layers:
    """The linear layers of a diffusers UNet's cross-attention, by their names in a patch file."""
    layers = {patch_module(name): module for name, module in unet.named_modules() if isinstance(module, nn.Linear)}
    return {name: layer for name, layer in layers.items() if name.endswith(LAYERS["attn2"])}


def learning_model(pipeline: PaintByExamplePipeline) -> LearningModel:
    """The pipeline's own networks, frozen."""
    unet = pipeline.unet.requires_grad_(False).eval()
    vae = pipeline.vae
    factor = vae.config["scaling_factor"]
    encoder = pipeline.image_encoder
    side = int(cast(int, encoder.config.image_size))  # px
    device = unet.device
    layers = attention_layers(unet)

    def latents(pictures: Tensor) -> Tensor:
        signed = (2 * pictures - 1).to(device, vae.dtype)
        return vae.encode(signed).latent_dist.mode().float() * factor

    def pictures(latents: Tensor) -> Tensor:
        return (vae.decode((latents / factor).to(vae.dtype)).sample.float() / 2 + 0.5).clamp(0, 1)

    def contexts(exemplars: Tensor) -> Tensor:
        pixels = encoder_pixels(exemplars.movedim(1, -1), side, pipeline.image_mean, pipeline.image_std)
        pooled = encoder(pixel_values=pixels.to(device, encoder.dtype)).pooler_output
        return pipeline.exemplar_encoder(pooled).float()

    signal = 1 / (1 + pipeline.levels.double() ** 2)
    predicts = pipeline.scheduler_config.get("prediction_type", "epsilon")
    noise_levels = NoiseLevels(signal.float(), predicts)
    return LearningModel(
        unet=unet,
        layers=layers,
        base=base_text(layers),
        latents=latents,
        pictures=pictures,
        contexts=contexts,
        null=pipeline.exemplar_encoder.null.detach().float(),
        noise_levels=noise_levels,
        exemplar_size=side,
        size=unet.config["sample_size"] * CELL if unet.config["sample_size"] else 512,
        device=torch.device(device),
    )
