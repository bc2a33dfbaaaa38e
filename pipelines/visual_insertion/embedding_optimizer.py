"""Embedding optimizers: from the vision encoder's tokens to the UNet's cross-attention context.

One file holds the weights, the null context they were trained with, and the settings as metadata.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..files import StateDict, describe_non_finite, read_weights

FORMAT = "visual-insertion/embedding-optimizer"


@dataclass(frozen=True)
class OptimizerSettings:
    """Shape of an embedding optimizer; `encoder_*` and `context_*` are what it pairs with."""

    variant: str  # a key of VARIANTS
    encoder_width: int  # width of the vision encoder's last hidden state (1024 for ViT-L/14)
    context_width: int  # width of the UNet's cross-attention context (768 for SD1.5)
    context_tokens: int  # tokens of the context, the constant start token included (77 for SD1.5)
    blocks: int = 4
    heads: int = 8


class _CrossAttention(nn.Module):
    def __init__(self, width: int, heads: int, operations):
        super().__init__()
        self.heads = heads
        self.norm = operations.LayerNorm(width)
        self.to_q = operations.Linear(width, width, bias=False)
        self.to_kv = operations.Linear(width, 2 * width, bias=False)
        self.to_out = operations.Linear(width, width)

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        key_value = self.to_kv(features).chunk(2, dim=-1)
        q, k, v = (rearrange(t, "b n (h d) -> b h n d", h=self.heads) for t in (self.to_q(self.norm(x)), *key_value))
        out = F.scaled_dot_product_attention(q, k, v)
        return x + self.to_out(rearrange(out, "b h n d -> b n (h d)"))


class _FeedForward(nn.Module):
    def __init__(self, width: int, operations):
        super().__init__()
        self.norm = operations.LayerNorm(width)
        self.expand = operations.Linear(width, 2 * width)
        self.contract = operations.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.contract(F.gelu(self.expand(self.norm(x))))


class Resampler(nn.Module):
    """Learned queries read the vision tokens through pre-norm residual blocks.

    Token 0 of the context is the null's own first token: a causal text encoder's start token does not depend on
    the text, and the UNet uses it as a resting place for attention.
    """

    null: Tensor  # [context_tokens,context_width], what stands for no object

    def __init__(self, settings: OptimizerSettings, operations: Any = nn):
        super().__init__()
        self.settings = settings
        width = settings.context_width
        self.norm_in = operations.LayerNorm(settings.encoder_width)
        self.project = operations.Linear(settings.encoder_width, width)
        self.queries = nn.Parameter(torch.randn(settings.context_tokens - 1, width) * width**-0.5)
        self.attend = nn.ModuleList(_CrossAttention(width, settings.heads, operations) for _ in range(settings.blocks))
        self.think = nn.ModuleList(_FeedForward(width, operations) for _ in range(settings.blocks))
        self.norm_out = operations.LayerNorm(width)
        self.register_buffer("null", torch.zeros(settings.context_tokens, width))

    def forward(self, features: Tensor) -> Tensor:
        """Vision tokens [B,T,encoder_width] -> context [B,context_tokens,context_width]."""
        features = self.project(self.norm_in(features))
        x = self.queries.to(features).expand(len(features), -1, -1)
        for attend, think in zip(self.attend, self.think, strict=True):
            x = think(attend(x, features))
        start = self.null[:1].to(x).expand(len(x), -1, -1)
        return torch.cat([start, self.norm_out(x)], dim=1)


class PooledMLP(nn.Module):
    """The published shape: project, pool by attention with noise as queries, then fully connected layers with ReLU.

    The authors draw the queries anew in every forward, so no two runs are alike; here they belong to the weights.
    """

    queries: Tensor
    null: Tensor

    def __init__(self, settings: OptimizerSettings, operations: Any = nn):
        super().__init__()
        self.settings = settings
        width, shape = settings.context_width, (settings.context_tokens, settings.context_width)
        self.project = operations.Linear(settings.encoder_width, width)
        self.to_q = operations.Linear(width, width)
        self.to_kv = operations.Linear(width, 2 * width)
        self.to_out = operations.Linear(width, width)
        self.layers = nn.ModuleList(operations.Linear(width, width) for _ in range(settings.blocks))
        self.register_buffer("queries", torch.randn(shape))
        self.register_buffer("null", torch.zeros(shape))

    def forward(self, features: Tensor) -> Tensor:
        """Vision tokens [B,T,encoder_width] -> context [B,context_tokens,context_width]."""
        features = self.project(features)
        q = self.to_q(self.queries.to(features)).expand(len(features), -1, -1)
        heads = (
            rearrange(t, "b n (h d) -> b h n d", h=self.settings.heads) for t in (q, *self.to_kv(features).chunk(2, -1))
        )
        x = self.to_out(rearrange(F.scaled_dot_product_attention(*heads), "b h n d -> b n (h d)"))
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


EmbeddingOptimizer = Resampler | PooledMLP
VARIANTS = {"resampler": Resampler, "pooled_mlp2": PooledMLP, "pooled_mlp4": PooledMLP}


def build(settings: OptimizerSettings, operations: Any = nn) -> EmbeddingOptimizer:
    """An embedding optimizer of this shape. Raises ValueError for an unknown variant."""
    if settings.variant not in VARIANTS:
        raise ValueError(f"Unknown embedding optimizer variant '{settings.variant}'; known: {', '.join(VARIANTS)}.")
    return VARIANTS[settings.variant](settings, operations)


def metadata(settings: OptimizerSettings, **notes: str) -> dict[str, str]:
    """safetensors metadata of an embedding optimizer; `notes` such as training data or licence travel with it."""
    return {"format": FORMAT, "settings": json.dumps(asdict(settings)), **notes}


def settings_from_metadata(meta: dict[str, str] | None) -> OptimizerSettings:
    """Settings from a file's safetensors metadata. Raises ValueError when it is not an embedding optimizer's."""
    if not meta or meta.get("format") != FORMAT:
        raise ValueError(
            "it carries no embedding optimizer settings. Load a safetensors file that this pack's training wrote; "
            "tensors alone do not say which encoder and model they pair with."
        )
    return OptimizerSettings(**json.loads(meta["settings"]))


def is_released(state: StateDict) -> bool:
    """Whether these are the tensors of the authors' released embedding optimizer (`emb_opt.pt`)."""
    return "attention_pooling.in_proj_weight" in state and "projection_layer.weight" in state


