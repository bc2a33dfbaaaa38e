"""What the playroom teaches before the UNet: a VAE to see pictures, a vision encoder to know toys."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor, nn

from ..training.task import Batch, Task
from .dataset import Arrays
from .models import CONTEXT_TOKENS, CONTEXT_WIDTH, make_embedding_optimizer, make_vae, make_vision_encoder
from .toys import PATTERNS, SHAPES

BASIS_PICTURES = 600  # from which the patch basis is computed
LATENT_NOISE = 0.07  # the decoder learns to forgive errors of this size in a unit-variance latent


def to_signed(pictures: np.ndarray | Tensor) -> Tensor:
    """uint8 NHWC 0..255 -> float NCHW -1..1."""
    return torch.as_tensor(pictures).movedim(-1, -3).float() / 127.5 - 1


def to_pictures(signed: Tensor) -> np.ndarray:
    """float NCHW -1..1 -> uint8 NHWC."""
    return ((signed.float().clamp(-1, 1) + 1) * 127.5).round().byte().movedim(-3, -1).cpu().numpy()


def grid(columns: list[np.ndarray], height: int = 128, across: int = 2) -> Image.Image:
    """A picture sheet: entry i of every column side by side, `across` entries per row. Columns are uint8 NHWC."""

    def fit(picture):
        image = Image.fromarray(picture)
        return np.asarray(image.resize((height, height), Image.Resampling.BICUBIC))

    strips = [np.concatenate([fit(p) for p in entry], axis=1) for entry in zip(*columns, strict=True)]
    strips = strips[: len(strips) // across * across]
    rows = [np.concatenate(strips[i : i + across], axis=1) for i in range(0, len(strips), across)]
    return Image.fromarray(np.concatenate(rows, axis=0))


class PatchBasis:
    """The four strongest principal components of 8x8 patches: a linear VAE that needs no training.

    It is the teacher of the first steps. From random weights and an L1 loss the VAE stays on a grey plateau.
    """

    def __init__(self, pictures: Tensor):
        patches = F.pixel_unshuffle(pictures, 8).movedim(1, -1).reshape(-1, 192)
        self.mean = patches.mean(0)
        _, _, components = torch.linalg.svd(patches - self.mean, full_matrices=False)
        scores = (patches - self.mean) @ components[:4].T
        self.weight = (components[:4] / scores.std(0)[:, None]).view(4, 192, 1, 1)

    def encode(self, pictures: Tensor) -> Tensor:
        """[B,3,H,W] -> unit-variance latents [B,4,H/8,W/8]."""
        return F.conv2d(F.pixel_unshuffle(pictures, 8) - self.mean.view(1, -1, 1, 1), self.weight)


def encode_mode(vae: AutoencoderKL, pictures: Tensor) -> Tensor:
    """Latents [B,4,h,w] of pictures [B,3,H,W] in -1..1: the posterior's mode."""
    return cast(Any, vae.encode(pictures)).latent_dist.mean


