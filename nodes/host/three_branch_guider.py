"""Three-branch guidance as a host GUIDER, so that stock samplers, sigmas, previews and cancel work with it."""

from __future__ import annotations

import logging

import comfy.sampler_helpers
import comfy.samplers
import node_helpers
from torch import Tensor

from ...pipelines.sampling.guidance import Branch, Guidance, Scales, combine, needed_branches, scales_at
from ...pipelines.sampling.kept_scene import restore_kept
from ...pipelines.sampling.relevance import Relevance
from .students import asked, student_of
from .whole_attention import with_whole_attention

CONDS: dict[Branch, str] = {
    "empty": "negative",
    "scene": "middle",
    "full": "positive",
}  # guidance branch -> the host's name for it

TWO_BRANCH_PATCHES = ("sampler_cfg_function", "sampler_pre_cfg_function", "sampler_calc_cond_batch_function")


def ignored_patches(model_options) -> str:
    """What to tell of patches on a MODEL that are for two-branch CFG and do not apply; "" where there are none."""
    ignored = [name for name in TWO_BRANCH_PATCHES if model_options.get(name)]
    if not ignored:
        return ""
    return (
        f"A node on the model set {', '.join(ignored)}, which is for two-branch CFG and does nothing in three-branch "
        "guidance; use Guidance Control's rescale and intervals."
    )


class ThreeBranchGuider(comfy.samplers.CFGGuider):
    """Evaluates only the branches that count; equals the host's regular dual CFG at constant scales.

    A MODEL that is a student answers for all branches at once. Post-CFG patches get the combined prediction. Patches
    of the CFG function itself are written for two branches: they do not apply, and the log and the nodes say so.
    """

    def __init__(self, model_patcher, guidance: Guidance):
        super().__init__(model_patcher)
        self.model_options = with_whole_attention(self.model_options)
        self.guidance = guidance
        self.student = student_of(model_patcher)
        self.set_cfg(guidance.object_scale)
        self.evaluations = 0  # UNet evaluations of the last run, one per branch and model call
        self.relevance = Relevance()  # of the last run

    def set_branches(self, *, full, scene, empty) -> None:
        """Conditioning of e(I,O), e(I,0) and e(0,0)."""
        scene = node_helpers.conditioning_set_values(scene, {"prompt_type": "negative"})
        self.inner_set_conds({CONDS["full"]: full, CONDS["scene"]: scene, CONDS["empty"]: empty})

    def sample(self, noise, latent_image, sampler, sigmas, denoise_mask=None, **kwargs):
        self.evaluations = 0
        self.relevance = Relevance()
        if self.student:
            self.student.check(self.guidance)
            self.student.check_run(sigmas)
        if ignored := ignored_patches(self.model_options):
            logging.warning("Visual Insertion: %s", ignored)
        samples = super().sample(noise, latent_image, sampler, sigmas, denoise_mask, **kwargs)
        if denoise_mask is None or sigmas[-1:].any():
            return samples
        mask = comfy.sampler_helpers.prepare_mask(denoise_mask, samples.shape, samples.device)
        return restore_kept(samples, latent_image, mask)

    def evaluate(
        self, branches: tuple[Branch, ...], scales: Scales, x, timestep, model_options
    ) -> dict[Branch, Tensor]:
        """The model's clean latents [B,C,h,w] by branch; a student's are those of the scales."""
        conds = [self.conds.get(CONDS[branch]) for branch in branches]
        if self.student:
            conds = [asked(cond, self.student, scales) for cond in conds]
        denoised = comfy.samplers.calc_cond_batch(self.inner_model, conds, x, timestep, model_options)
        self.evaluations += len(branches)
        return dict(zip(branches, denoised, strict=True))

    def predict_noise(self, x, timestep, model_options, seed=None):
        percent_to_sigma = self.inner_model.model_sampling.percent_to_sigma
        sigma = float(timestep.max())
        scales = scales_at(self.guidance, sigma, percent_to_sigma)
        branches = ("full",) if self.student else needed_branches(self.guidance, scales)
        predictions = self.evaluate(branches, scales, x, timestep, model_options)
        self.relevance.add(sigma, percent_to_sigma, predictions)
        guided = predictions["full"] if self.student else combine(self.guidance, scales, predictions)
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
