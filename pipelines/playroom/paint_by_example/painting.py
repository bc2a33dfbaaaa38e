"""Paint by Example on playroom scenes: holes where the truth has the toy, and what the networks paint there."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor

from ...paint_by_example.exemplar_encoder import ExemplarEncoder
from ...paint_by_example.training.exemplar_task import preview
from ...pictures.masks import box_mask
from ...training.precision import autocast
from ..models import ShippedNetworks, noise_schedule
from ..pictures import decode_latents, grid, to_pictures, to_signed
from ..world.dataset import Arrays
from ..world.rooms import SIZE
from .encoded_exemplars import enclosing_box, masked_latents, pool

GUIDANCE = 3.0  # the scale the shipped model is meant for
MARGIN = 8  # px around a toy's box, one latent cell: the holes of sheets and benchmarks


@dataclass(frozen=True)
class PaintingCases:
    """Scenes without their object, a hole where the truth has it, and the exemplar to paint there."""

    scene: np.ndarray  # [N,H,W,3] uint8
    exemplar: np.ndarray  # [N,64,64,3] uint8: the toy alone, another view than the truth's
    hole: Tensor  # [N,H,W] bool
    masked: Tensor  # [N,4,h,w] latents of the scenes with a grey hole
    cells: Tensor  # [N,1,h,w] the hole in latent cells
    pooled: Tensor  # [N,D]

    @classmethod
    def of(cls, truth: Arrays, shipped: ShippedNetworks, margin: int = MARGIN) -> PaintingCases:
        """The cases of triplets: the toy's true box and `margin` px around it, filled."""
        hole = torch.stack([box_mask(enclosing_box(box, margin), SIZE, SIZE) for box in truth["box"]])
        exemplar = truth["objects"][:, 0]
        masked, cells = masked_latents(shipped.vae, truth["scene"], hole)
        pooled = pool(shipped.encoder, to_signed(exemplar))
        return cls(scene=truth["scene"], exemplar=exemplar, hole=hole, masked=masked, cells=cells, pooled=pooled)

    def __getitem__(self, part: slice) -> PaintingCases:
        return PaintingCases(**{field.name: getattr(self, field.name)[part] for field in fields(self)})

    def __len__(self) -> int:
        return len(self.scene)


@torch.no_grad()
def paint(
    unet: Any,
    encoder: ExemplarEncoder,
    vae: AutoencoderKL,
    cases: PaintingCases,
    *,
    scale: float,
    seed: int = 0,
    batch: int = 64,
) -> np.ndarray:
    """uint8 pictures [N,H,W,3], whole from the VAE, by DDIM in 20 steps."""
    pictures = []
    for start in range(0, len(cases), batch):
        part = cases[start : start + batch]
        with autocast(torch.device("cpu")):
            latents = preview(
                unet,
                encoder(part.pooled),
                encoder.null,
                part.masked,
                part.cells,
                noise_schedule(),
                scale=scale,
                seed=seed * 1000 + start,
            )
            pictures.append(to_pictures(decode_latents(vae, latents)))
    return np.concatenate(pictures)


def sheet(cases: PaintingCases, pictures: np.ndarray, across: int = 3) -> Image.Image:
    """Scene with its hole grey, exemplar, result."""
    holed = np.where(cases.hole[..., None].numpy(), 128, cases.scene).astype(np.uint8)
    return grid([holed, cases.exemplar, pictures], across=across)
