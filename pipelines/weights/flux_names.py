"""FLUX's weights under two sets of names: diffusers' `FluxTransformer2DModel`, and the original's, which ComfyUI keeps.

The same numbers either way. The original has query, key and value in one matrix, in single blocks the first layer of
the MLP too, and scale and shift of the last layer the other way round. It calls the weights of RMS norms scale; both
names are read, and weight is written, as ComfyUI has it. Sources: the module trees of both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

_OUTSIDE = {  # diffusers -> the original
    "x_embedder": "img_in",
    "context_embedder": "txt_in",
    "time_text_embed.timestep_embedder.linear_1": "time_in.in_layer",
    "time_text_embed.timestep_embedder.linear_2": "time_in.out_layer",
    "time_text_embed.text_embedder.linear_1": "vector_in.in_layer",
    "time_text_embed.text_embedder.linear_2": "vector_in.out_layer",
    "time_text_embed.guidance_embedder.linear_1": "guidance_in.in_layer",
    "time_text_embed.guidance_embedder.linear_2": "guidance_in.out_layer",
    "proj_out": "final_layer.linear",
}
_TURNED = ("norm_out.linear", "final_layer.adaLN_modulation.1")
_DOUBLE = {
    "norm1.linear": "img_mod.lin",
    "norm1_context.linear": "txt_mod.lin",
    "attn.to_out.0": "img_attn.proj",
    "attn.to_add_out": "txt_attn.proj",
    "attn.norm_q": "img_attn.norm.query_norm",
    "attn.norm_k": "img_attn.norm.key_norm",
    "attn.norm_added_q": "txt_attn.norm.query_norm",
    "attn.norm_added_k": "txt_attn.norm.key_norm",
    "ff.net.0.proj": "img_mlp.0",
    "ff.net.2": "img_mlp.2",
    "ff_context.net.0.proj": "txt_mlp.0",
    "ff_context.net.2": "txt_mlp.2",
}
_SINGLE = {
    "norm.linear": "modulation.lin",
    "proj_out": "linear2",
    "attn.norm_q": "norm.query_norm",
    "attn.norm_k": "norm.key_norm",
}
_JOINED_DOUBLE = {  # the original <- diffusers, one below the other
    "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
}
_JOINED_SINGLE = {"linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")}

_KINDS = (
    ("transformer_blocks", "double_blocks", _DOUBLE, _JOINED_DOUBLE),
    ("single_transformer_blocks", "single_blocks", _SINGLE, _JOINED_SINGLE),
)


def to_original(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under the original's names. Raises ValueError for a name that diffusers' FLUX has not."""
    left = dict(state)
    original = {}
    for theirs, names in _plan(_block_counts(left, [kind[0] for kind in _KINDS])):
        for end in ("weight", "bias"):
            if all(f"{name}.{end}" in left for name in names):
                parts = [left.pop(f"{name}.{end}") for name in names]
                original[f"{theirs}.{end}"] = _turned(torch.cat(parts) if len(parts) > 1 else parts[0], theirs)
    if left:
        raise ValueError(f"{min(left)} is no weight of a FLUX transformer as diffusers names them.")
    return original


def to_diffusers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under diffusers' names. Raises ValueError for a name that the original has not."""
    left = {re.sub(r"(_norm)\.(scale|weight)$", r"\1.weight", name): value for name, value in state.items()}
    width = left["img_in.weight"].shape[0] if "img_in.weight" in left else 0
    renamed = {}
    for theirs, names in _plan(_block_counts(left, [kind[1] for kind in _KINDS])):
        for end in ("weight", "bias"):
            value = left.pop(f"{theirs}.{end}", None)
            if value is None:
                continue
            value = _turned(value, theirs)
            sizes = [width] * len(names) if len(names) == 3 else [width, width, width, len(value) - 3 * width]
            parts = value.split(sizes) if len(names) > 1 else (value,)
            renamed.update({f"{name}.{end}": part for name, part in zip(names, parts, strict=True)})
    if left:
        raise ValueError(f"{min(left)} is no weight of a FLUX transformer as the original names them.")
    return renamed


def _plan(counts: list[int]) -> list[tuple[str, tuple[str, ...]]]:
    """The original's modules, each with diffusers' modules that it consists of."""
    plan: list[tuple[str, tuple[str, ...]]] = [(original, (name,)) for name, original in (*_OUTSIDE.items(), _TURNED)]
    for (ours, theirs, single, joined), count in zip(_KINDS, counts, strict=True):
        for index in range(count):
            plan += [(f"{theirs}.{index}.{original}", (f"{ours}.{index}.{name}",)) for name, original in single.items()]
            for original, names in joined.items():
                plan.append((f"{theirs}.{index}.{original}", tuple(f"{ours}.{index}.{name}" for name in names)))
    return plan


def _block_counts(state: Mapping[str, Tensor], kinds: list[str]) -> list[int]:
    counts = []
    for kind in kinds:
        indices = [int(name.split(".")[1]) for name in state if re.match(rf"{kind}\.\d+\.", name)]
        counts.append(max(indices, default=-1) + 1)
    return counts


def _turned(value: Tensor, module: str) -> Tensor:
    """The last layer's scale and shift changed over; anything else as it is."""
    if module != _TURNED[1]:
        return value
    first, second = value.chunk(2)
    return torch.cat([second, first])
