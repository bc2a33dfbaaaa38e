"""Our own networks under the host's model management: devices, offload and casting are its business."""

from __future__ import annotations

from pathlib import Path

import comfy.model_management
import comfy.model_patcher
import comfy.ops
from torch import Tensor

from ...pipelines.visual_insertion import embedding_optimizer


class ManagedEmbeddingOptimizer:
    """What travels on an EMBEDDING_OPTIMIZER link."""

    def __init__(self, path: Path):
        management = comfy.model_management
        self.module = embedding_optimizer.load(path, comfy.ops.manual_cast)
        self.patcher = comfy.model_patcher.CoreModelPatcher(
            self.module,
            load_device=management.text_encoder_device(),
            offload_device=management.text_encoder_offload_device(),
        )

    @property
    def settings(self) -> embedding_optimizer.OptimizerSettings:
        return self.module.settings

    def contexts(self, features: Tensor, strength: float, views: str) -> tuple[Tensor, Tensor]:
        """(object, null) contexts [B,N,C] on the host's intermediate device, for vision tokens [V,T,D]."""
        management = comfy.model_management
        management.load_models_gpu([self.patcher])
        features = features.to(self.patcher.load_device)
        pair = embedding_optimizer.object_context(self.module, features, strength, views)
        return tuple(context.to(management.intermediate_device()) for context in pair)
