"""The weight gamma at which the prompt attends to source and target alike, found within one forward pass.

Add-it, arXiv 2411.07232, section 3.2: with A_source = exp(Q_text K_source) / Z and A_target = exp(gamma Q_text
K_target) / Z, the root of f(gamma) = A_source - A_target. The paper solves it on a validation set and fixes 1.05. Only
the text queries count, and a factor on keys is a factor on logits: all gammas are tried on the logits of one pass, some
queries at a time. What a pass at another gamma would change in later layers' queries is left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

LOWEST = 1.0  # below it the source wins outright: the paper's figure 7 begins there
HIGHEST = 1.2  # and ends here, where the scene's structure is lost
GAMMAS = tuple(LOWEST + (HIGHEST - LOWEST) * step / 20 for step in range(21))
CHUNK = 32  # text queries at a time: 24 heads x 32 x 8,704 keys are 27 MB in float32


def group_masses(
    query: Tensor, key: Tensor, source_key: Tensor, *, text_length: int, gammas: Sequence[float] = GAMMAS
) -> Tensor:
    """The attention mass of text queries on source and target image tokens, [B,2,G] float32: the mean of all heads.

    `query` [B,heads,T,D] are the text queries that count, `key` [B,heads,N,D] the target's text and image keys,
    `source_key` [B,heads,M,D] the source's image keys, all after RoPE and none scaled. What is left to 1 lies on text.
    """
    scale = query.shape[-1] ** -0.5
    total = torch.zeros(len(query), 2, len(gammas), device=query.device)
    for part in query.float().split(CHUNK, 2):
        part = part * scale
        source = torch.logsumexp(part @ source_key.float().transpose(-1, -2), -1)
        logits = part @ key.float().transpose(-1, -2)
        for column, gamma in enumerate(gammas):
            scaled = logits * gamma
            target = torch.logsumexp(scaled[..., text_length:], -1)
            everything = torch.logaddexp(source, torch.logsumexp(scaled, -1))
            total[:, 0, column] += (source - everything).exp().sum(-1).mean(1)
            total[:, 1, column] += (target - everything).exp().sum(-1).mean(1)
    return total / query.shape[2]


def balanced_gamma(masses: Tensor, gammas: Sequence[float] = GAMMAS) -> Tensor:
    """The gamma [B] at which target and source draw equal masses [B,2,G], between the first and the last of `gammas`.

    The first change of sign of A_source - A_target, on straight lines between the gammas that were tried. Where there
    is none, the end at which the two differ less. Raises ValueError for masses that are not finite.
    """
    if not masses.isfinite().all():
        raise ValueError("The attention has values that are not finite: no gamma balances it.")
    factors = torch.tensor(gammas)
    plain = masses.cpu()
    difference = plain[:, 0] - plain[:, 1]  # falls with gamma where logits are positive
    return torch.stack([_root(row, factors) for row in difference]).to(masses.device)


def _root(difference: Tensor, factors: Tensor) -> Tensor:
    changes = (difference[:-1].sign() != difference[1:].sign()).nonzero()
    if not len(changes):
        nearest = 0 if difference[0].abs() <= difference[-1].abs() else -1
        return factors[nearest]
    first = int(changes[0])
    low, high = difference[first], difference[first + 1]
    return torch.lerp(factors[first], factors[first + 1], low / (low - high))


class GammaBalance:
    """The masses of the layers of one pass, summed, and the gamma that balances them."""

    def __init__(self, gammas: Sequence[float] = GAMMAS):
        self.gammas = tuple(gammas)
        self.total: Tensor | None = None  # [B,2,G]

    def add(self, query: Tensor, key: Tensor, source_key: Tensor, *, text_length: int) -> None:
        """Count a layer; the arguments are those of `group_masses`."""
        masses = group_masses(query, key, source_key, text_length=text_length, gammas=self.gammas)
        self.total = masses if self.total is None else self.total + masses

    def gamma(self) -> Tensor:
        """The balanced gamma [B]. Raises ValueError where no layer was counted."""
        if self.total is None:
            raise ValueError("No layer was looked at yet, so there is nothing to balance.")
        return balanced_gamma(self.total, self.gammas)
