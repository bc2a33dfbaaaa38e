"""Whether a subject is in a picture, by an open-vocabulary detector from a transformers folder on this machine.

Add-it's inclusion and affordance (arXiv 2411.07232, section 4 and appendix A.4) are by Grounding-DINO. The paper gives
neither its size and thresholds, nor how what was added is told from what the scene had. Here: the size and the
threshold that the authors' released code has where it grounds a subject, boxes that overlap by half are one, and new is
what overlaps by at most half with each box that was found in the scene.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn
from torchvision.ops import box_iou, clip_boxes_to_image, nms

from ..weights.pretrained import reading
from .cases import Place
from .features import is_published, load_network

THRESHOLD = 0.4  # of a box's score
SAME_OBJECT = 0.5  # overlap from where on two boxes are of one object
FAMILY = ["grounding-dino", "mm-grounding-dino"]
GROUNDING_DINO_BASE = {"embed_dim": 128, "depths": [2, 2, 18, 2], "num_heads": [4, 8, 16, 32]}  # its Swin

Detect = Callable[[Image.Image, str], Sequence[Place]]  # a picture and words to boxes in px, the surest first


@dataclass(frozen=True)
class Detector:
    """A frozen network that finds what words name."""

    network: nn.Module
    processor: Any
    exact: bool  # whether its config is the published network's

    @torch.no_grad()
    def __call__(self, picture: Image.Image, subject: str) -> list[Place]:
        """Boxes inside the picture, the surest first, one for each object."""
        device = next(self.network.parameters()).device
        inputs = self.processor(images=picture.convert("RGB"), text=[[subject.lower()]], return_tensors="pt").to(device)
        outputs = self.network(**inputs)
        size = (picture.height, picture.width)
        found: Any = self.processor.post_process_grounded_object_detection(
            outputs, inputs["input_ids"], threshold=THRESHOLD, target_sizes=[size]
        )[0]
        boxes = clip_boxes_to_image(found["boxes"].float().cpu(), size)
        kept = nms(boxes, found["scores"].float().cpu(), SAME_OBJECT)
        return [(x0, y0, x1, y1) for x0, y0, x1, y1 in boxes[kept].tolist()]


def new_boxes(boxes: Sequence[Place], before: Sequence[Place]) -> list[Place]:
    """Those of the boxes that overlap with none of those from before by more than half, in their order."""
    if not boxes or not before:
        return list(boxes)
    overlaps = box_iou(torch.tensor(boxes), torch.tensor(before)).amax(1)
    return [box for box, overlap in zip(boxes, overlaps.tolist(), strict=True) if overlap <= SAME_OBJECT]


def load_detector(folder: Path, device: str | torch.device = "cpu") -> Detector:
    """Grounding-DINO from a transformers folder, which may store more than the network keeps, such as tables that are
    made anew. Raises FileNotFoundError, ValueError."""
    from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

    network = load_network(AutoModelForZeroShotObjectDetection, FAMILY, folder, device, beside=("",))
    with reading(f"The processor in {folder}"):
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
    return Detector(network, processor, is_published(network.config.backbone_config, GROUNDING_DINO_BASE))
