"""What Paint by Example's UNet is told, as the host's CONDITIONING: the exemplar, and the scene with a hole in it."""

from __future__ import annotations

from functools import partial

import comfy.clip_model
import comfy.model_management
import node_helpers
import torch
from torch import Tensor

from ...pipelines.paint_by_example.exemplar_picture import exemplar_pictures
from ...pipelines.paint_by_example.inpainting import binary_mask, latent_mask, masked_scene, pad_scene
from ...pipelines.pictures.batches import paired
from ...pipelines.pictures.scene import check_scene
from .conditionings import PAINT_BY_EXAMPLE, batch_size, check_makers, made_by
from .encoder_view import encoder_view
from .managed_networks import ManagedExemplarEncoder


def encode_exemplars(
    clip_vision,
    exemplar_encoder: ManagedExemplarEncoder,
    *,
    pictures: Tensor,
    masks: Tensor | None,
    framing: str,
    background: str,
    margin: int,
    strength: float,
    views: str,
):
    """(positive, negative, squares): CONDITIONING of exemplars [B,H,W,C] in 0..1 with masks [B,H,W], and what was seen.

    The squares are an IMAGE [B,S,S,3]; `views` is `exemplar_context`'s.
    Raises what `exemplar_pictures` and `exemplar_context` raise, and ValueError for an encoder without pooled vectors.
    """
    mean_colour = clip_vision.image_mean
    framed = exemplar_pictures(
        pictures, masks, framing=framing, background=background, margin=margin, mean_colour=mean_colour
    )
    positive, negative = exemplar_encoder.contexts(pooled_vectors(clip_vision, framed), strength, views)
    squares = torch.cat([encoder_view(clip_vision, picture) for picture in framed])
    return (
        made_by(PAINT_BY_EXAMPLE, "object", positive),
        made_by(PAINT_BY_EXAMPLE, "no object", negative),
        squares,
    )


def pooled_vectors(clip_vision, pictures: list[Tensor]) -> Tensor:
    """The pooled vectors [B,D] of pictures [1,H,W,3]: the normed class token, before any projection.

    Raises ValueError for an encoder that has none.
    """
    tower = getattr(clip_vision.model, "vision_model", None)
    if tower is None or clip_vision.model_type != "clip_vision_model":
        raise ValueError(
            f"Paint by Example needs a CLIP vision model, but '{clip_vision.model_type}' is connected. Use the one "
            "that Load Paint by Example gives, or clip-vit-large-patch14."
        )
    comfy.model_management.load_model_gpu(clip_vision.patcher)
    preprocess = partial(
        comfy.clip_model.clip_preprocess,
        size=clip_vision.image_size,
        mean=clip_vision.image_mean,
        std=clip_vision.image_std,
        crop=False,
    )
    pixels = torch.cat([preprocess(picture.to(clip_vision.load_device)) for picture in pictures])
    return tower(pixels.float())[2].float()


def condition_on_scene(positive, negative, vae, *, scene: Tensor, mask: Tensor, resize: str):
    """(positive, negative, LATENT) for scenes [B,H,W,C] in 0..1 and masks [B,H,W] or [H,W].

    `resize` is one of the pipeline's LATENT_MASKS. The latent is empty, as in the original. Raises ValueError for what
    `check_makers` refuses, unusable scenes and masks, and batches that do not pair up.
    """
    check_makers("Paint by Example", PAINT_BY_EXAMPLE, positive=positive, negative=negative)
    scene = check_scene(scene)
    mask = binary_mask(mask, scene)
    count = paired(scenes=len(scene), masks=len(mask), exemplars=batch_size(positive), nulls=batch_size(negative))
    scene, mask = pad_scene(scene, mask)
    cells = latent_mask(mask, resize)
    scene_latents = vae.encode(masked_scene(scene, mask))
    if scene_latents.shape[-2:] != cells.shape[-2:] or scene_latents.ndim != 4:
        raise ValueError(
            f"The VAE gives latents of shape {tuple(scene_latents.shape)}; Paint by Example works on cells of 8 px. "
            "Connect the VAE that belongs to the model."
        )
    beside_noise = {"concat_latent_image": scene_latents, "concat_mask": cells}
    latent = {"samples": torch.zeros_like(scene_latents[:1]).repeat(count, 1, 1, 1)}
    positive = node_helpers.conditioning_set_values(positive, beside_noise)
    negative = node_helpers.conditioning_set_values(negative, beside_noise)
    return positive, negative, latent
