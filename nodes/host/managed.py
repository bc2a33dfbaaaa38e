"""Our own networks under the host's model management: devices, offload and casting are its business."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import comfy.model_management
import comfy.model_patcher
import comfy.ops
import torch
from torch import Tensor

from ...pipelines.visual_insertion import optimizer_files as embedding_optimizer
from ...pipelines.visual_insertion.conversion import make_null


class ManagedEmbeddingOptimizer:
    """What travels on an EMBEDDING_OPTIMIZER link."""

    def __init__(self, path: Path, null: str = "stored", queries_seed: int = 0, clip_vision=None, clip=None):
        """`null` is one of the pipeline's NULLS; CLIP_VISION and CLIP are what some of them are made with."""
        management = comfy.model_management
        self.module = embedding_optimizer.load(path, comfy.ops.manual_cast, queries_seed)
        make_null(
            self.module,
            null,
            partial(_blank_picture, clip_vision) if clip_vision is not None else None,
            partial(_empty_prompt, clip) if clip is not None else None,
        )
        self.patcher = comfy.model_patcher.CoreModelPatcher(
            self.module,
            load_device=management.text_encoder_device(),
            offload_device=management.text_encoder_offload_device(),
        )

    @property
    def settings(self) -> embedding_optimizer.OptimizerSettings:
        return self.module.settings

    def contexts(
        self, features: Tensor, strength: float, views: str, details: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(object, null) contexts [B,N,C] on the host's intermediate device, for vision tokens [V,T,D] and [V,S,E]."""
        management = comfy.model_management
        management.load_models_gpu([self.patcher])
        device = self.patcher.load_device
        features, details = features.to(device), details if details is None else details.to(device)
        pair = embedding_optimizer.object_context(self.module, features, strength, views, details)
        return tuple(context.to(management.intermediate_device()) for context in pair)


def _blank_picture(clip_vision) -> Tensor:
    """Vision tokens [1,T,D] of zeros as encoder input. No picture gives them: its mean colour is rounded to 8 bit."""
    comfy.model_management.load_model_gpu(clip_vision.patcher)
    size = clip_vision.image_size
    return clip_vision.model(pixel_values=torch.zeros(1, 3, size, size, device=clip_vision.load_device))[0]


def _empty_prompt(clip) -> Tensor:
    """The text encoder's output [1,N,C] for ""."""
    return clip.encode_from_tokens(clip.tokenize(""))
