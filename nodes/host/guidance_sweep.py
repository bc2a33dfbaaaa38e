"""Runs over scales and seeds with one encoded scene: one progress bar, and what runs share is evaluated once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
import torch
from comfy_extras.nodes_custom_sampler import BasicScheduler
from torch import Tensor

from ...pipelines.pictures.checks import check_result
from ...pipelines.sampling.guidance import Branch, Guidance
from .three_branch_guider import ThreeBranchGuider

Report = Callable[[int, Tensor, Tensor, int], None]  # the host's: step, clean and noisy latents, steps in all


class Run(NamedTuple):
    """One picture to be sampled."""

    guidance: Guidance
    seed: int


class First(NamedTuple):
    """A first step: what went in and what came out."""

    x: Tensor
    timestep: Tensor
    predictions: dict[Branch, Tensor]


class SharedFirstGuider(ThreeBranchGuider):
    """Takes the first step's branches from an earlier run that began with the same noise.

    e(0,0), e(I,0) and e(I,O) do not depend on the scales, so at the first step they are the same to the bit. After it
    the latents differ, and nothing is shared.
    """

    def __init__(self, model_patcher, guidance: Guidance):
        super().__init__(model_patcher, guidance)
        self.firsts: dict[tuple[Branch, ...], First] = {}  # by the branches that were evaluated together
        self.begins = False

    def steer(self, guidance: Guidance) -> None:
        """Scales of the next run."""
        self.guidance = guidance
        self.set_cfg(guidance.object_scale)

    def sample(self, noise, latent_image, sampler, sigmas, denoise_mask=None, **kwargs):
        self.begins = True
        return super().sample(noise, latent_image, sampler, sigmas, denoise_mask, **kwargs)

    def evaluate(self, branches: tuple[Branch, ...], x, timestep, model_options) -> dict[Branch, Tensor]:
        if not self.begins:
            return super().evaluate(branches, x, timestep, model_options)
        self.begins = False
        first = self.firsts.get(branches)
        if first is None or not (torch.equal(first.x, x) and torch.equal(first.timestep, timestep)):
            predictions = super().evaluate(branches, x, timestep, model_options)
            first = self.firsts[branches] = First(x.clone(), timestep.clone(), predictions)
        return {branch: prediction.clone() for branch, prediction in first.predictions.items()}


class Sweep:
    """Runs of one guider and latent by one sampler and schedule, under one progress bar for `passes` model calls."""

    def __init__(self, model, guider: SharedFirstGuider, latent, *, steps: int, sampler: str, scheduler: str):
        self.guider = guider
        self.latent = latent
        self.sampler = comfy.samplers.sampler_object(sampler)
        self.sigmas = BasicScheduler.execute(model, scheduler, steps, 1.0)[0]
        self.evaluations = 0
        self.done = 0  # steps
        self.previewer = latent_preview.get_previewer(model.load_device, model.model.latent_format)

    def expect(self, steps: int) -> None:
        """Begin a progress bar over so many steps."""
        self.bar = comfy.utils.ProgressBar(steps)
        self.total = steps

    def finished(self, runs: Sequence[Run]) -> Tensor:
        """Latents [N,C,h,w] of whole runs, each to the bit what the sampler node gives. Raises ValueError."""
        return torch.cat([self._sample(run, self.sigmas)[0] for run in runs])

    def predicted(self, runs: Sequence[Run], steps: int) -> Tensor:
        """The clean latents [N,C,h,w] that the model predicts in the last of so many first steps. Raises ValueError."""
        return torch.cat([self._sample(run, self.sigmas[: steps + 1])[1] for run in runs])

    def _sample(self, run: Run, sigmas: Tensor) -> tuple[Tensor, Tensor]:
        """(the latents of a run, the clean ones that it predicted last)."""
        samples = self.latent["samples"]
        noise = comfy.sample.prepare_noise(samples, run.seed)
        last: dict[str, Any] = {}
        self.guider.steer(run.guidance)
        sampled = self.guider.sample(
            noise,
            samples,
            self.sampler,
            sigmas,
            denoise_mask=self.latent.get("noise_mask"),
            callback=self._report(last),
            disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
            seed=run.seed,
        )
        self.evaluations += self.guider.evaluations
        check_result(sampled, "What was sampled")
        clean = self.guider.model_patcher.model.process_latent_out(last["clean"].cpu())
        return sampled.cpu(), clean

    def _report(self, last: dict[str, Any]) -> Report:
        """What the host's samplers call after each step: shows it, and raises once the run is cancelled."""

        def report(step: int, clean: Tensor, noisy: Tensor, steps: int) -> None:
            last["clean"] = clean
            preview = self.previewer.decode_latent_to_preview_image("JPEG", clean) if self.previewer else None
            self.done += 1
            self.bar.update_absolute(self.done, self.total, preview)

        return report
