"""Batches that meet: how many pictures come out of so many of each kind."""

from __future__ import annotations


def paired(advice: str = "", **counts: int) -> int:
    """How many pictures come out of `counts` by kind, with _ for a space; `advice` ends the error.

    Raises ValueError unless each count is one or the same number, and for none of a kind.
    """
    named = {kind.replace("_", " "): count for kind, count in counts.items()}
    for kind, count in named.items():
        if not count:
            raise ValueError(f"There are no {kind}: their batch is empty. Give one or more.")
    if len(set(counts.values()) - {1}) > 1:
        several = ", ".join(f"{count} {kind}" for kind, count in named.items() if count > 1)
        sentence = f"The batches do not pair up: {several}. Give one of either, or equally many."
        raise ValueError(f"{sentence} {advice}".rstrip())
    return max(counts.values())