def from_released(state: StateDict, seed: int = 0) -> tuple[OptimizerSettings, StateDict]:
    """Settings and tensors, under our names, of the authors' release: two or four fully connected layers.

    Their file holds no queries (they are noise, here drawn once from `seed`) and no null (they guide against zeros).
    """
    width, encoder_width = state["projection_layer.weight"].shape
    layers = sum(f"mlp_fc{n}.weight" in state for n in range(1, 5))
    settings = OptimizerSettings(f"pooled_mlp{layers}", encoder_width, width, 77, blocks=layers, heads=8)
    shape = (settings.context_tokens, width)
    queries = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    renamed = {"queries": queries, "null": torch.zeros(shape)}
    for part in ("weight", "bias"):
        query, key_value = state[f"attention_pooling.in_proj_{part}"].split([width, 2 * width])
        renamed |= {f"to_q.{part}": query, f"to_kv.{part}": key_value}
        renamed[f"project.{part}"] = state[f"projection_layer.{part}"]
        renamed[f"to_out.{part}"] = state[f"attention_pooling.out_proj.{part}"]
        renamed |= {f"layers.{n}.{part}": state[f"mlp_fc{n + 1}.{part}"] for n in range(layers)}
    return settings, renamed


def load(path: Path, operations: Any = nn) -> EmbeddingOptimizer:
    """The embedding optimizer in a file.

    Raises FileNotFoundError, or ValueError for a corrupt file, another kind of file, missing tensors or NaN values.
    """
    state, meta = read_weights(path)
    try:
        if is_released(state):
            settings, state = from_released(state)
        else:
            settings = settings_from_metadata(meta)
        optimizer = build(settings, operations)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} is not an embedding optimizer of this pack: {error}") from error
    bad = describe_non_finite(state)
    if bad:
        raise ValueError(f"{path} holds values that are not finite: {bad}. Train it again or fetch another copy.")
    try:
        optimizer.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{path} does not hold the tensors its own settings promise: {error}") from error
    return optimizer.eval()


def check_encoder(settings: OptimizerSettings, features: Tensor) -> None:
    """Raise ValueError when vision tokens [B,T,D] come from an encoder of another width than the optimizer's."""
    if features.shape[-1] != settings.encoder_width:
        raise ValueError(
            f"This embedding optimizer reads vision tokens of width {settings.encoder_width}, but the vision encoder "
            f"gives width {features.shape[-1]}. Load the CLIP vision model it was trained with "
            "(width 1024 is ViT-L/14; the playroom models bring their own)."
        )


def object_context(
    optimizer: EmbeddingOptimizer, features: Tensor, strength: float = 1.0, views: str = "average"
) -> tuple[Tensor, Tensor]:
    """Contexts (object, null) for the vision tokens [V,T,D] of V pictures.

    `views`: "average" and "concatenate" make one object of all pictures, [1,N,C] or [1,V*N,C]; "separate" keeps
    [V,N,C], one object per picture. `strength` moves from the null (0) to the object (1) and beyond.
    """
    check_encoder(optimizer.settings, features)
    context = optimizer(features)
    if views == "average":
        context = context.mean(0, keepdim=True)
    elif views == "concatenate":
        context = rearrange(context, "v n c -> 1 (v n) c")
    elif views != "separate":
        raise ValueError(f"Unknown way to join views '{views}'; use average, concatenate or separate.")
    repeats = context.shape[1] // optimizer.settings.context_tokens
    null = optimizer.null.to(context).repeat(repeats, 1).expand_as(context)
    return torch.lerp(null, context, strength), null
