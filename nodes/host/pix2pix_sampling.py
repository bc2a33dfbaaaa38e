"""The scene as conditioning and latent, and one call that samples like the host's custom sampler does."""

from __future__ import annotations

import node_helpers
import torch
from comfy_extras.nodes_custom_sampler import BasicScheduler, KSamplerSelect, RandomNoise, SamplerCustomAdvanced
from torch import Tensor

from ...pipelines.pictures.batches import paired
from ...pipelines.pictures.checks import check_result
from ...pipelines.pictures.masks import optional_mask, touched_cells
from ...pipelines.pictures.scene import CELL, check_scene, crop_to, pad_to_multiple
from ...pipelines.sampling.guidance import Guidance
from ...pipelines.sampling.kept_encodings import made_once
from ...pipelines.sampling.speed import SPEEDS, UNMEASURED, Presets, Run
from ...pipelines.weights.layouts import kind_of
from .conditionings import EMBEDDING_OPTIMIZER, batch_size, check_contexts, check_makers
from .students import student_of
from .three_branch_guider import ThreeBranchGuider

SD15_SIZE = 512  # px


def prepare(
    model,
    vae,
    scene: Tensor,
    *,
    positive,
    negative,
    guidance: Guidance | None,
    mask: Tensor | None,
    keep_scene: bool,
    kind: type[ThreeBranchGuider] = ThreeBranchGuider,
):
    """(guider, LATENT) for scenes [B,H,W,C] in 0..1 and masks [B,H,W] or [H,W] of where the object may appear.

    An unpainted mask counts as none. The latent starts empty, or with the scene where the noise must not hide it:
    under a mask, or at denoise < 1. The guider is of this `kind`.
    Raises ValueError for parts that do not belong together, unusable scenes and masks, and batches that do not pair up.
    """
    _check_model(model)
    check_contexts(model, positive=positive, negative=negative)
    check_makers("this model", EMBEDDING_OPTIMIZER, positive=positive, negative=negative)
    scene = check_scene(scene)
    mask = optional_mask(mask, *scene.shape[1:3])
    count = paired(
        "Several pictures of one object are joined with views = average or concatenate.",
        scenes=len(scene),
        masks=1 if mask is None else len(mask),
        positive=batch_size(positive),
        negative=batch_size(negative),
    )
    scene_latents = made_once(vae, "latents", pad_to_multiple(scene, CELL), vae.encode)
    _check_latents(model, scene_latents)
    if len(scene_latents) < count:
        scene_latents = scene_latents.repeat(count, 1, 1, 1)
    beside_noise = {"concat_latent_image": scene_latents}
    guider = kind(model, guidance or Guidance())
    guider.set_branches(
        full=node_helpers.conditioning_set_values(positive, beside_noise),
        scene=node_helpers.conditioning_set_values(negative, beside_noise),
        empty=negative,
    )
    starts_with_scene = keep_scene or mask is not None
    latent = {"samples": scene_latents if starts_with_scene else torch.zeros_like(scene_latents)}
    if mask is not None:
        latent["noise_mask"] = touched_cells(mask, CELL)
    return guider, latent


def _check_model(model) -> None:
    """Raise ValueError when MODEL cannot take a scene beside the noise."""
    channels = model.model.model_config.unet_config.get("in_channels")
    needed = 2 * model.model.latent_format.latent_channels
    if channels != needed:
        raise ValueError(
            f"This sampler needs an InstructPix2Pix model whose UNet takes {needed} channels (noise and scene); the "
            f"one connected takes {channels}, which is {kind_of(channels)}. Use instruct-pix2pix-00-22000.safetensors "
            "(stock checkpoint loader), a Paint by Inpaint UNet, or the Playroom Models node."
        )


def working_size_of(model) -> int:
    """The side in px of the pictures that a MODEL was trained on: its latent format's, or Stable Diffusion 1.5's."""
    return getattr(model.model.latent_format, "working_size", SD15_SIZE)


def presets_of(model) -> Presets:
    """What a speed is on a MODEL: a student's own run, its latent format's presets, or a guess for weights of SD1.5."""
    if student := student_of(model):
        return dict.fromkeys(SPEEDS[1:], student.preset)
    return getattr(model.model.latent_format, "presets", UNMEASURED)


def _check_latents(model, latents: Tensor) -> None:
    """Raise ValueError when a scene's latents come from a VAE of another kind of model."""
    channels = model.model.latent_format.latent_channels
    if latents.ndim != 4 or latents.shape[1] != channels:
        raise ValueError(
            f"The VAE gives latents of shape {tuple(latents.shape)}, but this model works on {channels} channels. "
            "Connect the VAE that belongs to the model."
        )


def sample(model, guider, latent, run: Run, *, seed: int, denoise: float):
    """LATENT after sampling; live preview, progress and cancel are the host's.

    Raises ValueError for a result that is not finite.
    """
    sampled = SamplerCustomAdvanced.execute(
        noise=RandomNoise.execute(seed)[0],
        guider=guider,
        sampler=KSamplerSelect.execute(run.sampler)[0],
        sigmas=_sigmas(model, run, denoise),
        latent_image=latent,
    )[0]
    check_result(sampled["samples"], "What was sampled")
    return sampled


def _sigmas(model, run: Run, denoise: float) -> Tensor:
    """The noise levels of a run; of a student's own, those that it knows."""
    student = student_of(model)
    if student and run == student.preset:
        return student.sigmas(denoise)
    return BasicScheduler.execute(model, run.scheduler, run.steps, denoise)[0]


def decode(vae, latents: Tensor, scene: Tensor) -> Tensor:
    """Pictures [N,H,W,3] of latents [N,C,h,w], of the size of a scene [B,H,W,C]. Raises ValueError where not finite."""
    check_result(latents, "The latent")
    pictures = vae.decode(latents)
    check_result(pictures, "What the VAE decoded")
    return crop_to(pictures, scene.shape[1], scene.shape[2])


def relevance_of(guider: ThreeBranchGuider, latent, scene: Tensor) -> Tensor:
    """Where the object mattered in the guider's last run: [B,H,W] in 0..1, of the size of a scene [B,H,W,C]."""
    shape = (len(latent["samples"]), *scene.shape[1:3])
    return guider.relevance.masks(shape, CELL, latent.get("noise_mask"))
