"""What is measured: every metric's name, meaning, direction and the backbone it needs.

A metric whose backbone or ground truth is not there is missing, never replaced by another. CLIP-I, DINO and CLIP-T
follow the MagicBrush script (OSU-NLP-Group/MagicBrush, evaluation/image_eval.py), which Paint by Inpaint's tables use;
CMMD follows arXiv 2401.09603.
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
}


@dataclass(frozen=True)
class Metric:
    """One column of the report."""

    name: str
    about: str
    better: str = ""  # "higher", "lower", or nothing where neither end is good
    needs: str = ""  # the backbone's name in BACKBONES
    truth: str = ""  # what a case must have: "target", "mask", "caption", "target and mask" or "target or mask"

    def has_truth(self, truths: Set[str]) -> bool:
        """Whether these truths, of "target", "mask" and "caption", are all that it compares with."""
        if " or " in self.truth:
            return any(truth in truths for truth in self.truth.split(" or "))
        return all(truth in truths for truth in self.truth.split(" and ") if truth)


PLACE = "target or mask"
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
    Metric("inclusion", "1 where something object-sized appeared", "higher"),
    Metric("placement_iou", "overlap of the box of what appeared with the true one", "higher", truth=PLACE),
    Metric("placement_distance", "between the boxes' centres, share of the diagonal", "lower", truth=PLACE),
    Metric("placement_area", "area of the box of what appeared over the true one's, 1 is right", truth=PLACE),
    Metric(
        "identity_clip_found", "CLIP ViT-B/32 cosine, object picture and box of what appeared", "higher", "clip_b32"
    ),
    Metric("identity_clip_true", "the same for the true box", "higher", "clip_b32", truth="mask"),
    Metric("identity_dinov2_found", "DINOv2-L cosine, object picture and box of what appeared", "higher", "dinov2"),
    Metric("identity_dinov2_true", "the same for the true box", "higher", "dinov2", truth="mask"),
    Metric("identity_dreamsim_found", "DreamSim, object picture and box of what appeared", "lower", "dreamsim"),
    Metric("copy_paste_score", "highest correlation of the object picture's pixels with what appeared, -1..1"),
    Metric("copy_paste", "1 where what appeared is the object picture's own pixels", "lower"),
)
CMMD = Metric("cmmd", "CMMD of all results to all targets (CLIP ViT-L/14-336)", "lower", "clip_l336", truth="target")
