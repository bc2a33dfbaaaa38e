"""What the playroom teaches before the UNet: a VAE to see pictures, a vision encoder to know toys."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor, nn

from ...training.task import Batch, Task
from ..latent_basis import PatchBasis
from ..models import make_embedding_optimizer, make_vae, make_vision_encoder
from ..pictures import decode_latents, encode_mode, grid, to_pictures, to_signed
from ..toy_head import ToyHead, label_tensors
from ..world.dataset import Arrays

BASIS_PICTURES = 600  # from which the patch basis is computed
LATENT_NOISE = 0.07  # the decoder learns to forgive errors of this size in a unit-variance latent


class VaeTask(Task):
    """Reconstruct crops around toys; for the first quarter, in the latents of the patch basis.

    Given a finished `vae`, only its decoder learns on: latents made before stay valid.
    """

    crop = 64  # px
    batch = 12

    def __init__(self, training: Arrays, validation: Arrays, steps: int, vae: AutoencoderKL | None = None):
        self.pictures = training["target"]
        self.boxes = training["box"]
        self.held_out = validation["target"][:16]
        self.anchored_steps = 0 if vae else steps // 4
        self.basis = PatchBasis(to_signed(self.pictures[:BASIS_PICTURES]))
        self.vae = vae or make_vae()
        if vae:
            vae.encoder.requires_grad_(False)
            cast(nn.Module, vae.quant_conv).requires_grad_(False)

    def modules(self):
        return {"vae": self.vae}

    def _crops(self, generator: torch.Generator) -> Tensor:
        room = self.pictures.shape[1] - self.crop
        indices = torch.randint(len(self.pictures), (self.batch,), generator=generator).tolist()
        anywhere = torch.randint(room + 1, (self.batch, 2), generator=generator)
        near_toy = torch.rand(self.batch, generator=generator) < 0.6
        shift = torch.randint(-28, 29, (self.batch, 2), generator=generator)
        crops = []
        for i, index in enumerate(indices):
            x0, y0, x1, y1 = self.boxes[index]
            centred_on_toy = torch.tensor([(x0 + x1) / 2, (y0 + y1) / 2]).long() - self.crop // 2
            corner = centred_on_toy + shift[i] if near_toy[i] else anywhere[i]
            x, y = corner.clamp(0, room).tolist()
            crops.append(self.pictures[index, y : y + self.crop, x : x + self.crop])
        return to_signed(np.stack(crops))

    def draw(self, step: int, generator: torch.Generator) -> Batch:
        crops = self._crops(generator)
        side = self.crop // 8
        noise = torch.randn((self.batch, self.vae.config["latent_channels"], side, side), generator=generator)
        anchor = {"anchor": self.basis.encode(crops)} if step < self.anchored_steps else {}
        return {"pictures": crops, "noise": noise, **anchor}

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        pictures = batch["pictures"]
        latents = encode_mode(self.vae, pictures).float()
        losses: dict[str, Tensor] = {}
        if "anchor" in batch:
            losses["anchor"] = F.mse_loss(latents, batch["anchor"])
        noisy_latents = batch.get("anchor", latents) + LATENT_NOISE * batch["noise"]
        restored = decode_latents(self.vae, noisy_latents).float()
        losses["mse"] = F.mse_loss(restored, pictures)
        edges = sum((restored.diff(dim=axis) - pictures.diff(dim=axis)).abs().mean() for axis in (-1, -2))
        losses["loss"] = 4 * losses["mse"] + 0.5 * (restored - pictures).abs().mean() + 0.4 * edges
        losses["loss"] = losses["loss"] + losses.get("anchor", 0) + 1e-3 * latents.square().mean()
        return losses

    def sheet(self, modules) -> Image.Image:
        vae = modules["vae"]
        restored = decode_latents(vae, encode_mode(vae, to_signed(self.held_out).to(vae.device)))
        return grid([self.held_out, to_pictures(restored)], across=4)


class VisionTask(Task):
    """Name shape, pattern and colours of a toy from its picture, through the context the UNet will read."""

    def __init__(self, training: Arrays, validation: Arrays, batch: int = 48):
        self.objects = training["objects"]
        self.labels = label_tensors(training)
        self.batch = batch
        self.encoder = make_vision_encoder()
        self.embedding_optimizer = make_embedding_optimizer()
        self.head = ToyHead()

    def modules(self):
        return {"vision_encoder": self.encoder, "embedding_optimizer": self.embedding_optimizer, "head": self.head}

    def draw(self, step: int, generator: torch.Generator) -> Batch:
        return {
            "index": torch.randint(len(self.objects), (self.batch,), generator=generator),
            "view": torch.randint(self.objects.shape[1], (self.batch,), generator=generator),
        }

    def fetch(self, share: Batch) -> Batch:
        index = share["index"]
        labels = {name: values[index] for name, values in self.labels.items()}
        return {"pixels": to_signed(self.objects[index.numpy(), share["view"].numpy()]), **labels}

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        context = self.embedding_optimizer(self.encoder(pixel_values=batch["pixels"]).last_hidden_state)
        parts = self.head.loss(context, batch)
        return {"loss": parts["identity"], **parts}
