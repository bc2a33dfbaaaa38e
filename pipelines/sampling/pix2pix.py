"""Sampling on an InstructPix2Pix UNet without ComfyUI, whatever tells it about the object.

Three things are ours, everything else is diffusers': the guidance sits inside the UNet (`GuidedUNet`), the Euler
schedulers follow the host's noise levels (`make_schedule`), and seeds draw the noise the host draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    StableDiffusionInstructPix2PixPipeline,
    UNet2DConditionModel,
)
from torch import Tensor, nn

from ..pictures.batches import paired
from ..pictures.files import Picture, mask_tensor, picture_tensor
from ..pictures.masks import optional_mask, touched_cells
from ..pictures.scene import check_scene, crop_to, pad_to_multiple
from ..weights.configs import count_in, read_json
from ..weights.layouts import kind_of
from ..weights.pretrained import load_model, present, reading
from .guidance import Branch, Guidance, combine, needed_branches, scales_at
from .kept_scene import KeptScene, restore_kept
from .latents import Callback, Sampled, decode, encode, first_noise, step_generators
from .one_evaluation import OneEvaluation
from .relevance import Relevance
from .schedulers import Schedule, make_schedule, percent_to_sigma, read_scheduler, spread_sigmas, training_levels
from .speed import EXACT, UNMEASURED, Presets, Run, chosen

DEFAULT = Guidance()
FACTS = "playroom.json"  # beside a folder's models: what the layout has no place for
PARTS = ("unet/config.json", "vae/config.json", "scheduler/scheduler_config.json")


class GuidedUNet(nn.Module):
    """To diffusers' pipeline a UNet that needs no guidance; inside, the branches that count and `combine`.

    diffusers' own guidance is the same formula, but always three branches, without intervals and rescale, and off at
    an object scale of 1 or less. The branches are combined as denoised latents, like in the host: the spread that a
    rescale measures depends on it. Sampling stays in float32 whatever the UNet's own precision.
    """

    dtype = torch.float32

    def __init__(
        self,
        unet: UNet2DConditionModel,
        *,
        null: Tensor,
        guidance: Guidance,
        prediction_type: str,
        levels: Tensor,
        sigma_at: Callable[[Tensor], float],
        embeds: tuple[Tensor, Tensor] | None = None,
        kept: KeptScene | None = None,
        student: OneEvaluation | None = None,
    ):
        """`null` [B,N,D]; `embeds` (object, null) [B,V,...] are an IP-Adapter's, for a UNet that has one.

        `kept` is the scene where only a mask may change. `student` is what the UNet was made into, if it was.
        """
        super().__init__()
        self.unet = unet
        self.precision = unet.dtype  # diffusers looks through all modules each time it is asked
        self.config = unet.config
        self.device = unet.device
        self.null = null
        self.guidance = guidance
        self.velocity = prediction_type == "v_prediction"
        self.levels = levels
        self.sigma_at = sigma_at
        self.embeds = embeds
        self.kept = kept
        self.student = student
        self.evaluations = 0  # one per branch and step
        self.relevance = Relevance()

    def forward(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor, return_dict=False, **kwargs):
        """Noisy and scene latents [B,2C,h,w], a timestep, object contexts [B,N,D] -> guided output ([B,C,h,w],)."""
        latents, scene = sample.chunk(2, dim=1)
        sigma = self.sigma_at(timestep)
        signal = (1 + sigma**2) ** -0.5  # noisy = signal * clean + signal * sigma * noise
        level_of = partial(percent_to_sigma, self.levels)
        scales = scales_at(self.guidance, sigma, level_of)
        branches = needed_branches(self.guidance, scales)
        if self.student:
            branches = ("full",)
            encoder_hidden_states = self.student.context(encoder_hidden_states, scales)

        noisy = self.kept.noised(latents, sigma, signal) if self.kept else latents
        scenes = [torch.zeros_like(scene) if branch == "empty" else scene for branch in branches]
        inputs = torch.cat([torch.cat([noisy, one], 1) for one in scenes]).to(self.precision)
        contexts = torch.cat([encoder_hidden_states if branch == "full" else self.null for branch in branches])
        if self.embeds:
            object_embeds, null_embeds = self.embeds
            embeds = [object_embeds if branch == "full" else null_embeds for branch in branches]
            embeds = torch.cat([one.expand(len(noisy), *one.shape[1:]) for one in embeds])
            kwargs["added_cond_kwargs"] = {"image_embeds": [embeds.to(inputs)]}
        contexts = contexts.to(self.precision)
        outputs = self.unet(inputs, timestep, encoder_hidden_states=contexts, **kwargs, return_dict=False)[0].float()
        self.evaluations += len(branches)

        of_noisy, of_clean = (signal, 1.0) if self.velocity else (1.0, signal)
        predictions: dict[Branch, Tensor] = {
            branch: (of_noisy * noisy - signal * sigma * output) / of_clean
            for branch, output in zip(branches, outputs.chunk(len(branches)), strict=True)
        }
        self.relevance.add(sigma, level_of, predictions)
        clean = predictions["full"] if self.student else combine(self.guidance, scales, predictions)
        if self.kept:
            clean = self.kept.predicted(clean)
        return ((of_noisy * latents - of_clean * clean) / (signal * sigma),)


@dataclass(frozen=True)
class Insertion(Sampled):
    """What one call gives."""

    unet_evaluations: int  # one per branch and step
    relevance: Tensor  # [B,H,W] float32 on the CPU, 0..1: where the object mattered to the model (relevance.py)


class GuidedPix2Pix:
    """diffusers' InstructPix2Pix with our guidance, noise levels and noise.

    `pipeline` is diffusers' own: load LoRAs there, move it, look at it. A `student` is what its UNet was made into: it
    has noise levels and a sampler of its own.
    """

    student: OneEvaluation | None = None

    def __init__(
        self,
        pipeline: StableDiffusionInstructPix2PixPipeline,
        guidance: Guidance = DEFAULT,
        presets: Presets = UNMEASURED,
    ):
        """`guidance` is the default of every call, `presets` say what a speed is on these models.

        Raises ValueError for models of another kind.
        """
        check_pix2pix(pipeline.unet.config.in_channels, pipeline.vae.config.latent_channels)
        if pipeline.scheduler.config.prediction_type not in ("epsilon", "v_prediction"):
            raise ValueError(f"Prediction type '{pipeline.scheduler.config.prediction_type}' is not known here.")
        self.pipeline = pipeline
        self.guidance = guidance
        self.presets = presets
        self.levels = training_levels(pipeline.scheduler)

    @property
    def networks(self) -> list[nn.Module]:
        """All that a result depends on."""
        return [self.pipeline.unet, self.pipeline.vae]

    @property
    def native_size(self) -> int:
        """Side of the pictures the UNet was trained on, px; 512 where its config does not say."""
        return (self.pipeline.unet.config.sample_size or 64) * self.pipeline.vae_scale_factor

    @torch.no_grad()
    def sample(
        self,
        scene: Picture,
        context: Tensor,
        null: Tensor,
        guidance: Guidance | None = None,
        *,
        steps: int = 20,
        seed: int | Sequence[int] = 0,
        sampler: str = "euler_ancestral",
        scheduler: str = "normal",
        speed: str = EXACT,
        sigmas: Tensor | None = None,
        latents: Tensor | None = None,
        mask: Picture | None = None,
        denoise: float = 1.0,
        embeds: tuple[Tensor, Tensor] | None = None,
        callback: Callback | None = None,
    ) -> Insertion:
        """Insert what `context` [B,N,D] says into a scene of any size; `null` [B,N,D] says nothing.

        `sampler` is one of SAMPLERS. The Euler ones follow `sigmas` [N+1], by default those of `scheduler`, one of
        SPREADS, for `steps`. A `speed` other than "exact" decides these three, and perhaps the scene's scale, itself,
        by the models' `presets`; so does a student, whatever the speed. `latents` [B,C,h,w] is unit-variance noise in
        place of the one `seed` draws; with B seeds every picture has the noise that it would have alone. With a `mask`
        [H,W] or [B,H,W] in 0..1 the object may only appear where it is 1; latents of cells outside stay the scene's; an
        unpainted mask counts as none. A `denoise` below 1 starts from the noised scene, at that share of the noise
        levels. `embeds`, (object, null) [B,V,...], are for a UNet with an IP-Adapter. `callback(done, total, latents)`
        may raise to cancel. Batches pair up: one of each, or equally many.

        Raises ValueError for unusable scenes or settings, and batches that do not pair up.
        """
        run = Run(sampler, scheduler, steps)
        guidance = guidance or self.guidance
        preset = chosen(speed, self.presets)
        if preset and sigmas is not None:
            raise ValueError(f"The speed {speed} sets the noise levels itself: leave out the sigmas.")
        share = denoise
        if self.student:
            self.student.check(guidance)
            preset = self.student.preset
            if sigmas is None:
                sigmas, share = self.student.sigmas(denoise), 1.0
            self.student.check_run(sigmas)
        if preset:
            run = preset
            guidance = preset.guided(guidance)
        schedule = self._schedule(run, sigmas, share)
        scene = check_scene(picture_tensor(scene))
        height, width = scene.shape[1:3]
        free = None if mask is None else optional_mask(mask_tensor(mask), height, width)
        count = paired(scenes=len(scene), objects=len(context), masks=1 if free is None else len(free))

        vae = self.pipeline.vae
        cell = self.pipeline.vae_scale_factor  # px per latent cell
        scene_latents = encode(vae, pad_to_multiple(scene, cell)).expand(count, -1, -1, -1)
        clean = scene_latents * vae.config.scaling_factor
        noise = first_noise(latents, scene_latents, seed)
        kept = None if free is None else KeptScene(clean, noise, touched_cells(free, cell).to(noise))
        start = noise + clean / schedule.noise_scale() if kept or denoise < 1 else noise

        unet = GuidedUNet(
            self.pipeline.unet,
            null=null.expand(count, -1, -1).to(noise),
            guidance=guidance,
            prediction_type=self.pipeline.scheduler.config.prediction_type,
            levels=self.levels,
            sigma_at=schedule.sigma_at,
            embeds=embeds,
            kept=kept,
            student=self.student,
        )
        context = context.expand(count, -1, -1).float()
        sampled = self._run(unet, schedule, start, scene_latents, context, seed=seed, callback=callback)
        sampled = sampled / vae.config.scaling_factor
        if kept and (sigmas is None or not sigmas[-1]):
            sampled = restore_kept(sampled, scene_latents, kept.mask)
        images = crop_to(decode(vae, sampled), height, width, cell)
        relevance = unet.relevance.masks((count, height, width), cell, kept.mask if kept else None)
        return Insertion(images.cpu(), sampled.cpu(), unet.evaluations, relevance)

    def _schedule(self, run: Run, sigmas: Tensor | None, denoise: float) -> Schedule:
        """A run's schedule over `sigmas` [N+1], or over noise levels of its own and a share of them, `denoise`."""
        if denoise != 1 and sigmas is not None:
            raise ValueError("Give the noise levels (sigmas) or a denoise below 1, not both.")
        if sigmas is None and (denoise != 1 or run.scheduler != "normal"):
            sigmas = spread_sigmas(self.levels, run.scheduler, run.steps, denoise)
        return make_schedule(run.sampler, self.pipeline.scheduler.config, self.levels, run.steps, sigmas=sigmas)

    def _run(
        self,
        unet: GuidedUNet,
        schedule: Schedule,
        start: Tensor,
        scene_latents: Tensor,
        context: Tensor,
        *,
        seed: int | Sequence[int],
        callback: Callback | None,
    ) -> Tensor:
        """Latents [B,C,h,w], scaled, from those of the start by all steps in diffusers' own loop."""
        guided = _pix2pix(unet=unet, vae=self.pipeline.vae, scheduler=schedule.scheduler)
        guided.set_progress_bar_config(disable=True)

        def report(_, step, __, tensors):
            if callback:
                callback(step + 1, schedule.steps, tensors["latents"])
            return {}

        return guided(
            image=scene_latents,
            prompt_embeds=context,
            guidance_scale=1.0,  # off: GuidedUNet does it
            num_inference_steps=schedule.steps,
            latents=start,
            generator=step_generators(seed, start.device),
            callback_on_step_end=report,
            output_type="latent",
        ).images


