"""The sixteen-channel VAE: learned on crops around toys first, then on whole pictures, by the clock."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any, cast

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from ...training.precision import autocast
from ..latent_basis import PatchBasis, whiten
from ..pictures import decode_latents, encode_mode
from .columns import Scenes, signed
from .limits import Limits, cosine, warm
from .models import make_vae
from .updating import update

CROP = 64  # px
NEAR_TOY = 0.6  # share of crops around a toy
ANCHORED = 0.2  # share of the stage in which the latents are those of the patch basis
WHOLE = 0.6  # share of the stage from which on whole pictures are learned, a quarter as many
LATENT_NOISE = 0.1  # of the latents' spread: the decoder learns to forgive errors of that size
BASIS_PICTURES = 300
WHITENED_ON = 2048  # pictures


def train_vae(
    scenes: Scenes,
    *,
    limits: Limits,
    report: Callable[[str], None],
    batch: int = 128,
    channels: int = 16,
    rate: float = 1.5e-3,
    generator: torch.Generator,
) -> AutoencoderKL:
    """A VAE whose latents have unit variance, learned from the scenes' pictures on their device."""
    device = scenes.picture.device
    basis = PatchBasis(signed(scenes.picture[:BASIS_PICTURES]).cpu(), channels)
    basis.mean = basis.mean.to(device)
    basis.weight = basis.weight.to(device)
    vae = make_vae(channels)
    cast(Any, vae).to(device, memory_format=torch.channels_last)
    average = deepcopy(vae).requires_grad_(False)
    optimizer = torch.optim.AdamW(
        vae.parameters(), rate, betas=(0.9, 0.99), weight_decay=1e-4, fused=device.type == "cuda"
    )
    for step, share in limits.run():
        pictures = _draw(scenes, generator, batch, whole=share >= WHOLE)
        anchor = basis.encode(pictures) if share < ANCHORED else None
        pictures = pictures.contiguous(memory_format=torch.channels_last)
        with autocast(device):
            loss, error = _loss(vae, pictures, anchor)
        update(loss, vae, average, [optimizer], rate=rate * warm(step, 50) * cosine(share), step=step, longest=0.998)
        if step % 100 == 0:
            report(
                f"vae step {step} share {share:.2f} loss {loss.item():.4f} psnr {10 * (4 / error).log10().item():.2f}"
            )
    report(f"vae ends after {step + 1} steps of {batch} crops")
    average = average.eval()
    whiten(average, encode(average, scenes.picture[:WHITENED_ON]).float())
    return average


def _draw(scenes: Scenes, generator: torch.Generator, batch: int, *, whole: bool) -> Tensor:
    """Pictures in -1..1: crops [batch,3,64,64], or whole ones [batch/4,3,128,128]; half of them mirrored."""
    device = scenes.picture.device
    side = scenes.picture.shape[-1]
    crop = side if whole else CROP
    count = max(1, batch // 4) if whole else batch

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, device=device)

    index = torch.randint(len(scenes), (count,), generator=generator, device=device)
    room = side - crop
    toy = (uniform(count) * scenes.count[index]).long()
    boxes = scenes.box[index, toy]
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 - crop / 2 + (uniform(count, 2) - 0.5) * 0.875 * crop
    near_toy = (uniform(count) < NEAR_TOY) & (scenes.count[index] > 0)
    corner = torch.where(near_toy[:, None], centre, uniform(count, 2) * (room + 1)).long().clamp(0, room)
    along = torch.arange(crop, device=device)
    columns = corner[:, 0, None] + torch.where(uniform(count, 1) < 0.5, along, along.flip(0))
    rows = corner[:, 1, None] + along
    channels = torch.arange(3, device=device)
    pictures = scenes.picture[
        index[:, None, None, None], channels[None, :, None, None], rows[:, None, :, None], columns[:, None, None, :]
    ]
    return signed(pictures)


def _loss(vae: AutoencoderKL, pictures: Tensor, anchor: Tensor | None) -> tuple[Tensor, Tensor]:
    latents = encode_mode(vae, pictures).float()
    source = latents if anchor is None else anchor
    spread = source.detach().std((0, 2, 3), keepdim=True)
    noisy = source + LATENT_NOISE * spread * torch.randn_like(source)
    restored = decode_latents(vae, noisy).float()
    error = F.mse_loss(restored, pictures)
    edges = torch.zeros((), device=pictures.device)
    for axis in (-1, -2):
        edges = edges + (restored.diff(dim=axis) - pictures.diff(dim=axis)).abs().mean()
    loss = 3 * error + 0.7 * (restored - pictures).abs().mean() + 0.7 * edges + 1e-3 * latents.square().mean()
    if anchor is not None:
        loss = loss + F.mse_loss(latents, anchor)
    return loss, error.detach()


@torch.no_grad()
def encode(vae: AutoencoderKL, pictures: Tensor, *, flip: bool = False, batch: int = 256) -> Tensor:
    """Latents [N,C,16,16] (the mode, float16) of uint8 pictures [N,3,128,128], mirrored if said so."""
    latents = []
    for part in pictures.split(batch):
        inputs = signed(part.flip(-1) if flip else part).contiguous(memory_format=torch.channels_last)
        with autocast(pictures.device):
            latents.append(encode_mode(vae, inputs).half())
    return torch.cat(latents)


@torch.no_grad()
def decode(vae: AutoencoderKL, latents: Tensor, batch: int = 128) -> Tensor:
    """Pictures [N,3,128,128] in -1..1 of latents [N,C,16,16]."""
    pictures = []
    for part in latents.split(batch):
        with autocast(latents.device):
            pictures.append(decode_latents(vae, part.float()).float().clamp(-1, 1))
    return torch.cat(pictures)


@torch.no_grad()
def reconstruction_figures(vae: AutoencoderKL, scenes: Scenes) -> dict[str, float]:
    """How a VAE restores pictures: PSNR in dB, all over and in the toys' boxes, and its edges there.

    `sharpness` is the strength of the restored edges over that of the true ones, `edge_error` the mean difference of
    both over the latter.
    """
    truth = signed(scenes.picture)
    restored = decode(vae, encode(vae, scenes.picture))
    inside = _inside(scenes)
    square = (restored - truth).square()
    strength = []
    difference = 0.0
    for pictures in (truth, restored):
        strength.append(sum((pictures.diff(dim=axis).abs() * _cut(inside, axis)).sum() for axis in (-1, -2)))
    for axis in (-1, -2):
        difference = difference + ((restored - truth).diff(dim=axis).abs() * _cut(inside, axis)).sum()
    toys = (square * inside).sum() / (3 * inside.sum()).clamp(min=1)
    return {
        "psnr": _decibels(square.mean()),
        "psnr_toys": _decibels(toys),
        "sharpness": float(strength[1] / strength[0]),
        "edge_error": float(difference / strength[0]),
    }


def _decibels(error: Tensor) -> float:
    return float(10 * torch.log10(4 / error.clamp(min=1e-10)))


def _cut(mask: Tensor, axis: int) -> Tensor:
    return mask.narrow(axis, 0, mask.shape[axis] - 1)


def _inside(scenes: Scenes) -> Tensor:
    """Pixels [N,1,128,128] in a toy's box."""
    side = scenes.picture.shape[-1]
    grid = torch.arange(side, device=scenes.box.device) + 0.5
    x0, y0, x1, y1 = scenes.box.unbind(-1)
    across = (grid > x0[..., None]) & (grid < x1[..., None])
    down = (grid > y0[..., None]) & (grid < y1[..., None])
    return (down[..., :, None] & across[..., None, :] & scenes.present[..., None, None]).any(1)[:, None].float()
