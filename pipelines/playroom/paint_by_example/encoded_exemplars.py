"""Playroom pictures as Paint by Example's training data: holes, masked latents, pooled vectors, shard by shard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ...paint_by_example.inpainting import latent_mask, masked_scene
from ...paint_by_example.training import pictures as photographic
from ...paint_by_example.training.augmentation import Augmentation, augment_exemplars
from ...paint_by_example.training.exemplar_task import EncodedExemplars
from ...pictures.arbitrary_masks import extended_box
from ...pictures.objects import crop_box
from ...weights.reading import fingerprint
from ...whole_files import whole
from ..pictures import encode_mode, to_signed
from ..toy_head import label_tensors
from ..world import dataset
from ..world.rooms import SIZE
from ..world.triplets import OBJECT_SIZE

HOLES = 3  # per picture
CROPS = 3  # augmented exemplars per picture
JITTER = 1  # px; the reference's 5 is for pictures of 512 px
AUGMENTATION = Augmentation(light=0.15)
FRAME = 1.3  # of the box's longer side: the widest crop


def _whole(box) -> tuple[int, int, int, int]:
    x0, y0, x1, y1 = np.concatenate([np.floor(box[:2]), np.ceil(box[2:])]).astype(int).tolist()
    return max(0, x0), max(0, y0), min(SIZE, x1), min(SIZE, y1)


def draw_hole(box: np.ndarray, effect: np.ndarray, generator: torch.Generator) -> Tensor:
    """A random hole [H,W] that covers a toy's box [4], half of the time its whole effect [H,W] (the shadow) too.

    Half of the holes are boxes, half arbitrary shapes, as in the reference.
    """
    whole, shape = (torch.rand(2, generator=generator) < 0.5).tolist()
    x0, y0, x1, y1 = _whole(box)
    if whole:
        rows, columns = np.nonzero(effect)
        x0, x1 = min(x0, int(columns.min())), max(x1, int(columns.max()) + 1)
        y0, y1 = min(y0, int(rows.min())), max(y1, int(rows.max()) + 1)
    around = extended_box((x0, y0, x1, y1), SIZE, SIZE, generator)
    return photographic.draw_hole((x0, y0, x1, y1), around, SIZE, SIZE, shape, JITTER, generator)


def draw_crop(picture: Tensor, box: np.ndarray, generator: torch.Generator) -> Tensor:
    """An exemplar [3,64,64] out of a picture [3,H,W]: framed by chance between tight and square, squashed."""
    x0, y0, x1, y1 = box.tolist()
    loose = float(torch.rand((), generator=generator))
    width, height, side = x1 - x0, y1 - y0, FRAME * max(x1 - x0, y1 - y0)
    dx, dy = (loose * (side - length) / 2 for length in (width, height))
    return crop_box(picture, (x0 - dx, y0 - dy, x1 + dx, y1 + dy), OBJECT_SIZE, margin=2)


@torch.no_grad()
def encode_signed(vae: AutoencoderKL, pictures: Tensor, batch: int = 25) -> Tensor:
    """Latents [N,4,h,w] (the mode, float32) of pictures [N,3,H,W] in -1..1."""
    latents = []
    for part in pictures.split(batch):
        with torch.autocast("cpu", torch.bfloat16):
            latents.append(encode_mode(vae, part.contiguous(memory_format=torch.channels_last)).float())
    return torch.cat(latents).contiguous()


def show(vae: AutoencoderKL, pictures: np.ndarray, hole: Tensor) -> tuple[Tensor, Tensor]:
    """What the UNet sees of uint8 pictures [N,H,W,3] with holes [N,H,W]: latents [N,4,h,w] and holes [N,1,h,w]."""
    shown = masked_scene(torch.from_numpy(pictures) / 255, hole.float())
    return encode_signed(vae, 2 * shown.movedim(-1, 1) - 1), latent_mask(hole.float())


@torch.no_grad()
def pool(encoder: Any, pictures: Tensor, batch: int = 100) -> Tensor:
    """Pooled vectors [N,D] (token 0 after the last norm) of pictures [N,3,64,64] in -1..1."""
    return torch.cat([encoder.vision_model(pixel_values=part).pooler_output for part in pictures.split(batch)])


def _encode_shard(path: Path, folder: Path, vae: AutoencoderKL, encoder: nn.Module) -> Path:
    encoded = folder / path.with_suffix(".safetensors").name
    if encoded.exists():
        return encoded
    arrays = dataset.load([path], ("target", "objects", "effect_mask", "box"))
    generator = torch.Generator().manual_seed(int(path.stem.split("-")[1]))  # the shard's first seed
    pictures, objects = to_signed(arrays["target"]), to_signed(arrays["objects"])
    pairs = [(box, effect) for box, effect in zip(arrays["box"], arrays["effect_mask"], strict=True)]
    holes = torch.stack([draw_hole(*pair, generator) for pair in pairs for _ in range(HOLES)])
    crops = torch.stack(
        [draw_crop(p, box, generator) for p, (box, _) in zip(pictures, pairs, strict=True) for _ in range(CROPS)]
    )
    crops = augment_exemplars((crops + 1) / 2, AUGMENTATION, generator).clamp(0, 1) * 2 - 1
    count, (masked, hole) = len(pictures), show(vae, arrays["target"].repeat(HOLES, 0), holes)
    tensors = {
        "target": encode_signed(vae, pictures).half(),
        "masked": masked.half().unflatten(0, (count, -1)),
        "hole": hole.bool().unflatten(0, (count, -1)),
        "own": pool(encoder, crops).half().unflatten(0, (count, -1)),
        "others": pool(encoder, objects.flatten(0, 1)).half().unflatten(0, (count, -1)),
    }
    with whole(encoded) as part:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, part)
    return encoded


def encode(
    shards: list[Path],
    folder: Path,
    vae: AutoencoderKL,
    encoder: nn.Module,
    progress: Callable[[int, int], None] | None = None,
) -> EncodedExemplars:
    """Encode the shards that are not encoded yet into `folder` and load them all.

    What other weights or other rules encoded is not taken: each has a subfolder of its own.
    """
    folder = folder / fingerprint((vae, encoder), HOLES, CROPS, JITTER, AUGMENTATION, FRAME)
    folder.mkdir(parents=True, exist_ok=True)
    cast(Any, vae).to(memory_format=torch.channels_last)  # twice as fast on a CPU
    parts = []
    for done, shard in enumerate(shards):
        parts.append(load_file(_encode_shard(shard, folder, vae, encoder)))
        if progress:
            progress(done + 1, len(shards))
    columns = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return EncodedExemplars(
        **columns, labels=label_tensors(dataset.load(shards, ("shape", "pattern", "colour", "accent")))
    )
