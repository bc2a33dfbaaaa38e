"""Our own networks under the host's model management: devices, offload and casting are its business."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import comfy.model_management
import comfy.model_patcher
import comfy.ops
import torch
from torch import Tensor

from ...pipelines.paint_by_example.exemplar_encoder import ExemplarEncoder, exemplar_context
from ...pipelines.visual_insertion import optimizer_files
from ...pipelines.visual_insertion.context_encoder import object_context
from ...pipelines.visual_insertion.embedding_optimizer import EmbeddingOptimizer
from ...pipelines.visual_insertion.optimizer_conversion import make_null
from ...pipelines.visual_insertion.trained_files import patch_of

Network = TypeVar("Network", bound=torch.nn.Module)


class ManagedNetwork(Generic[Network]):
    """A network that the host moves to where it computes, and away when it needs the room."""

    def __init__(self, module: Network):
        management = comfy.model_management
        self.module = module
        self.patcher = comfy.model_patcher.CoreModelPatcher(
            module,
            load_device=management.text_encoder_device(),
            offload_device=management.text_encoder_offload_device(),
        )

    def load(self) -> torch.device:
        """Move the network to where it computes, which is the device that its inputs belong on."""
        comfy.model_management.load_models_gpu([self.patcher])
        return self.patcher.load_device


class ManagedEmbeddingOptimizer(ManagedNetwork[EmbeddingOptimizer]):
    """What travels on an EMBEDDING_OPTIMIZER link."""

    def __init__(self, module: EmbeddingOptimizer, patch: str | None = None):
        """`patch` is the name of the UNet patch that it was trained with, if any."""
        super().__init__(module)
        self.patch = patch

    def contexts(
        self, features: Tensor, strength: float, views: str, details: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(object, null) contexts [B,N,C] on the host's intermediate device, for vision tokens [V,T,D] and [V,S,E]."""
        device = self.load()
        features = features.to(device)
        details = None if details is None else details.to(device)
        context, null = object_context(self.module, features, strength=strength, views=views, details=details)
        return _on_intermediate_device(context), _on_intermediate_device(null)


class ManagedExemplarEncoder(ManagedNetwork[ExemplarEncoder]):
    """What travels on an EXEMPLAR_ENCODER link."""

    def contexts(self, pooled: Tensor, strength: float, views: str) -> tuple[Tensor, Tensor]:
        """(exemplar, null) contexts [B,N,C] on the host's intermediate device, for pooled vectors [B,D]."""
        device = self.load()
        context, null = exemplar_context(self.module, pooled.to(device), strength, views)
        return _on_intermediate_device(context), _on_intermediate_device(null)


def _on_intermediate_device(context: Tensor) -> Tensor:
    return context.to(comfy.model_management.intermediate_device())


def load_embedding_optimizer(
    path: Path, *, null: str = "stored", queries_seed: int = 0, clip_vision=None, clip=None
) -> ManagedEmbeddingOptimizer:
    """The embedding optimizer in a file, ours or the authors'.

    `null` is one of the pipeline's NULLS; CLIP_VISION and CLIP are what some of them are made with. Raises
    FileNotFoundError or ValueError.
    """
    embedding_optimizer = optimizer_files.load(path, comfy.ops.manual_cast, queries_seed)
    make_null(
        embedding_optimizer,
        null,
        blank_picture=None if clip_vision is None else partial(_blank_picture, clip_vision),
        empty_prompt=None if clip is None else partial(_empty_prompt, clip),
    )
    trained_with = patch_of(path)
    return ManagedEmbeddingOptimizer(embedding_optimizer, trained_with[0] if trained_with else None)


def _blank_picture(clip_vision) -> Tensor:
    """Vision tokens [1,T,D] of zeros as encoder input. No picture gives them: its mean colour is rounded to 8 bit."""
    comfy.model_management.load_model_gpu(clip_vision.patcher)
    size = clip_vision.image_size
    return clip_vision.model(pixel_values=torch.zeros(1, 3, size, size, device=clip_vision.load_device))[0]


def _empty_prompt(clip) -> Tensor:
    """The text encoder's output [1,N,C] for ""."""
    return clip.encode_from_tokens(clip.tokenize(""))
