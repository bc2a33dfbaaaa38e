"""What is measured: every metric's name, meaning, direction and the backbone it needs.

A metric whose backbone or ground truth is not there is missing, never replaced by another. CLIP-I, DINO and CLIP-T
follow the MagicBrush script (OSU-NLP-Group/MagicBrush, evaluation/image_eval.py), which Paint by Inpaint's tables use;
CMMD follows arXiv 2401.09603. CLIPdir, CLIPout and CLIPim are Emu Edit's (arXiv 2311.10089, section 6), inclusion by a
detector and affordance are Add-it's (arXiv 2411.07232, section 4 and appendix A.4). The masked crops are those of
InsertSet's scripts (dorianzhang7/TVCG-insertion at 1d89c17, eval_tool/clip_score); its paper is IEEE TVCG 10753453.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

# The networks that metrics need, by name: what the folder of each is.
BACKBONES = {
    "clip_b32": "transformers folder of openai/clip-vit-base-patch32",
    "clip_l336": "transformers folder of openai/clip-vit-large-patch14-336",
    "dino": "transformers folder of facebook/dino-vits16",
    "dinov2": "transformers folder of facebook/dinov2-large",
    "lpips": "torch hub folder with torchvision's AlexNet",
    "dreamsim": "dreamsim's cache folder with its ensemble",
    "detector": "transformers folder of IDEA-Research/grounding-dino-base",
}


@dataclass(frozen=True)
class Metric:
    """One column of the report."""

    name: str
    about: str
    better: str = ""  # "higher", "lower", or nothing where neither end is good
    needs: str = ""  # the backbone's name in BACKBONES
    truth: str = ""  # what a case must have: names of `Case.truths`, joined by "and" or by "or"
    ratio: bool = False  # above 0, and averaged as logs: half and double are 1

    def has_truth(self, truths: Set[str]) -> bool:
        """Whether these truths of cases are all that it compares with."""
        if " or " in self.truth:
            return any(truth in truths for truth in self.truth.split(" or "))
        return all(truth in truths for truth in self.truth.split(" and ") if truth)


PLACE = "target or mask"
CAPTIONS = "scene caption and caption"
SHOWN = "picture of the object"
TRUE_PLACE = f"mask and {SHOWN}"
PER_CASE = (
    Metric("l1", "mean absolute difference to the target, 0..1", "lower", truth="target"),
    Metric("l1_inside", "the same inside the true mask", "lower", truth="target and mask"),
    Metric("l1_outside", "the same outside the true mask", "lower", truth="target and mask"),
    Metric("l2", "mean squared difference to the target", "lower", truth="target"),
    Metric("l2_inside", "the same inside the true mask", "lower", truth="target and mask"),
    Metric("l2_outside", "the same outside the true mask", "lower", truth="target and mask"),
    Metric("clip_i", "cosine of CLIP ViT-B/32 features with the target's", "higher", "clip_b32", truth="target"),
    Metric("clip_i_inside", "the same for the true mask's box", "higher", "clip_b32", truth="target and mask"),
    Metric("clip_i_outside", "the same with the true mask painted grey", "higher", "clip_b32", truth="target and mask"),
    Metric("dino", "cosine of DINO ViT-S/16 features with the target's", "higher", "dino", truth="target"),
    Metric("dino_inside", "the same for the true mask's box", "higher", "dino", truth="target and mask"),
    Metric("dino_outside", "the same with the true mask painted grey", "higher", "dino", truth="target and mask"),
    Metric("clip_t", "cosine of CLIP ViT-B/32 features with the caption's", "higher", "clip_b32", truth="caption"),
    Metric("lpips", "LPIPS (AlexNet) to the target", "lower", "lpips", truth="target"),
    Metric("lpips_inside", "the same for the true mask's box, at 256 px", "lower", "lpips", truth="target and mask"),
    Metric("background_l1", "mean absolute difference to the scene outside the common mask", "lower"),
    Metric("background_psnr", "dB to the scene outside the common mask, at most 100", "higher"),
    Metric("background_ssim", "SSIM to the scene outside the common mask", "higher"),
    Metric("background_lpips", "LPIPS (AlexNet) to the scene, the common mask filled from the scene", "lower", "lpips"),
    Metric(
        "clip_dir",
        "CLIPdir: cosine of the pictures' change and the captions' (ViT-B/32)",
        "higher",
        "clip_b32",
        truth=CAPTIONS,
    ),
    Metric("clip_out", "CLIPout: clip_t by Emu Edit's name", "higher", "clip_b32", truth=CAPTIONS),
    Metric(
        "clip_im", "CLIPim: cosine of the result with the scene (ViT-B/32)", "higher", "clip_b32", truth="scene caption"
    ),
    Metric("inclusion", "1 where something object-sized appeared", "higher"),
    Metric(
        "inclusion_detected",
        "1 where the detector finds the subject, and did not find it there in the scene",
        "higher",
        "detector",
        truth="subject",
    ),
    Metric(
        "affordance",
        "share of the subjects so detected that lie in a marked place by half of their area",
        "higher",
        "detector",
        truth="subject and marked place",
    ),
    Metric(
        "affordance_found",
        "1 where the object that appeared lies in a marked place by half of its box; no detector",
        "higher",
        truth="marked place",
    ),
    Metric("placement_iou", "overlap of the object's box with the true one", "higher", truth=PLACE),
    Metric("placement_distance", "between the boxes' centres, share of the diagonal", "lower", truth=PLACE),
    Metric("placement_area", "area of the box over the true one's, 1 is right; mean of logs", truth=PLACE, ratio=True),
    Metric(
        "identity_clip_found",
        "CLIP ViT-B/32 cosine, object picture and box of what appeared",
        "higher",
        "clip_b32",
        truth=SHOWN,
    ),
    Metric("identity_clip_true", "the same for the true box", "higher", "clip_b32", truth=TRUE_PLACE),
    Metric(
        "identity_dinov2_found",
        "DINOv2-L cosine, object picture and box of what appeared",
        "higher",
        "dinov2",
        truth=SHOWN,
    ),
    Metric("identity_dinov2_true", "the same for the true box", "higher", "dinov2", truth=TRUE_PLACE),
    Metric(
        "identity_dreamsim_found",
        "DreamSim, object picture and box of what appeared",
        "lower",
        "dreamsim",
        truth=SHOWN,
    ),
    Metric(
        "masked_clip",
        "100 x cosine of CLIP ViT-B/32 features, what is in the mask on nothing and the reference (InsertSet)",
        "higher",
        "clip_b32",
        truth=TRUE_PLACE,
    ),
    Metric(
        "masked_dinov2",
        "the same of DINOv2 features (InsertSet's are of ViT-g/14)",
        "higher",
        "dinov2",
        truth=TRUE_PLACE,
    ),
    Metric(
        "copy_paste_score",
        "highest correlation of the object picture's pixels with what appeared, -1..1",
        truth=SHOWN,
    ),
    Metric("copy_paste", "1 where what appeared is the object picture's own pixels", "lower", truth=SHOWN),
)
CMMD = Metric("cmmd", "CMMD of all results to all targets (CLIP ViT-L/14-336)", "lower", "clip_l336", truth="target")
