"""Attention of blocks that read text and picture together, with whatever `attend` does the softmax.

FLUX.1, FLUX.2 and Chroma run the same blocks: query, key and value [B,heads,N,D] after RoPE, text first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .extended_attention import Sharing, SourceTokens, mask_of_rows, padded_mask, seeing
from .gamma_balance import GammaBalance
from .subject_map import SubjectMap, attention_masses, token_columns

Block = tuple[str | int, ...]  # what kind, and its number


@dataclass
class Forward:
    """What one forward pass of the target rows, or of the source rows alone, has to do in its blocks."""

    text: int  # tokens
    tokens: int  # of a row's own picture
    extended: frozenset[str] = frozenset()  # kinds of blocks, "double" and "single"
    gamma: float | Tensor = 1.0  # one number or [B]
    sharing: Sharing = "extended"
    sources: int = 0  # rows behind the targets
    cache: dict[Block, tuple[Tensor, ...]] = field(default_factory=dict)  # what the source has in a block
    records: bool = False  # the rows are the sources: fill the cache
    balance: GammaBalance | None = None
    subject: SubjectMap | None = None
    subject_tokens: list[int] = field(default_factory=list)
    prompted: slice = field(default_factory=lambda: slice(0))  # the targets that have the prompt
    subject_blocks: set[Block] = field(default_factory=set)
    fired: int = 0  # attentions of target rows that were extended


def joint_attention(
    forward: Forward, block: Block, attend: Callable, *, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
) -> Tensor:
    """One block's attention [B,N,heads*D]."""
    extends = block[0] in forward.extended
    if forward.records:
        if extends:
            forward.cache[block] = _recorded(forward, query, key, value)
        return attend(query, key, value, mask)
    rows = len(query)
    targets = rows - forward.sources
    target_mask = mask_of_rows(mask, slice(0, targets), rows)
    queries, keys, values = query[:targets], key[:targets], value[:targets]
    if extends:
        if forward.sources:
            source = SourceTokens(*(part[targets:, :, forward.text :] for part in (query, key, value)))
        else:
            source = SourceTokens(*forward.cache[block])
        if forward.balance is not None and block[0] == "double":
            text = query[forward.prompted, :, : forward.text]
            forward.balance.add(text, key[forward.prompted], source.key, text_length=forward.text)
        queries, keys, values = seeing(
            source, queries, keys, values, text_length=forward.text, sharing=forward.sharing, gamma=forward.gamma
        )
        target_mask = padded_mask(target_mask, keys.shape[2] - key.shape[2])
        forward.fired += 1
    result = attend(queries, keys, values, target_mask)
    if forward.subject is not None and block in forward.subject_blocks:
        masses = _subject_masses(forward, attend, query=queries, keys=keys, mask=target_mask)
        forward.subject.add(masses)
    if not forward.sources:
        return result
    own = attend(query[targets:], key[targets:], value[targets:], None)  # rows with a mask never lie in one forward
    return torch.cat([result, own])


def _recorded(forward: Forward, query: Tensor, key: Tensor, value: Tensor) -> SourceTokens:
    """What is kept of source rows that run alone; their queries only where they are asked for."""
    queries = query[:, :, forward.text :] if forward.sharing == "prompt_to_prompt" else query[:, :, :0]
    return SourceTokens(*(part.clone() for part in (queries, key[:, :, forward.text :], value[:, :, forward.text :])))


def _subject_masses(forward: Forward, attend: Callable, *, query: Tensor, keys: Tensor, mask: Tensor | None) -> Tensor:
    """How much each image token of the rows with the prompt looks at the subject's words."""
    image = slice(forward.text, forward.text + forward.tokens)
    chosen = forward.prompted
    keys = keys[chosen]
    columns = token_columns([forward.subject_tokens] * len(keys), keys.shape[2], keys.device)
    queries = query[chosen, :, image]
    own_mask = mask_of_rows(mask, chosen, len(query))
    if own_mask is not None and own_mask.shape[-2] == query.shape[2]:
        own_mask = own_mask[..., image, :]

    def by_head(query, key, value, mask):
        return attend(query, key, value, mask).unflatten(2, (query.shape[1], -1)).transpose(1, 2)

    return attention_masses(queries, keys, columns, by_head, own_mask)[:, 0]
