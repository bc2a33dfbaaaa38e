"""Weighted extended self-attention: a target row also attends to the image tokens of a hidden source row.

Add-it, arXiv 2411.07232, equations 2 and 3: one softmax over the keys [gamma * K_text, gamma * K_target, K_source],
values without weights. Everything here is per head, after the normalisation of queries and keys and after RoPE, which
a factor on keys commutes with; text tokens come first. The source's keys are appended, so that a token of the target
keeps its column. A factor on keys is no factor on probabilities: it sharpens or flattens the target's own logits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Attend = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]  # query, key, value, mask -> [B,heads,N,D]
Sharing = Literal["extended", "prompt_to_prompt"]


class SourceTokens(NamedTuple):
    """Image tokens of source rows in one block, after RoPE, each [S,heads,M,D]."""

    query: Tensor
    key: Tensor
    value: Tensor


def source_rows(targets: int, source: Tensor) -> Tensor:
    """Source rows [S,...] for so many target rows: row i of the targets reads source i modulo S, in a view if S is 1.

    Under classifier-free guidance the rows are [uncond 1..S, cond 1..S]; one source row serves every target. Raises
    ValueError where the targets are no multiple of S.
    """
    count = len(source)
    if count == 0 or targets % count:
        raise ValueError(f"{targets} target rows cannot share {count} source rows: use one, or one for each target.")
    if count == 1:
        return source.expand(targets, *source.shape[1:])
    return source.repeat(targets // count, *[1] * (source.dim() - 1))


def extended_keys_values(
    key: Tensor, value: Tensor, source_key: Tensor, source_value: Tensor, gamma: float | Tensor
) -> tuple[Tensor, Tensor]:
    """Keys and values [B,heads,N+M,D] of target rows that attend to a source row, too.

    `key`, `value` [B,heads,N,D] are the target's text and image tokens; the keys are scaled by `gamma`, one number or
    [B]. `source_key`, `source_value` [S,heads,M,D] are the source's image tokens, unscaled; `source_rows` says which
    target reads which. Raises ValueError for rows that do not pair up.
    """
    if isinstance(gamma, Tensor):
        gamma = gamma.to(key).reshape(-1, 1, 1, 1)
    keys = torch.cat([key * gamma, source_rows(len(key), source_key).to(key)], 2)
    values = torch.cat([value, source_rows(len(value), source_value).to(value)], 2)
    return keys, values


def seeing(
    source: SourceTokens,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    text_length: int,
    sharing: Sharing,
    gamma: float | Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of target rows [B,heads,N,D], text first, that see source rows.

    "extended" puts the source's image tokens behind the target's. "prompt_to_prompt" lets the target's image values be
    mixed as the source's image tokens attend (Hertz et al., arXiv 2208.01626, section 3.2), whatever `gamma` says.
    """
    if sharing == "extended":
        return query, *extended_keys_values(key, value, source.key, source.value, gamma)
    queries, keys = (
        torch.cat([own[:, :, :text_length], source_rows(len(own), other).to(own)], 2)
        for own, other in ((query, source.query), (key, source.key))
    )
    return queries, keys, value


def padded_mask(mask: Tensor | None, source_length: int) -> Tensor | None:
    """An attention mask [...,N] of the target's keys, made for so many source keys behind them, which all may be seen.

    A bool mask is True there, one that is added to the logits 0. None stays None.
    """
    if mask is None:
        return None
    seen = mask.new_zeros if mask.dtype != torch.bool else mask.new_ones
    return torch.cat([mask, seen((*mask.shape[:-1], source_length))], -1)


def mask_of_rows(mask: Tensor | None, rows: slice, count: int) -> Tensor | None:
    """The part of an attention mask that belongs to some of `count` rows; a mask without or with one row serves all."""
    if mask is None or mask.dim() < 3 or len(mask) != count or count == 1:
        return mask
    return mask[rows]


def extended_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    sources: int,
    text_length: int,
    gamma: float | Tensor,
    attend: Attend,
    mask: Tensor | None = None,
) -> Tensor:
    """Attention [B+S,heads,N,D] of target rows, which see the source rows, and of the last S rows, the sources.

    `query`, `key`, `value` [B+S,heads,N,D] hold `text_length` text tokens first. The source rows attend as without
    targets. `mask` belongs to the targets, and the sources have none; one with a row for each of B+S rows is cut.
    Raises ValueError for rows that do not pair up.
    """
    targets = len(query) - sources
    keys, values = extended_keys_values(
        key[:targets], value[:targets], key[targets:, :, text_length:], value[targets:, :, text_length:], gamma
    )
    target_mask = padded_mask(mask_of_rows(mask, slice(0, targets), len(query)), keys.shape[2] - key.shape[2])
    extended = attend(query[:targets], keys, values, target_mask)
    return torch.cat([extended, attend(query[targets:], key[targets:], value[targets:], None)])