def check_folder(folder: Path) -> None:
    """Raise FileNotFoundError unless a folder has the configs that `load_pix2pix` needs, ValueError unless they fit."""
    needed = "a diffusers InstructPix2Pix folder (unet, vae, scheduler)"
    unet, vae, scheduler = (present(folder / name, needed) for name in PARTS)
    channels = count_in(read_json(unet), "in_channels", unet)
    check_pix2pix(channels, count_in(read_json(vae), "latent_channels", vae))
    read_scheduler(scheduler)


def load_pix2pix(
    folder: Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> StableDiffusionInstructPix2PixPipeline:
    """diffusers' pipeline of a folder's unet, vae and scheduler.

    Raises FileNotFoundError naming what is missing, ValueError for unreadable weights or another kind of UNet.
    """
    check_folder(folder)  # before gigabytes are read
    models = dict(
        unet=load_model(UNet2DConditionModel, folder / "unet", dtype),
        vae=load_model(AutoencoderKL, folder / "vae", dtype),
        scheduler=EulerDiscreteScheduler.from_config(read_scheduler(folder / PARTS[-1])),
    )
    return _pix2pix(**models).to(device)


def guidance_in(folder: Path) -> Guidance:
    """The guidance that a folder's playroom.json recommends, or the default."""
    facts = folder / FACTS
    if not facts.is_file():
        return DEFAULT
    with reading(str(facts)):
        return Guidance(**read_json(facts)["guidance"])


def check_pix2pix(channels: int, latent_channels: int) -> None:
    """Raise ValueError unless a UNet of so many input channels takes a scene beside the noise."""
    if channels != 2 * latent_channels:
        raise ValueError(
            f"The UNet takes {channels} input channels, which is {kind_of(channels)}; an "
            f"InstructPix2Pix UNet takes {2 * latent_channels} (noise and scene). Use paint-by-inpaint/add-base, "
            "instruct-pix2pix, or the playroom models."
        )


def _pix2pix(**models: Any) -> Any:
    """diffusers' pipeline of these models, without a text encoder."""
    absent: dict[str, Any] = dict(text_encoder=None, tokenizer=None, safety_checker=None, feature_extractor=None)
    return StableDiffusionInstructPix2PixPipeline(**models, **absent, requires_safety_checker=False)
