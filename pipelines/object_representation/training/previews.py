"""What an object looks like so far: painted into one scene, always with the same noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...paint_by_example.inpainting import guided
from ...pictures.masks import box_mask
from ...training.noise_levels import NoiseLevels
from ..learned_object import LearnedObject
from .examples import LearningModel
from .views import View

STEPS = 10
GUIDANCE = 3.0


@dataclass(frozen=True)
class PreviewScene:
    """A scene and where the object is to be, as the UNet sees them beside the noise."""

    beside: Tensor  # [1,D,h,w]
    shape: tuple[int, ...]  # [1,C,h,w] of the noise

    @classmethod
    @torch.no_grad()
    def of(cls, model: LearningModel, scene: Tensor, mask: Tensor) -> PreviewScene:
        """Of a scene [1,H,W,3] in 0..1, sides multiples of 8, and a binary mask [1,H,W]."""
        pictures = scene.movedim(-1, 1)
        return cls(model.beside(pictures, mask).cpu(), tuple(model.latents(pictures).shape))

    @classmethod
    def of_view(cls, model: LearningModel, view: View) -> PreviewScene:
        """Of a picture of the object, its box the hole, at the model's own size."""
        pixels = view.pixels.float()[None] / 255
        size = model.size
        height, width = pixels.shape[-2:]
        x0, y0, x1, y1 = view.box
        scene = torch.nn.functional.interpolate(pixels, (size, size), mode="bilinear", antialias=True)
        box = (x0 * size // width, y0 * size // height, -(-x1 * size // width), -(-y1 * size // height))
        return cls.of(model, scene.movedim(1, -1), box_mask(box, size, size)[None].float())


@torch.no_grad()
def preview(model: LearningModel, learned: LearnedObject, scene: PreviewScene, *, seed: int = 0) -> Tensor:
    """The scene [1,H,W,3] in 0..1 with the object, by a few steps of DDIM; its changes have to be attached."""
    device = model.device
    beside = scene.beside.to(device)
    context, null = learned.contexts()
    contexts = torch.cat([null, context]).to(device)
    noise = torch.randn(scene.shape, generator=torch.Generator().manual_seed(seed)).to(device)
    levels: NoiseLevels = model.noise_levels

    def predict(latents: Tensor, time: Tensor) -> Tensor:
        inputs = torch.cat([torch.cat([latents, beside], 1)] * 2)
        predicted = model.unet(inputs, time.repeat(2), encoder_hidden_states=contexts).sample.float()
        return guided(*predicted.chunk(2), scale=GUIDANCE)

    latents = levels.ddim(predict, noise, steps=STEPS)
    return model.pictures(latents).movedim(1, -1).cpu()