def decode_latents(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """Pictures [B,3,H,W], about -1..1, of latents [B,4,h,w]."""
    return cast(Any, vae.decode(cast(Any, latents))).sample


class VaeTask(Task):
    """Reconstruct crops around toys; for the first quarter, in the latents of the patch basis.

    Given a finished `vae`, only its decoder learns on: latents made before stay valid.
    """

    crop = 64  # px
    batch = 12

    def __init__(self, training: Arrays, validation: Arrays, steps: int, vae: AutoencoderKL | None = None):
        self.pictures, self.boxes = training["target"], training["box"]
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
            box = self.boxes[index]
            centre = torch.tensor([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2]).long() - self.crop // 2
            x, y = (centre + shift[i] if near_toy[i] else anywhere[i]).clamp(0, room).tolist()
            crops.append(self.pictures[index, y : y + self.crop, x : x + self.crop])
        return to_signed(np.stack(crops))

    def draw(self, step: int, generator: torch.Generator) -> Batch:
        crops = self._crops(generator)
        side = self.crop // 8
        noise = torch.randn((self.batch, self.vae.config["latent_channels"], side, side), generator=generator)
        anchor = {"anchor": self.basis.encode(crops)} if step < self.anchored_steps else {}
        return {"pictures": crops, "noise": noise, **anchor}

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        x = batch["pictures"]
        latent = encode_mode(self.vae, x).float()
        losses: dict[str, Tensor] = {}
        if "anchor" in batch:
            losses["anchor"] = F.mse_loss(latent, batch["anchor"])
        shaken = batch.get("anchor", latent) + LATENT_NOISE * batch["noise"]
        y = decode_latents(self.vae, shaken).float()
        losses["mse"] = F.mse_loss(y, x)
        edges = sum((y.diff(dim=d) - x.diff(dim=d)).abs().mean() for d in (-1, -2))
        losses["loss"] = 4 * losses["mse"] + 0.5 * (y - x).abs().mean() + 0.4 * edges
        losses["loss"] = losses["loss"] + losses.get("anchor", 0) + 1e-3 * latent.square().mean()
        return losses

    def sheet(self, modules) -> Image.Image:
        vae = modules["vae"]
        restored = decode_latents(vae, encode_mode(vae, to_signed(self.held_out).to(vae.device)))
        return grid([self.held_out, to_pictures(restored)], across=4)


@torch.no_grad()
def whiten(vae: AutoencoderKL, latents: Tensor) -> None:
    """Fold mean and spread of `latents` [N,4,h,w] into the 1x1 convolutions around them: they get unit variance."""
    mean, spread = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    into, out = cast(Any, vae.quant_conv), cast(Any, vae.post_quant_conv)
    into.weight[:4] /= spread.view(-1, 1, 1, 1)
    into.bias[:4] = (into.bias[:4] - mean) / spread
    into.weight[4:] = 0  # the log variance is never used: a sample is the mode
    into.bias[4:] = -30
    out.bias += out.weight[:, :, 0, 0] @ mean
    out.weight *= spread.view(1, -1, 1, 1)


class ToyHead(nn.Module):
    """Reads a toy's identity off its context, so that training does not forget it; thrown away afterwards."""

    def __init__(self):
        super().__init__()
        self.sizes = [len(SHAPES), len(PATTERNS), 3, 3]
        self.read = nn.Linear(CONTEXT_TOKENS * CONTEXT_WIDTH, sum(self.sizes))

    def loss(self, context: Tensor, labels: dict[str, Tensor]) -> dict[str, Tensor]:
        """`labels`: shape [B], pattern [B], colour [B,3], accent [B,3]."""
        shape, pattern, colour, accent = self.read(context.flatten(1)).float().split(self.sizes, dim=1)
        patterned = (labels["pattern"] > 0).float()[:, None]
        parts = {
            "shape": F.cross_entropy(shape, labels["shape"]),
            "pattern": F.cross_entropy(pattern, labels["pattern"]),
            "colour": F.mse_loss(colour, labels["colour"]),
            "accent": (patterned * (accent - labels["accent"]).square()).mean(),
        }
        return parts | {"identity": parts["shape"] + parts["pattern"] + 8 * parts["colour"] + 3 * parts["accent"]}


def label_tensors(arrays: Arrays) -> dict[str, Tensor]:
    return {name: torch.from_numpy(arrays[name]) for name in ("shape", "pattern", "colour", "accent")}


class VisionTask(Task):
    """Name shape, pattern and colours of a toy from its picture, through the context the UNet will read."""

    def __init__(self, training: Arrays, validation: Arrays, batch: int = 48):
        self.objects, self.labels = training["objects"], label_tensors(training)
        self.batch = batch
        self.encoder, self.optimizer, self.head = make_vision_encoder(), make_embedding_optimizer(), ToyHead()

    def modules(self):
        return {"vision_encoder": self.encoder, "embedding_optimizer": self.optimizer, "head": self.head}

    def draw(self, step: int, generator: torch.Generator) -> Batch:
        return {
            "index": torch.randint(len(self.objects), (self.batch,), generator=generator),
            "view": torch.randint(self.objects.shape[1], (self.batch,), generator=generator),
        }

    def fetch(self, share: Batch) -> Batch:
        index, view = share["index"], share["view"]
        labels = {name: values[index] for name, values in self.labels.items()}
        return {"pixels": to_signed(self.objects[index.numpy(), view.numpy()]), **labels}

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        context = self.optimizer(self.encoder(pixel_values=batch["pixels"]).last_hidden_state)
        parts = self.head.loss(context, batch)
        return {"loss": parts["identity"], **parts}
