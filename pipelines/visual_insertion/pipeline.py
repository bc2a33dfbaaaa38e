"""Insertion without ComfyUI, on diffusers' InstructPix2Pix pipeline: same arithmetic as the nodes, same picture."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from diffusers import StableDiffusionInstructPix2PixPipeline
from torch import Tensor, nn
from transformers import CLIPVisionModelWithProjection

from ..encoders.vision import Encoder, as_views, find_encoder, load_encoder, vision_tokens
from ..pictures.files import Picture
from ..sampling.guidance import Guidance
from ..sampling.pix2pix import DEFAULT, Callback, GuidedPix2Pix, Insertion, check_folder, guidance_in, load_pix2pix
from ..weights.pretrained import present
from . import optimizer_files as optimizers

# What the encoder sees.


class VisualInsertionPipeline(GuidedPix2Pix):
    """Puts pictured objects into scenes."""

    def __init__(
        self,
        pipeline: StableDiffusionInstructPix2PixPipeline,
        image_encoder: CLIPVisionModelWithProjection,
        embedding_optimizer: optimizers.EmbeddingOptimizer,
        image_mean: Sequence[float],
        image_std: Sequence[float],
        guidance: Guidance = DEFAULT,
        detail_encoder: Encoder | None = None,
    ):
        """`image_mean` and `image_std` [3] are the encoder's; `guidance` is the default of every call.

        `detail_encoder` sees the same pictures, for an embedding optimizer that was trained with two encoders.

        Raises ValueError when the parts do not belong together.
        """
        super().__init__(pipeline, guidance)
        settings = embedding_optimizer.settings
        if settings.context_width != pipeline.unet.config.cross_attention_dim:
            raise ValueError(
                f"The embedding optimizer gives contexts of width {settings.context_width}, but the UNet's "
                f"cross-attention reads width {pipeline.unet.config.cross_attention_dim} (768 is SD1.5)."
            )
        if settings.encoder_width != image_encoder.config.hidden_size:
            raise ValueError(
                f"The embedding optimizer reads vision tokens of width {settings.encoder_width}, but the image "
                f"encoder gives width {image_encoder.config.hidden_size} (1024 is CLIP ViT-L/14)."
            )
        detail_config: Any = detail_encoder and detail_encoder.network.config
        detail_width = detail_config.hidden_size if detail_config else 0
        if settings.detail_width != detail_width:
            raise ValueError(
                f"The embedding optimizer reads tokens of width {settings.detail_width} of a second encoder (0: none), "
                f"but the detail encoder gives width {detail_width}. Name as detail encoder the one it was trained "
                "with (1024 is DINOv2-large), or none."
            )
        self.image_encoder, self.embedding_optimizer = image_encoder, embedding_optimizer
        self.image_mean, self.image_std, self.detail_encoder = image_mean, image_std, detail_encoder

    @property
    def networks(self) -> list[nn.Module]:
        details = [self.detail_encoder.network] if self.detail_encoder else []
        return [*super().networks, self.image_encoder, self.embedding_optimizer, *details]

    @classmethod
    def from_folder(
        cls,
        folder: str | Path,
        embedding_optimizer: str | Path | None = None,
        image_encoder: str | Path | None = None,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        detail_encoder: str | Path | None = None,
    ) -> VisualInsertionPipeline:
        """From a diffusers InstructPix2Pix folder: the playroom's, Paint by Inpaint's, instruct-pix2pix's.

        `embedding_optimizer` (file) and `image_encoder` (CLIP vision folder) default to those in `folder`;
        `detail_encoder` is a transformers DINOv2 folder, for optimizers trained with one. Raises FileNotFoundError
        naming what is missing, ValueError for unreadable weights or parts that do not pair.
        """
        folder = Path(folder)
        check_folder(folder)
        vision_folder, pixels = find_encoder(folder, image_encoder)
        optimizer_file = Path(embedding_optimizer or folder / "embedding_optimizer.safetensors")
        optimizer = optimizers.load(present(optimizer_file, "an embedding optimizer"))
        encoder = load_encoder(vision_folder, pixels)
        details = load_encoder(Path(detail_encoder)) if detail_encoder else None
        return cls.around(folder, encoder, optimizer, device, dtype, details)

    @classmethod
    def around(
        cls,
        folder: Path,
        encoder: Encoder,
        optimizer: optimizers.EmbeddingOptimizer,
        device: str | torch.device,
        dtype: torch.dtype,
        details: Encoder | None = None,
    ) -> VisualInsertionPipeline:
        """What tells the UNet of a diffusers folder about the object, with the rest of that folder around it.

        All of it is moved to the device. Raises what `load_pix2pix` and the class do.
        """
        pipeline, network = load_pix2pix(folder, device, dtype), cast(Any, encoder.network)
        for part in (network, optimizer, *([details.network] if details else [])):
            part.to(device, dtype)
        return cls(pipeline, network, optimizer, encoder.mean, encoder.std, guidance_in(folder), details)

    @torch.no_grad()
    def contexts(
        self,
        objects: Picture | Sequence[Picture],
        masks: Picture | Sequence[Picture | None] | None = None,
        framing: str = "squash",
        background: str = "keep",
        strength: float = 1.0,
        views: str = "average",
    ) -> tuple[Tensor, Tensor]:
        """(object, null) contexts [B,N,D] of pictures and their masks; the settings are `prepare_object`'s and
        `object_context`'s, and so are the errors."""
        objects, masks = as_views(objects, masks)
        size: Any = self.image_encoder.config.image_size
        look = partial(vision_tokens, pictures=objects, masks=masks, framing=framing, background=background)
        features = look(Encoder(self.image_encoder, size, self.image_mean, self.image_std))
        details = look(self.detail_encoder) if self.detail_encoder else None
        return optimizers.object_context(self.embedding_optimizer, features, strength, views, details)

    def __call__(
        self,
        scene: Picture,
        objects: Picture | Sequence[Picture],
        masks: Picture | Sequence[Picture | None] | None = None,
        guidance: Guidance | None = None,
        *,
        steps: int = 20,
        seed: int = 0,
        sampler: str = "euler_ancestral",
        sigmas: Tensor | None = None,
        latents: Tensor | None = None,
        mask: Picture | None = None,
        denoise: float = 1.0,
        framing: str = "squash",
        background: str = "keep",
        strength: float = 1.0,
        views: str = "average",
        callback: Callback | None = None,
    ) -> Insertion:
        """Insert the object into a scene of any size; several pictures are several views of it.

        `masks` are the object's, one per picture; `mask` is the scene's, where the object may appear. The settings are
        `contexts`' and `sample`'s, and so are the errors.
        """
        context, null = self.contexts(objects, masks, framing, background, strength, views)
        return self.sample(
            scene,
            context,
            null,
            guidance,
            steps=steps,
            seed=seed,
            sampler=sampler,
            sigmas=sigmas,
            latents=latents,
            mask=mask,
            denoise=denoise,
            callback=callback,
        )
