"""Stand-alone pipelines, of Paint by Example and of insertion, as what learning asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from ...encoders.vision import encoder_pixels
from ...paint_by_example.inpainting import CELL
from ...paint_by_example.pipeline import PaintByExamplePipeline
from ...sampling.latents import decode, encode
from ...training.noise_levels import NoiseLevels
from ...visual_insertion.pipeline import VisualInsertionPipeline
from ...weights.layouts import patch_module
from ..attention_changes import LAYERS, Layers
from ..learned_object import base_text
from .beside_noise import Beside, Encode, with_hole, without_object
from .examples import LearningModel

NATIVE = 512  # px, where a config does not say


def attention_layers(unet: nn.Module) -> Layers:
    """The linear layers of a diffusers UNet's cross-attention, by their names in a patch file."""
    layers = {patch_module(name): module for name, module in unet.named_modules() if isinstance(module, nn.Linear)}
    return {name: layer for name, layer in layers.items() if name.endswith(LAYERS["attn2"])}


def learning_model(pipeline: PaintByExamplePipeline | VisualInsertionPipeline) -> LearningModel:
    """The pipeline's own networks, frozen."""
    if isinstance(pipeline, VisualInsertionPipeline):
        return _of_insertion(pipeline)
    encoder = pipeline.image_encoder
    side = int(cast(int, encoder.config.image_size))  # px

    def contexts(exemplars: Tensor) -> Tensor:
        pixels = encoder_pixels(exemplars.movedim(1, -1), side, pipeline.image_mean, pipeline.image_std)
        pooled = encoder(pixel_values=pixels.to(pipeline.unet.device, encoder.dtype)).pooler_output
        return pipeline.exemplar_encoder(pooled).float()

    return _model(
        pipeline.unet,
        pipeline.vae,
        pipeline.levels,
        pipeline.scheduler_config,
        beside=with_hole(_latents(pipeline.vae)),
        contexts=contexts,
        null=pipeline.exemplar_encoder.null,
        exemplar_size=side,
    )


def _of_insertion(pipeline: VisualInsertionPipeline) -> LearningModel:
    parts = pipeline.pipeline

    def contexts(exemplars: Tensor) -> Tensor:
        return pipeline.contexts(exemplars.movedim(1, -1).split(1), views="separate")[0].float()

    return _model(
        parts.unet,
        parts.vae,
        pipeline.levels,
        parts.scheduler.config,
        beside=without_object(lambda pictures: encode(parts.vae, pictures.movedim(1, -1))),
        contexts=contexts,
        null=pipeline.context_encoder.null[None],
        exemplar_size=pipeline.encoder.size,
        shown=False,
    )


def _latents(vae: Any) -> Encode:
    return lambda pictures: encode(vae, pictures.movedim(1, -1)) * vae.config["scaling_factor"]


def _model(
    unet: Any,
    vae: Any,
    levels: Tensor,
    scheduler_config: Mapping[str, Any],
    *,
    beside: Beside,
    contexts: Encode,
    null: Tensor,
    exemplar_size: int,
    shown: bool = True,
) -> LearningModel:
    """What both kinds have in common: `levels` [T] are sigmas, `null` [1,Q,C]."""
    unet = unet.requires_grad_(False).eval()
    layers = attention_layers(unet)
    signal = 1 / (1 + levels.double() ** 2)
    return LearningModel(
        unet=unet,
        layers=layers,
        base=base_text(layers),
        latents=_latents(vae),
        beside=beside,
        pictures=lambda latents: decode(vae, latents / vae.config["scaling_factor"]).movedim(-1, 1),
        contexts=contexts,
        null=null.detach().float(),
        noise_levels=NoiseLevels(signal.float(), scheduler_config.get("prediction_type", "epsilon")),
        exemplar_size=exemplar_size,
        size=unet.config["sample_size"] * CELL if unet.config["sample_size"] else NATIVE,
        device=torch.device(unet.device),
        shown=shown,
    )
