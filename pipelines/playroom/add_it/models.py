"""The networks: FLUX's transformer, a sixteen-channel VAE, and CLIP's text encoder.

All are public classes in small: diffusers' FluxTransformer2DModel, which is the host's Flux under other names of its
weights, diffusers' AutoencoderKL, and transformers' CLIPTextModel, written out here for its inputs' sake.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, FluxTransformer2DModel
from torch import Tensor, nn

from .captions import LENGTH
from .picture_words import TEXT_WIDTH, PictureWords

GATE = 0.3  # how far the blocks' gates are open at the start; the trial's value


@dataclass(frozen=True)
class Size:
    """How large the transformer is; these numbers make 9.1 million parameters, 18 MB in half precision."""

    heads: int = 8
    double_blocks: int = 2
    single_blocks: int = 4

    head_width: int = 32
    axes: tuple[int, int, int] = (8, 12, 12)  # of a head's width: for FLUX's unused axis, rows, columns


def make_transformer(channels: int, size: Size = Size()) -> FluxTransformer2DModel:
    """A FLUX for latents of so many channels, patches of 2x2 cells, gates a little open and an output of zero."""
    transformer = FluxTransformer2DModel(
        in_channels=4 * channels,
        num_layers=size.double_blocks,
        num_single_layers=size.single_blocks,
        attention_head_dim=size.head_width,
        num_attention_heads=size.heads,
        joint_attention_dim=TEXT_WIDTH,
        pooled_projection_dim=TEXT_WIDTH,
        guidance_embeds=False,
        axes_dims_rope=size.axes,
    )
    width = transformer.inner_dim
    for name, module in transformer.named_modules():
        if not isinstance(module, nn.Linear):
            continue
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
        if name.endswith((".norm1.linear", ".norm1_context.linear", ".norm.linear")):
            nn.init.zeros_(module.weight)
            with torch.no_grad():
                module.bias.view(-1, 3, width)[:, 2] = GATE  # shift, scale, gate, once or twice
        elif name in ("norm_out.linear", "proj_out"):
            nn.init.zeros_(module.weight)
    return transformer


def make_vae(channels: int = 16, widths: tuple[int, ...] = (32, 64, 64, 96), groups: int = 8) -> AutoencoderKL:
    """An eight-fold VAE of the playroom's family; once whitened, its latents have unit variance."""
    blocks: Any = {
        "block_out_channels": widths,
        "down_block_types": ("DownEncoderBlock2D",) * len(widths),
        "up_block_types": ("UpDecoderBlock2D",) * len(widths),
    }
    return AutoencoderKL(
        **blocks,
        layers_per_block=1,
        latent_channels=channels,
        norm_num_groups=groups,
        sample_size=128,
        scaling_factor=1.0,
    )


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            project(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        heads = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out_proj(heads.transpose(1, 2).flatten(2))


class _TextLayer(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.self_attn = _Attention(width, heads)
        self.layer_norm1 = nn.LayerNorm(width, 1e-5)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})
        self.layer_norm2 = nn.LayerNorm(width, 1e-5)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        hidden = self.mlp["fc1"](self.layer_norm2(x))
        return x + self.mlp["fc2"](hidden * torch.sigmoid(1.702 * hidden))  # CLIP's quick GELU


class TextEncoder(nn.Module):
    """CLIP's text encoder, its weights under transformers' names, that takes words which a picture says.

    transformers' class has no door for embeddings. Its own forward on the same weights gives the same numbers.
    """

    def __init__(self, vocabulary: int, end: int, width: int = TEXT_WIDTH, layers: int = 3, heads: int = 4):
        super().__init__()
        self.end = end
        self.settings = {
            "vocab_size": vocabulary,
            "hidden_size": width,
            "intermediate_size": 4 * width,
            "projection_dim": width,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "max_position_embeddings": LENGTH,
            "hidden_act": "quick_gelu",
            "layer_norm_eps": 1e-5,
            "bos_token_id": end - 1,
            "eos_token_id": end,
            "pad_token_id": end,
        }
        tokens = nn.Embedding(vocabulary, width)
        places = nn.Embedding(LENGTH, width)
        self.embeddings = nn.ModuleDict({"token_embedding": tokens, "position_embedding": places})
        self.encoder = nn.ModuleDict({"layers": nn.ModuleList(_TextLayer(width, heads) for _ in range(layers))})
        self.final_layer_norm = nn.LayerNorm(width, 1e-5)
        nn.init.normal_(tokens.weight, std=0.5)
        nn.init.normal_(places.weight, std=0.1)

    def words(self, tokens: Tensor) -> Tensor:
        """Embeddings [...,128] of tokens [...]."""
        return self.embeddings["token_embedding"](tokens)

    def forward(self, tokens: Tensor, words: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The context [B,32,128] and the pooled vector [B,128] of tokens [B,32].

        `words` [B,32,128] stand in for the tokens' embeddings. The vector is the context at the first end.
        """
        x = self.words(tokens) if words is None else words
        places = cast(nn.Embedding, self.embeddings["position_embedding"])
        x = x + places.weight[: x.shape[1]]
        for layer in cast(nn.ModuleList, self.encoder["layers"]):
            x = layer(x)
        context = self.final_layer_norm(x)
        end = (tokens == self.end).int().argmax(1)
        return context, context[torch.arange(len(context), device=context.device), end]


class Networks(nn.Module):
    """What learns together: transformer, text encoder and the picture's words."""

    def __init__(self, channels: int, vocabulary: int, end: int, size: Size = Size()):
        super().__init__()
        self.channels = channels
        self.transformer = make_transformer(channels, size)
        self.text_encoder = TextEncoder(vocabulary, end)
        self.picture_words = PictureWords()

    def prompt(self, tokens: Tensor, said: Tensor | None = None, spoken: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Context [B,32,128] and pooled vector [B,128] of captions [B,32].

        Where `said` [B,32] is a slot's number and not -1, the word comes of `spoken` [B,3,3,128], toy by toy: what
        `picture_words` makes of the toys' pictures.
        """
        if said is None or spoken is None:
            return self.text_encoder(tokens)
        words = self.text_encoder.words(tokens)
        slots = spoken.flatten(1, 2)
        index = said.long().clamp(min=0)[..., None].expand(-1, -1, slots.shape[-1])
        pictured = slots.gather(1, index).to(words.dtype)
        return self.text_encoder(tokens, torch.where(said[..., None] >= 0, pictured, words))


def null_tokens(count: int, *, start: int, end: int) -> Tensor:
    """Tokens [count,32] of the empty caption."""
    tokens = torch.full((count, LENGTH), end)
    tokens[:, 0] = start
    return tokens
