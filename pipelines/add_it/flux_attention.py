"""Attention of diffusers' FLUX blocks that knows of source rows: a processor of our own in every block.

A pass holds target rows first and source rows last, or the sources run first, in a pass of their own, and leave their
keys and values behind. Source and target have the same places, so that tokens meet by position (appendix A.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, cast

import torch
import torch.nn.functional as F
from diffusers import FluxTransformer2DModel
from diffusers.models.embeddings import apply_rotary_emb
from torch import Tensor

from .extended_attention import Sharing, SourceTokens, seeing
from .gamma_balance import GammaBalance
from .subject_map import SubjectMap, attention_masses


class Block(NamedTuple):
    """A block of the transformer: of one stream or two, and its number among those."""

    single: bool
    index: int


class Observer(Protocol):
    """Looks at a block's target rows; `key` holds the source's keys behind the target's where they are extended."""

    def observe(self, block: Block, query: Tensor, key: Tensor, rows: PassRows) -> None: ...


@dataclass
class PassRows:
    """What every block must know of the rows of one pass."""

    text_length: int
    sources: int = 0  # rows of the pass that are sources, the last ones
    memory: dict[Block, SourceTokens] | None = None  # of a pass before; where `recording`, of this one
    recording: bool = False
    gamma: float | Tensor = 1.0  # or one for each target row
    double: bool = False  # whether blocks with two streams share, and those with one
    single: bool = False
    sharing: Sharing = "extended"
    observers: Sequence[Observer] = field(default_factory=tuple)

    def shares(self, block: Block) -> bool:
        """Whether target rows see a source in this block."""
        there = self.sources > 0 or (self.memory is not None and not self.recording)
        return there and (self.single if block.single else self.double)


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """torch's fused attention on [B,heads,N,D]."""
    return F.scaled_dot_product_attention(query, key, value, mask)


class AddItProcessor:
    """The attention of one block; without `rows` that of diffusers."""

    def __init__(self, block: Block):
        self.block = block

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        image_rotary_emb: Any = None,
        rows: PassRows | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        query, key, value = _projected(attn, hidden_states, encoder_hidden_states, image_rotary_emb)
        if rows is None:
            output = attend(query, key, value, attention_mask)
        else:
            output = shared_attention(self.block, query, key, value, rows)
        hidden = output.transpose(1, 2).flatten(2).to(hidden_states.dtype)
        if encoder_hidden_states is None:
            return hidden
        text, image = hidden.split([encoder_hidden_states.shape[1], hidden_states.shape[1]], 1)
        return attn.to_out[1](attn.to_out[0](image)), attn.to_add_out(text)


def _projected(attn: Any, image: Tensor, text: Tensor | None, rotation: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values [B,heads,N,D], text first, normalised and with RoPE."""

    def heads(states: Tensor) -> Tensor:
        return states.unflatten(-1, (attn.heads, -1))

    query = attn.norm_q(heads(attn.to_q(image)))
    key = attn.norm_k(heads(attn.to_k(image)))
    value = heads(attn.to_v(image))
    if text is not None:
        query = torch.cat([attn.norm_added_q(heads(attn.add_q_proj(text))), query], 1)
        key = torch.cat([attn.norm_added_k(heads(attn.add_k_proj(text))), key], 1)
        value = torch.cat([heads(attn.add_v_proj(text)), value], 1)
    if rotation is not None:
        query = cast(Tensor, apply_rotary_emb(query, rotation, sequence_dim=1))
        key = cast(Tensor, apply_rotary_emb(key, rotation, sequence_dim=1))
    return query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)


def shared_attention(block: Block, query: Tensor, key: Tensor, value: Tensor, rows: PassRows) -> Tensor:
    """Attention [B,heads,N,D] of all rows of a pass, the target rows seeing the sources where `rows` says so."""
    text = rows.text_length
    targets = len(query) - rows.sources
    own = SourceTokens(query[targets:, :, text:], key[targets:, :, text:], value[targets:, :, text:])
    if rows.recording and rows.memory is not None:
        rows.memory[block] = SourceTokens(query[:, :, text:], key[:, :, text:], value[:, :, text:])
    if not rows.shares(block):
        for observer in rows.observers:
            observer.observe(block, query[:targets], key[:targets], rows)
        return attend(query, key, value)
    sources = own if rows.memory is None else rows.memory[block]
    target_query, keys, values = seeing(
        sources,
        query[:targets],
        key[:targets],
        value[:targets],
        text_length=text,
        sharing=rows.sharing,
        gamma=rows.gamma,
    )
    for observer in rows.observers:
        observer.observe(block, target_query, keys, rows)
    output = attend(target_query, keys, values)
    if not rows.sources:
        return output
    return torch.cat([output, attend(query[targets:], key[targets:], value[targets:])])


def set_processors(transformer: FluxTransformer2DModel) -> None:
    """Put our processor into every block."""
    for single, blocks in ((False, transformer.transformer_blocks), (True, transformer.single_transformer_blocks)):
        for index, block in enumerate(blocks):
            module: Any = block
            module.attn.set_processor(AddItProcessor(Block(single, index)))


class SubjectObserver:
    """Sums the attention of image queries on the subject's tokens, in chosen blocks, over the passes it is given to."""

    def __init__(self, columns: Tensor, first_row: int, blocks: Sequence[Block] | None = None):
        """`columns` [B,1,T] bool are text tokens of the B target rows from `first_row` on; blocks None are all."""
        self.columns = columns
        self.first_row = first_row
        self.blocks = blocks
        self.map = SubjectMap()

    def observe(self, block: Block, query: Tensor, key: Tensor, rows: PassRows) -> None:
        if self.blocks is not None and block not in self.blocks:
            return
        part = slice(self.first_row, self.first_row + len(self.columns))
        columns = F.pad(self.columns, (0, key.shape[2] - self.columns.shape[2]))
        masses = attention_masses(query[part, :, rows.text_length :], key[part], columns, attend)
        self.map.add(masses[:, 0])


class BalanceObserver:
    """Balances gamma on blocks with two streams, where text has queries of its own, in passes that are extended."""

    def __init__(self, first_row: int, count: int):
        self.rows = slice(first_row, first_row + count)
        self.balance = GammaBalance()

    def observe(self, block: Block, query: Tensor, key: Tensor, rows: PassRows) -> None:
        if block.single or not rows.shares(block):
            return
        text = rows.text_length
        query = query[self.rows]
        key = key[self.rows]
        length = key.shape[2] - (key.shape[2] - text) // 2  # source and target have as many image tokens
        gamma = rows.gamma[self.rows].reshape(-1, 1, 1, 1) if isinstance(rows.gamma, Tensor) else rows.gamma
        self.balance.add(query[:, :, :text], key[:, :, :length] / gamma, key[:, :, length:], text_length=text)
