"""The scene as conditioning and latent, and one call that samples like the host's custom sampler does."""

from __future__ import annotations

import node_helpers
import torch
from comfy_extras.nodes_custom_sampler import BasicScheduler, KSamplerSelect, RandomNoise, SamplerCustomAdvanced
from torch import Tensor

from ...pipelines.pictures.batches import paired
from ...pipelines.pictures.masks import check_mask, touched_cells
from ...pipelines.pictures.scene import check_scene, pad_to_multiple
from ...pipelines.sampling.guidance import Guidance
from .guider import ThreeBranchGuider, check_context, check_latent, check_pix2pix_model

LATENT_CELL = 8  # px per latent cell


def _count(scene: Tensor, mask: Tensor | None, **conditionings) -> int:
    """How many pictures come out. Raises ValueError when the batches do not pair up."""
    counts = {"scenes": len(scene), "masks": 1 if mask is None else len(mask)}
    for name, conditioning in conditionings.items():
        counts[name] = max(len(context) for context, _ in conditioning)
    return paired("Several pictures of one object are joined with views = average or concatenate.", **counts)


def prepare(model, vae, scene: Tensor, positive, negative, guidance: Guidance | None, mask=None, keep_scene=False):
    """(guider, latent) for scenes [B,H,W,C].

    The latent starts empty, or with the scene where the noise must not hide it: under a mask, or at denoise < 1.
    """
    check_pix2pix_model(model)
    check_context(model, positive=positive, negative=negative)
    scene = check_scene(scene)
    mask = None if mask is None else check_mask(mask, *scene.shape[1:3]).clamp(0, 1)
    count = _count(scene, mask, positive=positive, negative=negative)
    encoded = vae.encode(pad_to_multiple(scene, LATENT_CELL))
    check_latent(model, encoded)
    if len(encoded) < count:
        encoded = encoded.repeat(count, 1, 1, 1)
    shown = {"concat_latent_image": encoded}
    guider = ThreeBranchGuider(model, guidance or Guidance())
    guider.set_branches(
        full=node_helpers.conditioning_set_values(positive, shown),
        scene=node_helpers.conditioning_set_values(negative, shown),
        empty=negative,
    )
    latent = {"samples": encoded if keep_scene or mask is not None else torch.zeros_like(encoded)}
    if mask is not None:
        latent["noise_mask"] = touched_cells(mask, LATENT_CELL)
    return guider, latent


def sample(model, guider, latent, seed: int, steps: int, sampler_name: str, scheduler: str, denoise: float):
    """LATENT after sampling; live preview, progress and cancel are the host's."""
    noise = RandomNoise.execute(seed)[0]
    sampler = KSamplerSelect.execute(sampler_name)[0]
    sigmas = BasicScheduler.execute(model, scheduler, steps, denoise)[0]
    return SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, latent)[0]
