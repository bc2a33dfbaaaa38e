"""By what a UNet is known again, in whatever precision it is loaded: a few numbers of each cross-attention layer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from textwrap import shorten

import torch
from torch import Tensor

TOLERANCE = 0.02  # bfloat16 moves these numbers by 0.003 at most, training on other data by more than 0.1


def likeness(weights: Mapping[str, Tensor]) -> dict[str, float]:
    """One number of each matrix [O,I]: its projection on a matrix of signs that its name draws, times 1 / its norm.

    Of the size of 1. Rounding changes it by about its own relative size, another training by much more.
    """
    numbers = {}
    for name, weight in sorted(weights.items()):
        matrix = weight.detach().to("cpu", torch.float32)
        seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
        generator = torch.Generator().manual_seed(seed)
        signs = torch.randint(2, matrix.shape, generator=generator, dtype=torch.int8).float() * 2 - 1
        numbers[name] = round(float((signs * matrix).sum() / matrix.norm().clamp(min=1e-12)), 4)
    return numbers


def as_text(numbers: Mapping[str, float]) -> str:
    """The numbers for a file's metadata, in the order of the names, which the UNet's layers say again."""
    return json.dumps([numbers[name] for name in sorted(numbers)], separators=(",", ":"))


def same_unet(text: str, numbers: Mapping[str, float]) -> bool:
    """Whether the numbers in a file are those of this UNet. Raises ValueError for a text that holds no numbers."""
    try:
        stored = torch.tensor(json.loads(text), dtype=torch.float64)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"its base model is not told by numbers but by {shorten(repr(text), 60)}") from error
    own = torch.tensor([numbers[name] for name in sorted(numbers)], dtype=torch.float64)
    return stored.shape == own.shape and bool((stored - own).abs().max() <= TOLERANCE)
