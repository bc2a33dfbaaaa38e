"""Several pictures of one object as one context, or several objects."""

from __future__ import annotations

from einops import rearrange
from torch import Tensor

VIEWS = ("average", "concatenate", "separate")


def join_views(context: Tensor, views: str) -> Tensor:
    """The contexts [V,N,C] of V pictures as "average" [1,N,C] or "concatenate" [1,V*N,C], one object each, or
    "separate" [V,N,C], one object per picture. Raises ValueError for another word.
    """
    if views == "average":
        return context.mean(0, keepdim=True)
    if views == "concatenate":
        return rearrange(context, "v n c -> 1 (v n) c")
    if views == "separate":
        return context
    raise ValueError(f"Unknown way to join views '{views}'; use average, concatenate or separate.")


def null_beside(context: Tensor, null: Tensor) -> Tensor:
    """The null [N,C] as often as a context [B,V*N,C] has tokens: attention over copies is attention over one."""
    return null.to(context).repeat(context.shape[1] // len(null), 1).expand_as(context)
