"""What tells a UNet about an object: vision tokens in, and out the context that its cross-attention reads."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from ..encoders.views import join_views, null_beside


class ContextEncoder(nn.Module, ABC):
    """Maps vision tokens [B,T,encoder_width] to a context [B,N,context_width] and carries its null.

    `detail_width` is the width of a second vision encoder's tokens, 0 where none is read.
    """

    null: Tensor  # [N,context_width], what stands for no object
    queries: nn.Parameter | None  # [M,context_width], what asks the vision tokens; None where nothing asks
    spread = 1.0  # standard deviation of queries before training

    def __init__(self, *, encoder_width: int, context_width: int, context_tokens: int, detail_width: int = 0):
        super().__init__()
        self.encoder_width = encoder_width
        self.detail_width = detail_width
        self.register_buffer("null", torch.zeros(context_tokens, context_width))
        self.register_parameter("queries", None)

    @abstractmethod
    def forward(self, features: Tensor, details: Tensor | None = None, queries: Tensor | None = None) -> Tensor:
        """Context [B,N,context_width] of vision tokens [B,T,encoder_width].

        `details` [B,S,detail_width] are a second encoder's tokens, for what was trained with one; `queries`
        [B,M,context_width] replace its own.
        """

    @property
    def context_width(self) -> int:
        return self.null.shape[1]

    def draw_queries(self, count: int, generator: torch.Generator) -> Tensor:
        """Noise [count,M,context_width] to take the place of `queries`, as the authors' code does in every forward."""
        if self.queries is None:
            raise ValueError(f"{type(self).__name__} asks no queries.")
        return self.spread * torch.randn((count, *self.queries.shape), generator=generator)

    def check_tokens(self, features: Tensor, details: Tensor | None = None) -> None:
        """Raise ValueError when tokens [B,T,D], or a second encoder's [B,S,E], are not of the encoders it reads."""
        if features.shape[-1] != self.encoder_width:
            raise ValueError(
                f"This embedding optimizer reads vision tokens of width {self.encoder_width}, but the vision encoder "
                f"gives width {features.shape[-1]}. Load the CLIP vision model it was trained with "
                "(width 1024 is ViT-L/14; the playroom models bring their own)."
            )
        if self.detail_width and details is None:
            raise ValueError(
                f"This embedding optimizer was trained with a second encoder of width {self.detail_width} (1024 is "
                "DINOv2-large). Encode the same pictures with it as well and connect the result to 'detail_output'."
            )
        if details is not None and details.shape[-1] != self.detail_width:
            wanted = f"width {self.detail_width}" if self.detail_width else "none"
            raise ValueError(
                f"The second encoder gives tokens of width {details.shape[-1]}; this embedding optimizer wants "
                f"{wanted}."
            )
        if details is not None and len(details) != len(features):
            raise ValueError(
                f"The second encoder saw {len(details)} pictures, the first {len(features)}: give both the same "
                "pictures."
            )


def object_context(
    encoder: ContextEncoder,
    features: Tensor,
    strength: float = 1.0,
    views: str = "average",
    details: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Contexts (object, null) for the vision tokens [V,T,D] of V pictures, and a second encoder's `details` [V,S,E].

    `views`: "average" and "concatenate" make one object of all pictures, [1,N,C] or [1,V*N,C]; "separate" keeps
    [V,N,C], one object per picture. `strength` moves from the null (0) to the object (1) and beyond.
    Raises ValueError when the tokens are not those of the encoders that `encoder` was trained with.
    """
    encoder.check_tokens(features, details)
    context = join_views(encoder(features, details), views)
    null = null_beside(context, encoder.null)
    return torch.lerp(null, context, strength), null
