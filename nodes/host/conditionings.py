"""CONDITIONING as the host has it, a list of [context [B,N,C], settings]: its size, and whether a MODEL can read it."""

from __future__ import annotations

import torch


def batch_size(conditioning) -> int:
    """How many pictures a conditioning speaks of."""
    return max(len(context) for context, _ in conditioning)


def check_contexts(model, **conditionings) -> None:
    """Raise ValueError when a conditioning is empty, not finite, or of another width than the UNet's context."""
    context_width = model.model.model_config.unet_config.get("context_dim")
    for name, conditioning in conditionings.items():
        if not conditioning:
            raise ValueError(f"'{name}' is an empty conditioning; connect the Embedding Optimizer's {name}.")
        for context, _ in conditioning:
            if context is None:
                raise ValueError(f"'{name}' holds no embedding; connect the Embedding Optimizer's {name}.")
            if context_width is not None and context.shape[-1] != context_width:
                raise ValueError(
                    f"'{name}' has width {context.shape[-1]}, but this model's cross-attention reads width "
                    f"{context_width} (768 is SD1.5, 128 the playroom). The embedding optimizer and the model do not "
                    "belong together."
                )
            if not torch.isfinite(context).all():
                raise ValueError(f"'{name}' holds values that are not finite (NaN or infinity).")
