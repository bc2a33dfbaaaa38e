"""FLUX's tokens of latents: patches of 2x2 cells, and the place of each."""

from __future__ import annotations

import torch
from torch import Tensor


def pack(latents: Tensor) -> Tensor:
    """[B,C,H,W] -> tokens [B,HW/4,4C], as FLUX's pipeline lays out patches of 2x2 cells."""
    count, channels, height, width = latents.shape
    patches = latents.reshape(count, channels, height // 2, 2, width // 2, 2)
    return patches.permute(0, 2, 4, 1, 3, 5).reshape(count, height * width // 4, 4 * channels)


def unpack(tokens: Tensor, height: int, width: int) -> Tensor:
    """The inverse of `pack` for latents of so many cells."""
    count, _, depth = tokens.shape
    patches = tokens.reshape(count, height // 2, width // 2, depth // 4, 2, 2)
    return patches.permute(0, 3, 1, 4, 2, 5).reshape(count, depth // 4, height, width)


def positions(height: int, width: int, device: torch.device) -> Tensor:
    """FLUX's place [HW/4,3] of each packed token of latents of so many cells: 0, row, column."""
    rows = torch.arange(height // 2, device=device, dtype=torch.float32)
    columns = torch.arange(width // 2, device=device, dtype=torch.float32)
    grid = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([torch.zeros_like(grid[0]), *grid], -1).reshape(-1, 3)
