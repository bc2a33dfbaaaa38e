"""The family of embedding optimizers: ours, and the three published shapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..weights.module_files import check_counts
from .context_encoder import ContextEncoder


@dataclass(frozen=True)
class OptimizerSettings:
    """Shape of an embedding optimizer; `encoder_*`, `detail_*` and `context_*` are what it pairs with."""

    variant: str  # a key of VARIANTS
    encoder_width: int  # width of the vision encoder's last hidden state (1024 for ViT-L/14)
    context_width: int  # width of the UNet's cross-attention context (768 for SD1.5)
    context_tokens: int  # tokens of the context, the constant start token included (77 for SD1.5)
    blocks: int = 4
    heads: int = 8
    encoder_tokens: int = 257  # two_linear only: the one shape that is bound to a number of vision tokens
    detail_width: int = 0  # resampler only: width of a second encoder's tokens (1024 for DINOv2-large); 0 for none

    def __post_init__(self):
        sizes = dict.fromkeys(("encoder_width", "context_width", "context_tokens", "encoder_tokens"), 1)
        check_counts(self, **sizes, blocks=1, heads=1, detail_width=0)
        if self.context_width % self.heads:
            raise ValueError(f"'heads' must divide the context's width of {self.context_width}; {self.heads} does not")


class EmbeddingOptimizer(ContextEncoder):
    """What the variants share: settings, and queries that ask the vision tokens."""

    def __init__(self, settings: OptimizerSettings):
        super().__init__(
            encoder_width=settings.encoder_width,
            context_width=settings.context_width,
            context_tokens=settings.context_tokens,
            detail_width=settings.detail_width,
        )
        self.settings = settings

    def asking(self, tokens: Tensor, queries: Tensor | None) -> Tensor:
        """Queries [B,N,context_width] for the tokens [B,T,context_width] of B pictures: those given, or the learned."""
        if queries is None and self.queries is not None:
            queries = self.queries.expand(len(tokens), -1, -1)
        assert queries is not None
        return queries.to(tokens)


def _attend(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    q, k, v = (rearrange(t, "b n (h d) -> b h n d", h=heads) for t in (q, k, v))
    return rearrange(F.scaled_dot_product_attention(q, k, v), "b h n d -> b n (h d)")


class _CrossAttention(nn.Module):
    def __init__(self, width: int, heads: int, operations):
        super().__init__()
        self.heads = heads
        self.norm = operations.LayerNorm(width)
        self.to_q = operations.Linear(width, width, bias=False)
        self.to_kv = operations.Linear(width, 2 * width, bias=False)
        self.to_out = operations.Linear(width, width)

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        key, value = self.to_kv(features).chunk(2, dim=-1)
        return x + self.to_out(_attend(self.to_q(self.norm(x)), key, value, self.heads))


class _FeedForward(nn.Module):
    def __init__(self, width: int, operations):
        super().__init__()
        self.norm = operations.LayerNorm(width)
        self.expand = operations.Linear(width, 2 * width)
        self.contract = operations.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.contract(F.gelu(self.expand(self.norm(x))))


class Resampler(EmbeddingOptimizer):
    """Ours: learned queries read the vision tokens through pre-norm residual blocks.

    Token 0 of the context is the null's own first token: a causal text encoder's start token does not depend on
    the text, and the UNet uses it as a resting place for attention.
    """

    def __init__(self, settings: OptimizerSettings, operations: Any = nn):
        super().__init__(settings)
        width = settings.context_width
        self.spread = width**-0.5
        self.norm_in = operations.LayerNorm(settings.encoder_width)
        self.project = operations.Linear(settings.encoder_width, width)
        self.queries = nn.Parameter(torch.randn(settings.context_tokens - 1, width) * self.spread)
        self.attend = nn.ModuleList(_CrossAttention(width, settings.heads, operations) for _ in range(settings.blocks))
        self.think = nn.ModuleList(_FeedForward(width, operations) for _ in range(settings.blocks))
        self.norm_out = operations.LayerNorm(width)
        if settings.detail_width:
            self.norm_detail = operations.LayerNorm(settings.detail_width)
            self.project_detail = operations.Linear(settings.detail_width, width)

    def forward(self, features: Tensor, details: Tensor | None = None, queries: Tensor | None = None) -> Tensor:
        tokens = self.project(self.norm_in(features))
        if self.settings.detail_width and details is not None:
            tokens = torch.cat([tokens, self.project_detail(self.norm_detail(details))], dim=1)
        x = self.asking(tokens, queries)
        for attend, think in zip(self.attend, self.think, strict=True):
            x = think(attend(x, tokens))
        start = self.null[:1].to(x).expand(len(x), -1, -1)
        return torch.cat([start, self.norm_out(x)], dim=1)


def _in_turn(layers: Any, x: Tensor) -> Tensor:
    """Fully connected layers with ReLU between them."""
    for layer in layers[:-1]:
        x = F.relu(layer(x))
    return layers[-1](x)


class PooledMLP(EmbeddingOptimizer):
    """Published: project, pool by attention with noise as queries, then `blocks` fully connected layers with ReLU.

    The authors draw the queries anew in every forward, so no two runs are alike; here they belong to the weights,
    and whoever wants the noise gives `queries`.
    """

    def __init__(self, settings: OptimizerSettings, operations: Any = nn):
        super().__init__(settings)
        width = settings.context_width
        self.project = operations.Linear(settings.encoder_width, width)
        self.to_q = operations.Linear(width, width)
        self.to_kv = operations.Linear(width, 2 * width)
        self.to_out = operations.Linear(width, width)
        self.layers = nn.ModuleList(operations.Linear(width, width) for _ in range(settings.blocks))
        self.queries = nn.Parameter(torch.randn(settings.context_tokens, width))

    def forward(self, features: Tensor, details: Tensor | None = None, queries: Tensor | None = None) -> Tensor:
        tokens = self.project(features)
        key, value = self.to_kv(tokens).chunk(2, dim=-1)
        pooled = _attend(self.to_q(self.asking(tokens, queries)), key, value, self.settings.heads)
        return _in_turn(self.layers, self.to_out(pooled))


class TwoLinear(EmbeddingOptimizer):
    """Published, the first version: project, two fully connected layers with ReLU, one linear map over the tokens."""

    def __init__(self, settings: OptimizerSettings, operations: Any = nn):
        super().__init__(settings)
        width = settings.context_width
        self.project = operations.Linear(settings.encoder_width, width)
        self.layers = nn.ModuleList(operations.Linear(width, width) for _ in range(settings.blocks))
        self.mix = operations.Linear(settings.encoder_tokens, settings.context_tokens)

    def forward(self, features: Tensor, details: Tensor | None = None, queries: Tensor | None = None) -> Tensor:
        return self.mix(_in_turn(self.layers, self.project(features)).transpose(1, 2)).transpose(1, 2)

    def check_tokens(self, features: Tensor, details: Tensor | None = None) -> None:
        super().check_tokens(features, details)
        if features.shape[1] != self.settings.encoder_tokens:
            raise ValueError(
                f"This embedding optimizer (two_linear) reads exactly {self.settings.encoder_tokens} vision tokens, "
                f"but the encoder gives {features.shape[1]}. Load the CLIP vision model it was trained with."
            )


VARIANTS: dict[str, Callable[..., EmbeddingOptimizer]] = {
    "resampler": Resampler,
    "two_linear": TwoLinear,
    "pooled_mlp2": PooledMLP,
    "pooled_mlp4": PooledMLP,
}


def check_variant(settings: OptimizerSettings) -> None:
    """Raise ValueError for a variant that is not known, and for a second encoder where a variant reads one."""
    if not isinstance(settings.variant, str) or settings.variant not in VARIANTS:
        raise ValueError(f"Unknown embedding optimizer variant '{settings.variant}'; known: {', '.join(VARIANTS)}.")
    if settings.detail_width and settings.variant != "resampler":
        raise ValueError(f"An embedding optimizer of variant {settings.variant} reads no second encoder.")


def build(settings: OptimizerSettings, operations: Any = nn) -> EmbeddingOptimizer:
    """An embedding optimizer of this shape. Raises ValueError for an unknown variant."""
    check_variant(settings)
    return VARIANTS[settings.variant](settings, operations)
