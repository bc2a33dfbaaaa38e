"""Polishing the VAE's decoder alone: what L1 leaves soft, a perceptual and an adversarial loss draw again.

The encoder is frozen, so every latent made before stays valid. The discriminator is the patch discriminator of pix2pix
(arXiv 1611.07004, section 3.2.2) with spectral norm (arXiv 1802.05957) and the hinge loss (arXiv 1705.02894, eq. 3 and
4); it looks at edges alone: what is flat is left to L1, which does not invent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.parametrizations import spectral_norm

from ...training.task import Batch, Modules, Task
from ..judging import sharpness
from ..pictures import decode_latents, grid, to_pictures, to_signed
from .decoder_examples import DecoderExamples
from .tasks import LATENT_NOISE

TILE = 64  # px, what the vision encoder looks at
LAYERS = 3  # of the vision encoder, from its patches on
COARSE = 4  # px, the side of cells within which a decoded drawing may differ
SHEET_PICTURES = 8
LEARNING_RATE = 3e-4
POLISH_SETTINGS: dict[str, Any] = {  # of a run, whatever its length
    "weight_decay": 0.0,
    "betas": (0.5, 0.95),
    "ema": 0.995,
    "precision": "fp32",  # bfloat16 has steps of two levels of 255
}


@dataclass(frozen=True)
class DecoderLosses:
    """How much each part counts, and when the discriminator comes in."""

    pixels: float = 4.0  # L1
    coarse: float = 4.0  # L1 of means over 4x4 px, for drawn latents too: no patch changes its colour
    edges: float = 2.0  # L1 of the gradient's length
    perceptual: float = 0.5  # L1 of the vision encoder's first layers
    features: float = 0.5  # L1 of the discriminator's features
    adversarial: float = 0.06
    ramp_from: int = 100  # step
    ramp: int = 300  # steps until the two last ones count fully


LOSSES = DecoderLosses()


class PatchDiscriminator(nn.Module):
    """Pictures [B,3,H,W] in -1..1 -> (a score of each patch [B,1,H/4,W/4], above 0 for rendered ones; features)."""

    def __init__(self, width: int = 48):
        super().__init__()
        layers = []
        before = 3
        for channels, stride in ((width, 2), (2 * width, 2), (2 * width, 1)):
            kernel = 4 if stride == 2 else 3
            layers.append(spectral_norm(nn.Conv2d(before, channels, kernel, stride, padding=1)))
            before = channels
        self.layers = nn.ModuleList(layers)
        self.score = nn.Conv2d(before, 1, 3, padding=1)

    def forward(self, pictures: Tensor) -> tuple[Tensor, list[Tensor]]:
        features = []
        x = pictures
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
            features.append(x)
        return self.score(x), features


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """The mean of values [B,...] under weights that broadcast to them; 0 where all weights are."""
    weights = weights.expand_as(values)
    return (weights * values).sum() / weights.sum().clamp(min=1e-6)


class DecoderTask(Task):
    """Polish the decoder of `vae`. A batch has, besides the choices:

    key       shape        range                                        from
    index     [B]          an example                                   drawn
    noise     [B,4,h,w]    normal, of its sample's strength             drawn
    ramp      [B]          0..1, how much the discriminator counts      the step
    true      [B]          1. for rendered pictures, 0. for drawn ones  the index
    latents   [B,4,h,w]                                                 the data
    pictures  [B,3,H,W]    -1..1                                        the data
    """

    def __init__(
        self,
        vae: AutoencoderKL,
        vision_encoder: nn.Module,
        examples: DecoderExamples,
        held_out: DecoderExamples,
        *,
        batch: int = 32,
        drawn_share: float = 0.25,
        weights: DecoderLosses = LOSSES,
    ):
        """`drawn_share` of a batch are drawn latents, where there are any. Freezes all but the decoder."""
        self.vae = vae
        self.vision_encoder = vision_encoder.requires_grad_(False)
        self.examples = examples
        self.held_out = held_out
        self.batch = batch
        self.drawn = round(drawn_share * batch) if len(examples.latents) > examples.true else 0
        self.weights = weights
        self.discriminator = PatchDiscriminator()
        vae.requires_grad_(False)
        vae.decoder.requires_grad_(True)
        cast(nn.Module, vae.post_quant_conv).requires_grad_(True)
        self.before = self._decoded(vae)

    def modules(self):
        return {"vae": self.vae, "discriminator": self.discriminator, "vision_encoder": self.vision_encoder}

    def rates(self):
        return {"discriminator": 1.5}

    def draw(self, step: int, generator: torch.Generator) -> Batch:
        true = torch.randint(self.examples.true, (self.batch - self.drawn,), generator=generator)
        index = [true]
        if self.drawn:
            count = len(self.examples.latents) - self.examples.true
            index.append(self.examples.true + torch.randint(count, (self.drawn,), generator=generator))
        strength = LATENT_NOISE * torch.rand((self.batch, 1, 1, 1), generator=generator)
        noise = torch.randn((self.batch, *self.examples.latents.shape[1:]), generator=generator)
        ramp = min(1.0, max(0.0, (step - self.weights.ramp_from) / self.weights.ramp))
        index = torch.cat(index)
        # A share of the batch, of several processes say, must have both kinds.
        index = index[torch.randperm(self.batch, generator=generator)]
        return {"index": index, "noise": strength * noise, "ramp": torch.full((self.batch,), ramp)}

    def fetch(self, share: Batch) -> Batch:
        index = share["index"]
        return share | {
            "true": (index < self.examples.true).float(),
            "latents": self.examples.latents[index],
            "pictures": to_signed(self.examples.pictures[index.numpy()]),
        }

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        pictures = batch["pictures"]
        true = batch["true"][:, None, None, None]
        noise = true * batch["noise"]  # a drawn latent has its own
        decoded = decode_latents(self.vae, batch["latents"] + noise).float()
        losses = {
            "pixels": weighted_mean((decoded - pictures).abs(), true),
            "coarse": (F.avg_pool2d(decoded, COARSE) - F.avg_pool2d(pictures, COARSE)).abs().mean(),
            "edges": weighted_mean((sharpness.gradient(decoded) - sharpness.gradient(pictures)).abs(), true),
            "perceptual": self._perceptual(decoded, pictures, true),
        }
        losses |= self._adversarial(decoded, pictures, true)
        ramp = batch["ramp"].mean()
        weights = self.weights
        losses["loss"] = (
            weights.pixels * losses["pixels"]
            + weights.coarse * losses["coarse"]
            + weights.edges * losses["edges"]
            + weights.perceptual * losses["perceptual"]
            + ramp * (weights.features * losses["features"] + weights.adversarial * losses["adversarial"])
            + losses["discriminator"]
        )
        return losses

    def _perceptual(self, decoded: Tensor, pictures: Tensor, true: Tensor) -> Tensor:
        """How differently the vision encoder's first layers see tiles of the two, in units of what they see."""
        with torch.no_grad():
            expected = self._layers(pictures)
        losses = []
        for here, there in zip(self._layers(decoded), expected, strict=True):
            tiles = true.flatten().repeat_interleave(len(here) // len(true))
            losses.append(weighted_mean((here - there).abs() / there.std(), tiles[:, None, None]))
        return torch.stack(losses).mean()

    def _layers(self, pictures: Tensor) -> list[Tensor]:
        """Hidden states of 64 px tiles of pictures [B,3,H,W], the tiles of a picture after each other."""
        tiles = pictures.unfold(2, TILE, TILE).unfold(3, TILE, TILE).movedim(1, 3).flatten(0, 2)
        hidden = self.vision_encoder(pixel_values=tiles, output_hidden_states=True).hidden_states
        return [states[:, 1:] for states in hidden[1 : 1 + LAYERS]]

    def _adversarial(self, decoded: Tensor, pictures: Tensor, true: Tensor) -> dict[str, Tensor]:
        """The discriminator's own loss, and the two that it gives the decoder, near edges."""
        frozen = {name: parameter.detach() for name, parameter in self.discriminator.named_parameters()}
        fooled, features = functional_call(self.discriminator, frozen, (decoded,))
        real, expected = self.discriminator(pictures)
        fake, _ = self.discriminator(decoded.detach())
        near_edges = F.adaptive_max_pool2d(sharpness.edges(pictures).float(), fake.shape[-2:])
        near_edges = F.max_pool2d(near_edges, 3, stride=1, padding=1)
        distances = [
            weighted_mean((here - there.detach()).abs(), true) for here, there in zip(features, expected, strict=True)
        ]
        return {
            "features": torch.stack(distances).sum(),
            "adversarial": -weighted_mean(fooled, near_edges),
            "discriminator": weighted_mean(F.relu(1 - real), near_edges * true)
            + weighted_mean(F.relu(1 + fake), near_edges),
        }

    @torch.no_grad()
    def _decoded(self, vae: AutoencoderKL) -> Tensor:
        """What a decoder makes of the latents held out, [N,3,H,W] in -1..1 on the CPU."""
        parts = [
            decode_latents(vae, part.to(vae.device)).clamp(-1, 1).cpu() for part in self.held_out.latents.split(16)
        ]
        return torch.cat(parts)

    def validate(self, modules: Modules) -> dict[str, float]:
        """Sharpness and PSNR of true pictures held out, and how steep drawn ones are, now and over before."""
        count = self.held_out.true
        true = to_signed(self.held_out.pictures[:count])
        decoded = self._decoded(modules["vae"])
        measures: dict[str, Callable[[Tensor, Tensor], float]] = {
            "sharpness": sharpness.sharpness,
            "psnr": sharpness.psnr,
            "flat_psnr": sharpness.flat_psnr,
        }
        figures = {}
        for name, measure in measures.items():
            figures[name] = measure(decoded[:count], true)
            figures[f"{name}_gain"] = figures[name] - measure(self.before[:count], true)
        if len(decoded) > count:
            steeper = sharpness.strongest_gradient(decoded[count:]) / sharpness.strongest_gradient(self.before[count:])
            figures["drawn_steeper"] = steeper
        return figures

    def sheet(self, modules: Modules) -> Image.Image:
        """Truth, before, now; of drawn latents before twice, for they have no truth."""
        decoded = to_pictures(self._decoded(modules["vae"]))
        before = to_pictures(self.before)
        count = self.held_out.true
        true = np.linspace(0, count - 1, min(SHEET_PICTURES, count)).astype(int)  # scenes come before targets
        rows = [*true, *range(count, len(decoded))[:SHEET_PICTURES]]
        columns: Any = [self.held_out.pictures[rows], before[rows], decoded[rows]]
        return grid(columns, height=256)
