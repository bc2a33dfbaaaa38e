"""A model's forward pass with the hidden source row: both in one, or the source first and its keys and values kept.

One forward is what a model with room takes. Two passes are taken where memory is short, and where rows of two kinds
cannot lie in one batch: other lengths of text, attention masks, reference latents, ControlNet, other packs' patches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import comfy.ldm.chroma.model
import comfy.ldm.flux.model
import comfy.ldm.modules.diffusionmodules.openaimodel
import torch
from torch import Tensor

from ...pipelines.add_it.extended_attention import source_rows
from ...pipelines.add_it.joint_attention import Forward, joint_attention
from ...pipelines.add_it.unet_attention import extended_origins
from .add_it_source import Source

JOINT = (comfy.ldm.flux.model.Flux, comfy.ldm.chroma.model.Chroma)
UNET = comfy.ldm.modules.diffusionmodules.openaimodel.UNetModel
WAYS = ("auto", "one forward", "two passes")
OVERRIDE = "optimized_attention_override"
STATE = "visual_insertion_add_it"  # of one forward pass, among its transformer options
Conds = dict[str, Any]
AREA = (
    "Add-It got a part of the picture: conditioning with an area crops the latents, and the scene's row has no such "
    "part. Use Conditioning (Set Mask), or leave the area out."
)


def family(model) -> str:
    """ "joint" or "unet" for a MODEL that Add-It works with. Raises ValueError, naming the class, for others."""
    network = model.model.diffusion_model
    config = model.model.model_config.unet_config
    channels = (config.get("in_channels"), config.get("out_channels"))
    if channels[0] != channels[1]:
        raise ValueError(
            f"Add-It needs a text-to-picture model; this one takes {channels[0]} channels and makes {channels[1]}, so "
            "it is one for editing or inpainting. Load the family's base model."
        )
    if isinstance(network, JOINT):
        return "joint"
    if isinstance(network, UNET):
        return "unet"
    raise ValueError(
        f"Add-It cannot reach the attention of {type(network).__name__}. It works with FLUX.1, FLUX.2 and Chroma, and "
        "as an experiment with SD 1.5 and SDXL, as the host's own loaders give them."
    )


def without_source(executor, x: Tensor, t: Tensor, conds: Conds, *, forward: Forward | None) -> Tensor:
    """A plain pass; with `forward` one whose attention is looked at."""
    if forward is not None:
        conds = conds | {"transformer_options": _options(executor.class_obj, conds, forward)}
    return _run(executor, x, t, conds)


def with_source(executor, x: Tensor, t: Tensor, conds: Conds, *, source: Source, forward: Forward, way: str) -> Tensor:
    """The target rows' result [B,...]; `conds` are the arguments of the model beside x and t.

    Raises ValueError for a part of the picture, and for rows that do not pair up.
    """
    base = executor.class_obj
    if tuple(x.shape[1:]) != tuple(source.latents.shape[1:]):
        raise ValueError(AREA)
    noisy = source.noised(base, t[:1].reshape(1, *[1] * (x.ndim - 1)), x)
    level = t[:1].expand(len(noisy))
    source_rows(len(x), noisy)  # raises for batches that do not pair up
    if way == "one forward" or (way == "auto" and _has_room(base, x, len(noisy))):
        joined = _joined(conds, source.conds, len(x), len(noisy))
        if joined is not None:
            forward.sources = len(noisy)
            joined["transformer_options"] = _options(base, conds, forward)
            return _run(executor, torch.cat([x, noisy]), torch.cat([t, level]), joined)[: len(x)]
    recording = replace(forward, text=text_length(source.conds), records=True, cache={})
    own_options = _options(base, conds, recording) | {"cond_or_uncond": [0]}
    _run(executor, noisy, level, source.conds | {"transformer_options": own_options})
    forward.cache = recording.cache
    result = _run(executor, x, t, conds | {"transformer_options": _options(base, conds, forward)})
    forward.cache = {}
    return result


def _run(executor, x: Tensor, t: Tensor, conds: Conds) -> Tensor:
    """The next wrapper or the model, with the first arguments by place, where wrappers look for them."""
    others = dict(conds)
    first = [others.pop(name, None) for name in ("c_concat", "c_crossattn", "control")]
    return executor(x, t, *first, others.pop("transformer_options"), **others)


def _options(base, conds: Conds, forward: Forward) -> dict[str, Any]:
    """The options of a pass with our part of it: the forward's state, and what listens in the model's blocks."""
    options = conds["transformer_options"] | {STATE: forward}
    if isinstance(base.diffusion_model, UNET):
        patches = options.get("patches", {})
        return options | {"patches": patches | {"attn1_patch": [*patches.get("attn1_patch", []), attn1_patch]}}
    return options | {OVERRIDE: override(options.get(OVERRIDE))}


def attn1_patch(hidden: Tensor, keys: Tensor, values: Tensor, options) -> tuple[Tensor, Tensor, Tensor]:
    """A patch of the host's attn1 list: what queries, keys and values are made from, [B,N,C]."""
    forward: Forward | None = options.get(STATE)
    if forward is None:
        return hidden, keys, values
    return hidden, *extended_origins(forward, (*options["block"], options["block_index"]), keys, values)


def override(previous: Callable | None) -> Callable:
    """The host's attention override for a pass whose options hold STATE.

    `previous` is the one that another pack put there: it is called for every attention, extended or not.
    """

    def attention(backend, query, key, value, heads, *args, **kwargs):
        def call(query, key, value, **kwargs):
            if previous is None:
                return backend(query, key, value, heads, *args, **kwargs)
            return previous(backend, query, key, value, heads, *args, **kwargs)

        options = kwargs.get("transformer_options") or {}
        forward = options.get(STATE)
        if forward is None or "block_type" not in options or query.ndim != 4:
            return call(query, key, value, **kwargs)
        mask = kwargs.pop("mask", None)
        block = (options["block_type"], options["block_index"])

        def attend(query, key, value, mask):
            return call(query, key, value, mask=mask, **kwargs)

        return joint_attention(forward, block, attend, query=query, key=key, value=value, mask=mask)

    return attention


def _has_room(base, x: Tensor, sources: int) -> bool:
    """Whether the host would run so many rows more in one forward, by its own estimate."""
    shape = [len(x) + sources, *x.shape[1:]]
    return base.memory_required(shape) * 1.5 < base.current_patcher.get_free_memory(x.device)


def _joined(conds: Conds, own: Conds, targets: int, sources: int) -> Conds | None:
    """The arguments of target and source rows in one batch; None where they cannot lie in one."""
    options = conds["transformer_options"]
    names = {name for name, value in conds.items() if value is not None and name != "transformer_options"}
    if options.get("patches_replace") or any(options.get("patches", {}).values()) or names != set(own):
        return None
    joined: Conds = {}
    for name in names:
        rows = conds[name]
        source = own[name]
        if not (isinstance(rows, Tensor) and isinstance(source, Tensor)) or name == "attention_mask":
            return None
        if (len(rows), len(source)) != (targets, sources) or rows.shape[1:] != source.shape[1:]:
            return None
        joined[name] = torch.cat([rows, source.to(rows)])
    return joined


def text_length(conds: Conds) -> int:
    """The tokens of a pass's text."""
    context = conds.get("c_crossattn")
    return 0 if context is None else context.shape[1]


def token_grid(base, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the tokens that a joint model makes of latents of so many cells."""
    patch = base.diffusion_model.patch_size
    return -(-height // patch), -(-width // patch)
