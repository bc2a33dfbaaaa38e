"""How a student learns from runs: to give the guided output at once, or to leap to the end of a step."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ....training.denoising import integers
from ....training.precision import autocast
from ....training.task import Batch, Modules, Task
from ..scale_tokens import ScaleTokens
from .runs import Runs, clean_of

AT_USED_LEVELS = 0.6  # of a leap's samples: those where the student will be asked
MOST_WEIGHT = 5.0  # of an error in clean latents, where the noise is small
LOOKED_AT = 8  # batches of held-out samples


class StudentTask(Task):
    """Trains the low-rank layers of a UNet, and the tokens that say the scales."""

    def __init__(
        self,
        unet: Any,
        scale_tokens: ScaleTokens,
        runs: Runs,
        held_out: Runs,
        levels: Tensor,
        batch: int,
        velocity: bool,
    ):
        """`levels` [T] are the sigmas of the training steps."""
        if not len(runs):
            raise ValueError("There is no run to learn from.")
        self.unet = unet
        self.scale_tokens = scale_tokens
        self.runs = runs
        self.held_out = held_out
        self.levels = levels
        self.batch = batch
        self.velocity = velocity

    def modules(self):
        return {"unet": self.unet, "scale_tokens": self.scale_tokens}

    def draw(self, step: int, generator: torch.Generator) -> Batch:
        return self.draw_from(self.runs, self.batch, generator)

    def draw_from(self, runs: Runs, count: int, generator: torch.Generator) -> Batch:
        """Runs and noise levels."""
        return integers(count, generator, index=len(runs), level=runs.time.shape[1])

    def fetch(self, share: Batch) -> Batch:
        return self.fetch_from(self.runs, share)

    def fetch_from(self, runs: Runs, share: Batch) -> Batch:
        place = share["index"], share["level"]
        batch = {"latent": runs.latent[place].float(), "time": runs.time[place]}
        return share | runs.fetch(share) | batch | self.wanted(runs, share)

    def wanted(self, runs: Runs, share: Batch) -> Batch:
        """What the student is compared with."""
        assert runs.output is not None
        return {"output": runs.output[share["index"], share["level"]].float()}

    def output(self, batch: Batch) -> Tensor:
        """[B,C,h,w] of the student, in one evaluation."""
        context = torch.cat([batch["context"], self.scale_tokens(batch["scales"])], 1)
        inputs = torch.cat([batch["latent"], batch["scene"]], 1)
        return self.unet(inputs, batch["time"], encoder_hidden_states=context).sample.float()

    def error(self, batch: Batch) -> Tensor:
        """[B] of what it gives for a batch."""
        return (self.output(batch) - batch["output"]).square().mean((1, 2, 3))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": self.error(batch).mean()}

    def validate(self, modules: Modules) -> dict[str, float]:
        if not len(self.held_out):
            return {}
        share = self.draw_from(self.held_out, LOOKED_AT * self.batch, torch.Generator().manual_seed(0))
        batch = self.fetch_from(self.held_out, share)
        device = next(self.unet.parameters()).device
        with autocast(device):
            parts = [{name: x.to(device) for name, x in part.items()} for part in _parts(batch, self.batch)]
            errors = [self.error(part) for part in parts]
        return {"error": float(torch.cat(errors).mean())}


class LeapTask(StudentTask):
    """The same for few steps: one step of Euler's method leads from anywhere in a step to the step's end.

    After progressive and consistency distillation (arXiv 2202.00512, 2303.01469): the end is where a run of the teacher
    through the noise levels between has led.
    """

    def __init__(self, *args: Any, inside: int, **settings: Any):
        """`inside`: how many noise levels of a run each step has."""
        super().__init__(*args, **settings)
        self.inside = inside

    def draw_from(self, runs: Runs, count: int, generator: torch.Generator) -> Batch:
        share = super().draw_from(runs, count, generator)
        used = torch.rand(count, generator=generator) < AT_USED_LEVELS
        return share | {"level": torch.where(used, share["level"] // self.inside * self.inside, share["level"])}

    def wanted(self, runs: Runs, share: Batch) -> Batch:
        index, level = share["index"], share["level"]
        end = (level // self.inside + 1) * self.inside
        last = end == runs.time.shape[1]
        sigma = self.levels[runs.time[index, level]]
        below = torch.where(last, 0.0, self.levels[runs.time[index, torch.where(last, 0, end)]])
        sigma, below = (x.float()[:, None, None, None] for x in (sigma, below))
        x = runs.latent[index, level].float() * (1 + sigma**2).sqrt()
        there = runs.latent[index, end].float() * (1 + below**2).sqrt()
        return {"sigma": sigma, "clean": (there - below / sigma * x) / (1 - below / sigma)}

    def error(self, batch: Batch) -> Tensor:
        clean = clean_of(self.output(batch), batch["latent"], batch["sigma"], self.velocity)
        weight = (1 + batch["sigma"].flatten() ** -2).clamp(max=MOST_WEIGHT)
        return F.mse_loss(clean, batch["clean"], reduction="none").mean((1, 2, 3)) * weight


def _parts(batch: Batch, size: int) -> list[Batch]:
    count = len(next(iter(batch.values())))
    return [{name: x[start : start + size] for name, x in batch.items()} for start in range(0, count, size)]
