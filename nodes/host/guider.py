"""Three-branch guidance as a host GUIDER, so that stock samplers, sigmas, previews and cancel work with it."""

from __future__ import annotations

import logging

import comfy.sampler_helpers
import comfy.samplers
import node_helpers
import torch

from ...pipelines.sampling.guidance import Guidance, combine, needed_branches, scales_at
from ...pipelines.sampling.kept_scene import restore_kept

CONDS = {"empty": "negative", "scene": "middle", "full": "positive"}  # guidance branch -> the host's name for it

TWO_BRANCH_PATCHES = ("sampler_cfg_function", "sampler_pre_cfg_function", "sampler_calc_cond_batch_function")


class ThreeBranchGuider(comfy.samplers.CFGGuider):
    """Evaluates only the branches that count; equals the host's regular dual CFG at constant scales.

    Post-CFG patches get the combined prediction. Patches of the CFG function itself are written for two branches: they
    do not apply, and the log says so.
    """

    def __init__(self, model_patcher, guidance: Guidance):
        super().__init__(model_patcher)
        self.guidance = guidance
        self.set_cfg(guidance.object_scale)
        self.evaluations = 0  # UNet evaluations of the last run, one per branch and model call

    def set_branches(self, full, scene, empty) -> None:
        """Conditioning of e(I,O), e(I,0) and e(0,0)."""
        scene = node_helpers.conditioning_set_values(scene, {"prompt_type": "negative"})
        self.inner_set_conds({CONDS["full"]: full, CONDS["scene"]: scene, CONDS["empty"]: empty})

    def sample(self, noise, latent_image, sampler, sigmas, denoise_mask=None, **kwargs):
        self.evaluations = 0
        if unheard := [name for name in TWO_BRANCH_PATCHES if self.model_options.get(name)]:
            logging.warning(
                f"Visual Insertion: a node on the model set {', '.join(unheard)}, which is for two-branch CFG and does "
                "nothing in three-branch guidance; use Guidance Control's rescale and intervals."
            )
        samples = super().sample(noise, latent_image, sampler, sigmas, denoise_mask, **kwargs)
        if denoise_mask is None or sigmas[-1:].any():
            return samples
        mask = comfy.sampler_helpers.prepare_mask(denoise_mask, samples.shape, samples.device)
        return restore_kept(samples, latent_image, mask)

    def predict_noise(self, x, timestep, model_options, seed=None):
        percent_to_sigma = self.inner_model.model_sampling.percent_to_sigma
        scales = scales_at(self.guidance, float(timestep.max()), percent_to_sigma)
        branches = needed_branches(self.guidance, scales)
        conds = {branch: self.conds.get(CONDS[branch]) for branch in branches}
        out = comfy.samplers.calc_cond_batch(self.inner_model, list(conds.values()), x, timestep, model_options)
        self.evaluations += len(branches)
        predictions = dict(zip(branches, out, strict=True))
        guided = combine(self.guidance, scales, predictions)
        weaker = predictions.get("scene", predictions.get("empty", guided))
        for patch in model_options.get("sampler_post_cfg_function", []):
            guided = patch(
                {
                    "denoised": guided,
                    "cond": self.conds.get("positive"),
                    "uncond": self.conds.get("middle"),
                    "cond_scale": scales.object,
                    "cond_denoised": predictions.get("full", guided),
                    "uncond_denoised": weaker,
                    "model": self.inner_model,
                    "sigma": timestep,
                    "model_options": model_options,
                    "input": x,
                }
            )
        return guided


def check_pix2pix_model(model) -> None:
    """Raise ValueError when MODEL cannot take a scene beside the noise."""
    config = model.model.model_config.unet_config
    found = config.get("in_channels")
    wanted = 2 * model.model.latent_format.latent_channels
    if found == wanted:
        return
    kind = {4: "a text-to-image model", 9: "an inpainting model"}.get(found, "another kind of model")
    raise ValueError(
        f"This sampler needs an InstructPix2Pix model whose UNet takes {wanted} channels (noise and scene); the one "
        f"connected takes {found}, which is {kind}. Use instruct-pix2pix-00-22000.safetensors (stock checkpoint "
        "loader), a Paint by Inpaint UNet, or the Playroom Models node."
    )


def check_latent(model, encoded: torch.Tensor) -> None:
    """Raise ValueError when a scene's latent comes from a VAE of another kind of model."""
    wanted = model.model.latent_format.latent_channels
    if encoded.ndim != 4 or encoded.shape[1] != wanted:
        raise ValueError(
            f"The VAE gives latents of shape {tuple(encoded.shape)}, but this model works on {wanted} channels. "
            "Connect the VAE that belongs to the model."
        )


def check_context(model, **conditionings) -> None:
    """Raise ValueError when a conditioning is empty, not finite, or of another width than the UNet's context."""
    wanted = model.model.model_config.unet_config.get("context_dim")
    for name, conditioning in conditionings.items():
        if not conditioning:
            raise ValueError(f"'{name}' is an empty conditioning; connect the Embedding Optimizer's {name}.")
        for context, _ in conditioning:
            if context is None:
                raise ValueError(f"'{name}' holds no embedding; connect the Embedding Optimizer's {name}.")
            if wanted is not None and context.shape[-1] != wanted:
                raise ValueError(
                    f"'{name}' has width {context.shape[-1]}, but this model's cross-attention reads width {wanted} "
                    "(768 is SD1.5, 128 the playroom). The embedding optimizer and the model do not belong together."
                )
            if not torch.isfinite(context).all():
                raise ValueError(f"'{name}' holds values that are not finite (NaN or infinity).")
