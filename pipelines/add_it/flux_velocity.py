"""The velocity that diffusers' FLUX transformer names for rows of noisy latents."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import FluxTransformer2DModel
from torch import Tensor

from .flux_attention import PassRows
from .latent_tokens import pack, positions, unpack


def flux_velocity(
    transformer: FluxTransformer2DModel,
    latents: Tensor,
    sigma: Tensor,
    context: Tensor,
    pooled: Tensor,
    *,
    guidance: Tensor | None = None,
    rows: PassRows | None = None,
) -> Tensor:
    """The velocity [R,C,H,W] at noisy latents [R,C,H,W] of noise levels sigma [R] in 0..1; sides are even.

    The transformer's own forward pass, but for the noise level: that one rounds it to its stream's precision, under
    autocast to bfloat16's eight bits. `guidance` [R] counts where the model embeds it; `rows` needs our processors.
    """
    model: Any = transformer
    height, width = latents.shape[-2:]
    places = torch.cat([latents.new_zeros(context.shape[1], 3), positions(height, width, latents.device)])
    rotation = model.pos_embed(places)
    embedded = (guidance * 1000,) if model.config.guidance_embeds and guidance is not None else ()
    modulation = model.time_text_embed(sigma * 1000, *embedded, pooled)
    image = model.x_embedder(pack(latents))
    text = model.context_embedder(context)
    shared = None if rows is None else {"rows": rows}
    for block in (*model.transformer_blocks, *model.single_transformer_blocks):
        text, image = block(
            hidden_states=image,
            encoder_hidden_states=text,
            temb=modulation,
            image_rotary_emb=rotation,
            joint_attention_kwargs=shared,
        )
    return unpack(model.proj_out(model.norm_out(image, modulation)), height, width)
