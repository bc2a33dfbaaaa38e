"""What updates the weights: AdamW, in torch or with moments of 8 bits."""

from __future__ import annotations

from typing import Any, Literal

import torch

OptimizerKind = Literal["adamw", "adamw8bit"]
MOMENT_BYTES: dict[OptimizerKind, int] = {"adamw": 4, "adamw8bit": 1}  # of one parameter in one of the two moments


def make_optimizer(
    kind: OptimizerKind,
    groups: list[dict[str, Any]],
    *,
    learning_rate: float,
    weight_decay: float,
    betas: tuple[float, float],
) -> torch.optim.Optimizer:
    """AdamW over groups of parameters. Raises ValueError where the package of the one with 8 bits is not installed."""
    options: dict[str, Any] = {"lr": learning_rate, "weight_decay": weight_decay, "betas": betas}
    if kind == "adamw":
        return torch.optim.AdamW(groups, **options)
    try:
        from bitsandbytes.optim import AdamW8bit  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ValueError(
            "run.optimizer = adamw8bit needs the package bitsandbytes, which cannot be imported here "
            f"({error}). Install it (pip install bitsandbytes), or set run.optimizer=adamw."
        ) from error
    return AdamW8bit(groups, **options)
