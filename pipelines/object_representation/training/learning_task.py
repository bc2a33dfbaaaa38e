"""Learning an object: the noise's error in the context of an exemplar and the object's own tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...training.denoising import DenoisingTask, Weighting, integers
from ...training.task import Batch
from ..attention_changes import AttentionChanges
from .examples import LearningModel, ObjectExamples, Tokens

WEIGHTING = Weighting(region=3.0, region_until=1000)  # as the playroom's Paint by Example was trained


class LearningTask(DenoisingTask):
    """Trains tokens and changes of attention, which must be attached; the UNet stays as it is.

    Targets are views of the object; the exemplar of one is of any view (the reference's cross-view pairs). With
    `others`, half of a batch are pictures of other things, each its own exemplar in the place of all tokens (the
    reference mixes its regularisation 50/50). Of a batch are its own:

        key       shape      range                                          from
        exemplar  [B]        the example whose exemplar is seen             drawn
        other     [B]        bool: of the other things; index is of theirs  drawn
        beside    [B,D,h,w]  what the UNet sees beside the noise            the data
        hole      [B,1,h,w]  bool                                           the data
        context   [B,Q,D]    of the exemplar                                the data
    """

    def __init__(
        self,
        model: LearningModel,
        examples: ObjectExamples,
        tokens: Tokens,
        changes: AttentionChanges | None,
        batch: int,
        *,
        others: ObjectExamples | None = None,
        rates: dict[str, float] | None = None,
    ):
        unet: Any = model.unet
        noise_levels: Any = model.noise_levels
        super().__init__(unet, examples, noise_levels, batch, weighting=WEIGHTING, rates=rates)
        self.examples = examples
        self.tokens = tokens
        self.changes = changes
        self.others = others
        self.shown = model.shown

    def modules(self) -> dict[str, nn.Module]:
        """What is learned alone: the UNet belongs to who runs it."""
        return self.conditioners() | ({} if self.changes is None else {"attention": self.changes})

    def conditioners(self) -> dict[str, nn.Module]:
        return {"tokens": self.tokens}

    def draw(self, step: int, generator: torch.Generator) -> Batch:
        batch = integers(self.batch, generator, index=len(self.examples), exemplar=len(self.examples))
        batch["other"] = torch.zeros(self.batch, dtype=torch.bool)
        if self.others is not None:
            index = integers(self.batch, generator, index=len(self.others))["index"]
            batch["other"] = torch.arange(self.batch) % 2 == 1
            batch["index"] = torch.where(batch["other"], index, batch["index"])
            batch["exemplar"] = torch.where(batch["other"], index, batch["exemplar"])
        return batch | self.draw_noise(generator)

    def fetch(self, share: Batch) -> Batch:
        other = share["other"]
        if self.others is None or not other.any():
            return share | self.examples.fetch(share)
        parts = []
        for examples, chosen in ((self.examples, ~other), (self.others, other)):
            parts.append(examples.fetch({name: share[name][chosen] for name in ("index", "exemplar")}))
        order = torch.cat([(~other).nonzero()[:, 0], other.nonzero()[:, 0]]).argsort()
        return share | {name: torch.cat([part[name] for part in parts])[order] for name in parts[0]}

    def unet_input(self, noisy: Tensor, batch: Batch) -> Tensor:
        return torch.cat([noisy, batch["beside"]], 1)

    def conditioning(self, batch: Batch) -> Tensor:
        """[B,1+N,D]: the exemplar's token and the object's own; of other things the exemplar's alone, as often.

        [B,Q,D] where no exemplar is shown: the object's own, or of other things the exemplar's.
        """
        exemplar = batch["context"]
        own = self.tokens.tokens[None].expand(len(exemplar), -1, -1)
        own = torch.where(batch["other"][:, None, None], exemplar, own)
        return torch.cat([exemplar, own], 1) if self.shown else own

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        context = self.conditioning(batch)
        return self.losses(batch, context=context, conditioning=context, region=batch["hole"].bool())
