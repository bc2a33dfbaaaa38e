"""What a vision encoder is really shown of a picture."""

from __future__ import annotations

import comfy.clip_model
import torch
from torch import Tensor


def encoder_view(clip_vision, pictures: Tensor) -> Tensor:
    """Pictures [B,H,W,3] in 0..1 as the encoder of a CLIP_VISION gets them: its own squares [B,S,S,3] in 0..1."""
    mean, std = clip_vision.image_mean, clip_vision.image_std
    pixels = comfy.clip_model.clip_preprocess(
        pictures, size=clip_vision.image_size, mean=mean, std=std, crop=False
    ).movedim(1, -1)
    return (pixels * torch.tensor(std).to(pixels) + torch.tensor(mean).to(pixels)).clamp(0, 1)
