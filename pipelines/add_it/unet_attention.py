"""Self-attention of Stable Diffusion's UNets, extended before keys and values are projected. Experimental.

These projections have no bias, so that gamma on a key's origin is gamma on the key. A source row gets its own tokens
twice, which changes no probability between them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .extended_attention import extended_keys_values
from .joint_attention import Block, Forward


def extended_origins(forward: Forward, block: Block, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """What a block's keys and values [B,N,C] are projected from, with the source's tokens behind the target's own."""
    if "single" not in forward.extended:
        return keys, values
    if forward.records:
        forward.cache[block] = (keys.clone(), values.clone())
        return keys, values
    forward.fired += 1
    targets = len(keys) - forward.sources
    source = (keys[targets:], values[targets:]) if forward.sources else forward.cache[block]
    own = (keys[:targets, None], values[:targets, None])
    extended = extended_keys_values(*own, source[0][:, None], source[1][:, None], forward.gamma)
    keys, values = (part[:, 0] for part in extended)
    if forward.sources:
        twice = [torch.cat([part, part], 1) for part in source]
        keys = torch.cat([keys, twice[0]])
        values = torch.cat([values, twice[1]])
    return keys, values
