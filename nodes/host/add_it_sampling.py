"""Add-It from a scene's pixels to latents, in one call that samples as the host's custom sampler does."""

from __future__ import annotations

from dataclasses import dataclass

import node_helpers
import torch
from comfy_extras.nodes_custom_sampler import (
    BasicGuider,
    BasicScheduler,
    CFGGuider,
    DisableNoise,
    KSamplerSelect,
    RandomNoise,
    SamplerCustomAdvanced,
)
from torch import Tensor

from ...pipelines.add_it import stages
from ...pipelines.add_it.blending import refined_mask
from ...pipelines.pictures.checks import check_result
from ...pipelines.pictures.masks import optional_mask
from ...pipelines.pictures.scene import check_scene, crop_to, pad_to_multiple
from .add_it_nodes import blended_between, place_of
from .add_it_run import NOTHING_TO_BLEND, AddItRun, levels

MULTIPLE = 16  # px: what FLUX's tokens and FLUX.2's latent cells measure


def padded(pictures: Tensor) -> Tensor:
    """Pictures [B,H,W,C] of whole tokens and latent cells."""
    return pad_to_multiple(pictures, MULTIPLE)


def encoded(vae, scene: Tensor) -> Tensor:
    """Latents [B,C,h,w] of scenes [B,H,W,C] in 0..1 of any size. Raises ValueError for unusable scenes."""
    return vae.encode(padded(check_scene(scene)))


def padded_mask(mask: Tensor | None, scene: Tensor) -> Tensor | None:
    """A mask [B,H,W] of scenes [B,H,W,C] for their padded pictures; None for none, and for an unpainted one.

    Raises ValueError for another size.
    """
    mask = optional_mask(mask, *scene.shape[1:3])
    return None if mask is None else padded(mask[..., None])[..., 0]


def _decoded(vae, latents: Tensor) -> Tensor:
    check_result(latents, "What was sampled")
    pictures = vae.decode(latents)
    check_result(pictures, "What the VAE decoded")
    return pictures


@dataclass(frozen=True)
class Sampling:
    """How a run samples."""

    seed: int
    steps: int
    cfg: float
    guidance: float  # embedded, of FLUX
    sampler: str
    scheduler: str


def add_to(
    model, vae, scene: Tensor, run: AddItRun, *, positive, negative, sampling: Sampling, refine: bool
) -> tuple[Tensor, Tensor | None]:
    """The pictures [B,H,W,3] of a run, and where it looked for its subject, [B,H,W] in 0..1, if it did.

    With `refine` the run stops at the blend, and the subject's mask is brought to what changed in the picture so far.
    Preview, progress and cancel are the host's. Raises ValueError for a result that is not finite.
    """
    patched = run.patched(model)
    positive = node_helpers.conditioning_set_values(positive, {"guidance": sampling.guidance})
    if sampling.cfg == 1:
        guider = BasicGuider.execute(patched, positive)[0]
    else:
        guider = CFGGuider.execute(patched, positive, negative, sampling.cfg)[0]
    sampler = KSamplerSelect.execute(sampling.sampler)[0]
    sigmas = BasicScheduler.execute(patched, sampling.scheduler, sampling.steps, 1.0)[0]
    run.schedule = sigmas.tolist()
    latent = {"samples": torch.zeros_like(run.source.latents)}
    stop = stages.blend_index(run.schedule, run.settings.blend or 0, levels(_Levels(patched))) if refine else None
    first = sigmas if stop is None else sigmas[: stop + 1]
    noise = RandomNoise.execute(sampling.seed)[0]
    latent, estimate = SamplerCustomAdvanced.execute(noise, guider, sampler, first, latent).args[:2]
    if stop is not None:
        rest = sigmas[stop:]
        if run.map.total is None:
            run.note(NOTHING_TO_BLEND)
        else:
            mask = _refined(run, padded(check_scene(scene)), _decoded(vae, estimate["samples"]))
            latent = latent | {"samples": blended_between(run, patched, latent["samples"], rest, mask)}
        latent = SamplerCustomAdvanced.execute(DisableNoise.execute()[0], guider, sampler, rest, latent)[0]
    pictures = _decoded(vae, latent["samples"])
    height, width = scene.shape[1:3]
    where = None
    if run.map.total is not None:
        where = place_of(run, height=pictures.shape[1], width=pictures.shape[2]).map[:, :height, :width]
    return crop_to(pictures, height, width, MULTIPLE), where


def _refined(run: AddItRun, scene: Tensor, so_far: Tensor) -> Tensor:
    """The subject's masks [B,H,W] brought to what changed between scenes [1|B,H,W,3] and the pictures so far."""
    rough = place_of(run, height=so_far.shape[1], width=so_far.shape[2]).mask
    scenes = scene.expand_as(so_far) if len(scene) == 1 else scene
    masks = [
        refined_mask(mask > 0, before, after.clamp(0, 1))
        for mask, before, after in zip(rough, scenes, so_far, strict=True)
    ]
    return torch.stack(masks).float()


class _Levels:
    """What `levels` reads of a MODEL that is not being sampled: its schedule with other nodes' patches."""

    def __init__(self, model):
        self.model_sampling = model.get_model_object("model_sampling")
