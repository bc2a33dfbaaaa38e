"""Runs over scales and seeds with one encoded scene: one progress bar, and what runs share is evaluated once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
import torch
from comfy_extras.nodes_custom_sampler import BasicScheduler
from torch import Tensor

from ...pipelines.pictures.checks import check_result
from ...pipelines.sampling.guidance import Branch, Guidance, Scales
from .pix2pix_sampling import decode, prepare
from .three_branch_guider import ThreeBranchGuider


class Run(NamedTuple):
    """One picture to be sampled."""

    guidance: Guidance
    seed: int


class First(NamedTuple):
    """A first step: what went in and what came out."""

    x: Tensor
    timestep: Tensor
    predictions: dict[Branch, Tensor]


class Shown:
    """What the host's samplers call after each step: previews and progress; raises once the run is cancelled."""

    def __init__(self, previewer, steps: int):
        self.previewer = previewer
        self.bar = comfy.utils.ProgressBar(steps)

    def step(self, step: int, clean: Tensor, noisy: Tensor, steps: int) -> None:
        """One step of a run of so many is done."""
        preview = self.previewer.decode_latent_to_preview_image("JPEG", clean) if self.previewer else None
        self.bar.update_absolute(self.bar.current + 1, preview=preview)


class SharedFirstGuider(ThreeBranchGuider):
    """Takes the first step's branches from an earlier run that began with the same noise.

    e(0,0), e(I,0) and e(I,O) do not depend on the scales, so at the first step they are the same to the bit. After it
    the latents differ, and nothing is shared.
    """

    def __init__(self, model_patcher, guidance: Guidance):
        super().__init__(model_patcher, guidance)
        self.firsts: dict[tuple[Branch, ...], First] = {}  # by the branches that were evaluated together
        self.begins = False
        self.shared = 0  # evaluations that were not made again

    def steer(self, guidance: Guidance) -> None:
        """Scales of the next run."""
        self.guidance = guidance
        self.set_cfg(guidance.object_scale)

    def sample(self, noise, latent_image, sampler, sigmas, denoise_mask=None, **kwargs):
        self.begins = True
        return super().sample(noise, latent_image, sampler, sigmas, denoise_mask, **kwargs)

    def evaluate(
        self, branches: tuple[Branch, ...], scales: Scales, x, timestep, model_options
    ) -> dict[Branch, Tensor]:
        if not self.begins or self.student:  # which is asked for the scales
            return super().evaluate(branches, scales, x, timestep, model_options)
        self.begins = False
        first = self.firsts.get(branches)
        if first is None or not (torch.equal(first.x, x) and torch.equal(first.timestep, timestep)):
            predictions = super().evaluate(branches, scales, x, timestep, model_options)
            first = self.firsts[branches] = First(x.clone(), timestep.clone(), predictions)
        else:
            self.shared += len(branches)
        return {branch: prediction.clone() for branch, prediction in first.predictions.items()}


class Sweep:
    """Runs in one scene by one sampler and schedule."""

    def __init__(
        self, model, vae, scene: Tensor, guider: SharedFirstGuider, latent, *, steps: int, sampler: str, scheduler: str
    ):
        self.vae = vae
        self.scene = scene
        self.guider = guider
        self.latent = latent
        self.sampler = comfy.samplers.sampler_object(sampler)
        self.sigmas = BasicScheduler.execute(model, scheduler, steps, 1.0)[0]
        self.evaluations = 0
        self.previewer = latent_preview.get_previewer(model.load_device, model.model.latent_format)

    @classmethod
    def of(cls, model, vae, scene: Tensor, *, positive, negative, mask: Tensor | None, **settings) -> Sweep:
        """With a scene [1,H,W,C] that is encoded here, once. Raises what `prepare` does, and for several scenes."""
        guider, latent = prepare(
            model,
            vae,
            scene,
            positive=positive,
            negative=negative,
            guidance=None,
            mask=mask,
            keep_scene=False,
            kind=SharedFirstGuider,
        )
        count = len(latent["samples"])
        if count != 1:
            raise ValueError(f"A sweep is of one scene and one object; there are {count}. Run one after the other.")
        return cls(model, vae, scene, guider, latent, **settings)

    @property
    def shared(self) -> int:
        """UNet evaluations that were taken from an earlier run."""
        return self.guider.shared

    def decoded(self, latents: Tensor) -> Tensor:
        """Pictures [N,H,W,3] of latents [N,C,h,w], each to the bit as Decode Scene makes it of the one alone."""
        return torch.cat([decode(self.vae, one, self.scene) for one in latents.split(1)])

    def finished(self, runs: Sequence[Run]) -> Tensor:
        """Latents [N,C,h,w] under one progress bar, each to the bit what the sampler node gives. Raises ValueError."""
        shown = Shown(self.previewer, len(runs) * (len(self.sigmas) - 1))
        by_seed = sorted(range(len(runs)), key=lambda number: runs[number].seed)  # what they share is kept for one seed
        made = {number: self._sample(runs[number], shown) for number in by_seed}
        return torch.cat([made[number] for number in range(len(runs))])

    def _sample(self, run: Run, shown: Shown) -> Tensor:
        """The latents of a run."""
        samples = self.latent["samples"]
        noise = comfy.sample.prepare_noise(samples, run.seed)
        self.guider.steer(run.guidance)
        sampled = self.guider.sample(
            noise,
            samples,
            self.sampler,
            self.sigmas,
            denoise_mask=self.latent.get("noise_mask"),
            callback=shown.step,
            disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
            seed=run.seed,
        )
        self.evaluations += self.guider.evaluations
        check_result(sampled, "What was sampled")
        return sampled.cpu()
