"""The host's attention on a processor, without its question for free memory at every call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from comfy.ldm.modules import attention
from comfy.ldm.modules.sub_quadratic_attention import efficient_dot_product_attention
from torch import Tensor

OVERRIDE = "optimized_attention_override"  # the host's own door
SMALL = 16_000_000  # bytes of scores: with eight times that free, which a run needs anyway, the host would not cut them
KNOWN = {"attn_precision", "transformer_options", "_inside_attn_wrapper"}  # what changes nothing in float32


def with_whole_attention(model_options: dict[str, Any]) -> dict[str, Any]:
    """Options of a MODEL whose attention has the same bits and takes less time, where the network is small.

    On a processor the host cuts attention by the memory that is free, and asks the system for it at each call: a
    twentieth of a toy's run. Other backends, and the override of another pack, stay.
    """
    options = model_options.get("transformer_options", {})
    if attention.optimized_attention is not attention.attention_sub_quad or OVERRIDE in options:
        return model_options
    return {**model_options, "transformer_options": {**options, OVERRIDE: _whole}}


def _whole(backend: Callable, query: Tensor, key: Tensor, value: Tensor, heads: int, *args, **kwargs) -> Tensor:
    """Attention [B,N,C] in one piece, by the function that the host's own ends in."""
    scores = query.shape[0] * heads * query.shape[1] * key.shape[1] * query.element_size()
    plain = query.dtype == torch.float32 and not args and kwargs.keys() <= KNOWN
    if not plain or query.device.type != "cpu" or scores > SMALL:
        return backend(query, key, value, heads, *args, **kwargs)
    query, key, value = (part.unflatten(-1, (heads, -1)) for part in (query, key, value))
    hidden = efficient_dot_product_attention(
        query.transpose(1, 2).flatten(0, 1),
        key.permute(0, 2, 3, 1).flatten(0, 1),
        value.transpose(1, 2).flatten(0, 1),
        query_chunk_size=query.shape[1],
        kv_chunk_size=key.shape[1],
        use_checkpoint=False,
        upcast_attention=False,
    )
    return hidden.unflatten(0, (-1, heads)).transpose(1, 2).flatten(2)
