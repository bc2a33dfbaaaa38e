"""CONDITIONING as the host has it, a list of [context [B,N,C], settings]: its size, its maker, and who can read it."""

from __future__ import annotations

from typing import Literal

import torch

EMBEDDING_OPTIMIZER = "Embedding Optimizer"
PAINT_BY_EXAMPLE = "Paint by Example Encode"
MAKER = "visual_insertion_maker"  # among the settings of a conditioning that this pack made: the node's name
ROLE = "visual_insertion_role"  # and what it holds
PATCH = "visual_insertion_patch"  # and the UNet patch that its maker was trained with, by its file's name
Role = Literal["object", "no object"]


def made_by(maker: str, role: Role, context, patch: str | None = None):
    """A CONDITIONING that says which node made it and what it holds; stock nodes keep that as they pass it on.

    `patch` names the UNet patch that its maker was trained with, if any.
    """
    return [[context, {MAKER: maker, ROLE: role, **({PATCH: patch} if patch else {})}]]


def missing_patch(model, conditioning) -> str:
    """What to tell of the UNet patch that a conditioning's maker was trained with; "" where a MODEL has one."""
    patches = sorted({settings[PATCH] for _, settings in conditioning if PATCH in settings})
    if not patches or any(".attn2." in key for key in model.patches):
        return ""
    return (
        f"The embedding optimizer was trained together with {', '.join(patches)}, and no patch of the model's "
        "cross-attention is loaded: put that file into models/loras and load it with Load LoRA (Model)."
    )


def check_makers(reader: str, maker: str, **conditionings) -> None:
    """Raise ValueError when a conditioning is another maker's, or when positive and negative are swapped.

    Only what this pack made says so; a text or another pack's conditioning passes. `reader` is what the error calls the
    model.
    """
    for name, conditioning in conditionings.items():
        others = {settings[MAKER] for _, settings in conditioning if MAKER in settings} - {maker}
        if others:
            raise ValueError(
                f"'{name}' comes from {', '.join(sorted(others))}, whose tokens mean nothing to {reader}. Connect "
                f"{maker} instead."
            )
    if _roles(conditionings["positive"]) == {"no object"} and _roles(conditionings["negative"]) == {"object"}:
        raise ValueError(
            f"positive and negative are swapped: 'positive' holds no object, 'negative' the object. Connect each to "
            f"the output of {maker} that has its name."
        )


def _roles(conditioning) -> set:
    return {settings.get(ROLE) for _, settings in conditioning}


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
