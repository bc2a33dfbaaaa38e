"""Paint by Example's exemplar encoder: from the pooled CLIP vector of a picture to the one token the UNet attends to.

One file holds the weights, the learned "no exemplar" (`null`) they were trained with, and the settings as metadata.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..encoders.views import join_views, null_beside
from ..weights import module_files
from ..weights.reading import check_numbers, read_weights

FORMAT = "visual-insertion/exemplar-encoder"
FOREIGN = "it carries no exemplar encoder settings. Load a safetensors file that this pack wrote."


@dataclass(frozen=True)
class ExemplarSettings:
    """Shape of an exemplar encoder; `encoder_width` and `context_width` are what it pairs with."""

    encoder_width: int = 1024  # of the vision encoder's pooled vector (1024 for ViT-L/14)
    context_width: int = 768  # of the UNet's cross-attention context (768 for SD1.5)
    blocks: int = 5
    heads: int = 1

    def __post_init__(self):
        module_files.check_counts(self, encoder_width=1, context_width=1, blocks=1, heads=1)
        if self.encoder_width % self.heads:
            raise ValueError(f"'heads' must divide the encoder's width of {self.encoder_width}; {self.heads} does not")


class _Block(nn.Module):
    """Pre-norm attention over the tokens of one object, then an MLP of four times the width with exact GELU."""

    def __init__(self, width: int, heads: int, operations: Any):
        super().__init__()
        self.heads = heads
        self.norm_attend = operations.LayerNorm(width)
        self.to_qkv = operations.Linear(width, 3 * width)
        self.to_out = operations.Linear(width, width)
        self.norm_think = operations.LayerNorm(width)
        self.expand = operations.Linear(width, 4 * width)
        self.contract = operations.Linear(4 * width, width)

    def attend(self, x: Tensor) -> Tensor:
        q, k, v = rearrange(self.to_qkv(x), "b n (three h d) -> three b h n d", three=3, h=self.heads)
        scale = q.shape[-1] ** -0.25
        weights = torch.softmax((q * scale) @ (k * scale).transpose(-2, -1), dim=-1, dtype=torch.float32)
        return self.to_out(rearrange(weights.to(v) @ v, "b h n d -> b n (h d)"))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attend(self.norm_attend(x))
        return x + self.contract(F.gelu(self.expand(self.norm_think(x))))


class ExemplarEncoder(nn.Module):
    """Context tokens of pooled vision vectors (Paint by Example, section 3.3).

    `null` [1,1,context_width] stands for "no exemplar"; it is learned through dropout and goes to the UNet as it is.
    """

    def __init__(self, settings: ExemplarSettings, operations: Any = nn):
        super().__init__()
        self.settings = settings
        width = settings.encoder_width
        self.blocks = nn.ModuleList(_Block(width, settings.heads, operations) for _ in range(settings.blocks))
        self.norm = operations.LayerNorm(width)
        self.project = operations.Linear(width, settings.context_width)
        self.null = nn.Parameter(torch.randn(1, 1, settings.context_width))

    def forward(self, pooled: Tensor) -> Tensor:
        """Context [B,N,context_width] of pooled vectors [B,encoder_width] (N = 1) or [B,N,encoder_width]."""
        x = pooled[:, None] if pooled.ndim == 2 else pooled
        for block in self.blocks:
            x = block(x)
        return self.project(self.norm(x))


def check_pooled(settings: ExemplarSettings, pooled: Tensor) -> None:
    """Raise ValueError when pooled vectors [...,D] are not of the vision encoder it was trained with, or not finite."""
    if pooled.shape[-1] != settings.encoder_width:
        raise ValueError(
            f"This exemplar encoder reads pooled vectors of width {settings.encoder_width}, but the vision encoder "
            f"gives width {pooled.shape[-1]}. Load the CLIP vision model it was trained with "
            "(width 1024 is ViT-L/14; the playroom models bring their own)."
        )
    if not torch.isfinite(pooled).all():
        raise ValueError(
            "The vision encoder made values that are not finite (NaN or infinite) of the exemplar. Look at the "
            "picture and the node that made it."
        )


def exemplar_context(
    encoder: ExemplarEncoder, pooled: Tensor, strength: float = 1.0, views: str = "separate"
) -> tuple[Tensor, Tensor]:
    """Contexts (exemplar, null), both [B,1,context_width], of the pooled vectors [B,encoder_width] of B pictures.

    `views`: "separate" is one object per picture; "concatenate" [1,B,context_width] and "average" make one object of
    all. `strength` moves from the null (0) to the exemplar (1) and beyond. Raises ValueError for vectors of another
    encoder's width or values that are not finite.
    """
    check_pooled(encoder.settings, pooled)
    context = join_views(encoder(pooled), views)
    null = null_beside(context, encoder.null[0])
    return (context, null) if strength == 1.0 else (torch.lerp(null, context, strength), null)


def save(encoder: ExemplarEncoder, path: Path, dtype: torch.dtype = torch.float32, **notes: str) -> None:
    """Write the exemplar encoder with its null and settings; `notes` such as its licence travel with it."""
    module_files.save(encoder, Path(path), dtype, module_files.metadata(FORMAT, encoder.settings, **notes))


def load(path: Path, operations: Any = nn) -> ExemplarEncoder:
    """The exemplar encoder in a file that `save` wrote.

    Raises FileNotFoundError, or ValueError for a corrupt file, another kind of file, missing tensors, NaN or infinite
    values.
    """
    path = Path(path)
    state, meta = read_weights(path)
    check_numbers(state, path, "Fetch another copy or train it again.")
    try:
        settings = module_files.settings_in(meta, FORMAT, ExemplarSettings, FOREIGN)
    except ValueError as error:
        raise ValueError(f"{path} is not an exemplar encoder of this pack: {error}") from error
    return from_state(settings, state, path, operations)


def from_state(
    settings: ExemplarSettings, state: dict[str, Tensor], path: Path, operations: Any = nn
) -> ExemplarEncoder:
    """The exemplar encoder of these tensors, ours by name. Raises ValueError, naming `path`, when they do not fit."""
    return module_files.filled(partial(ExemplarEncoder, settings), state, path, operations, "an exemplar encoder needs")
