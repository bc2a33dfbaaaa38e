"""Playroom pictures as Paint by Example's training data: holes, masked latents, pooled vectors, shard by shard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from ...paint_by_example.inpainting import latent_mask, masked_scene
from ...paint_by_example.training import pictures as photographic
from ...paint_by_example.training.augmentation import Augmentation, augment_exemplars
from ...paint_by_example.training.exemplar_task import EncodedExemplars
from ...pictures.arbitrary_masks import extended_box
from ...pictures.boxes import Box, clip_box
from ...pictures.objects import crop_box
from ...weights.reading import fingerprint
from ..encoded_shards import encode_shards
from ..pictures import encode_signed, to_signed
from ..toy_head import LABELS, label_tensors
from ..world import dataset
from ..world.rooms import SIZE
from ..world.triplets import OBJECT_SIZE

HOLES = 3  # in each picture
CROPS = 3  # augmented exemplars of each picture
JITTER = 1  # px of a shape's outline; the reference's 5 is for pictures of 512 px
AUGMENTATION = Augmentation(light=0.15)
FRAME = 1.3  # of the box's longer side: the widest crop


def enclosing_box(box: np.ndarray, margin: int = 0) -> Box:
    """The smallest box of whole pixels around a toy's box [4], `margin` px wider on each side, within the picture."""
    low = np.floor(box[:2]) - margin
    high = np.ceil(box[2:]) + margin
    x0, y0, x1, y1 = np.concatenate([low, high]).astype(int).tolist()
    return clip_box((x0, y0, x1, y1), SIZE, SIZE)


def draw_hole(box: np.ndarray, effect: np.ndarray, generator: torch.Generator) -> Tensor:
    """A random hole [H,W] that covers a toy's box [4], half of the time its whole effect [H,W] (the shadow) too.

    Half of the holes are boxes, half arbitrary shapes, as in the reference.
    """
    with_effect, shaped = (torch.rand(2, generator=generator) < 0.5).tolist()
    x0, y0, x1, y1 = enclosing_box(box)
    if with_effect:
        rows, columns = np.nonzero(effect)
        x0, x1 = min(x0, int(columns.min())), max(x1, int(columns.max()) + 1)
        y0, y1 = min(y0, int(rows.min())), max(y1, int(rows.max()) + 1)
    around = extended_box((x0, y0, x1, y1), SIZE, SIZE, generator)
    return photographic.draw_hole((x0, y0, x1, y1), around, SIZE, SIZE, shaped, JITTER, generator)


def draw_crop(picture: Tensor, box: np.ndarray, generator: torch.Generator) -> Tensor:
    """An exemplar [3,64,64] out of a picture [3,H,W]: framed by chance between tight and square, squashed."""
    x0, y0, x1, y1 = box.tolist()
    looseness = float(torch.rand((), generator=generator))
    side = FRAME * max(x1 - x0, y1 - y0)
    dx = looseness * (side - (x1 - x0)) / 2
    dy = looseness * (side - (y1 - y0)) / 2
    return crop_box(picture, (x0 - dx, y0 - dy, x1 + dx, y1 + dy), OBJECT_SIZE, margin=2)


def masked_latents(vae: AutoencoderKL, pictures: np.ndarray, hole: Tensor) -> tuple[Tensor, Tensor]:
    """What the UNet sees of uint8 pictures [N,H,W,3] with holes [N,H,W]: latents [N,4,h,w] and holes [N,1,h,w]."""
    masked = masked_scene(torch.from_numpy(pictures) / 255, hole.float())
    return encode_signed(vae, 2 * masked.movedim(-1, 1) - 1).contiguous(), latent_mask(hole.float())


@torch.no_grad()
def pool(encoder: Any, pictures: Tensor, batch: int = 100) -> Tensor:
    """Pooled vectors [N,D] (token 0 after the last norm) of pictures [N,3,64,64] in -1..1."""
    return torch.cat([encoder.vision_model(pixel_values=part).pooler_output for part in pictures.split(batch)])


def encode(
    shards: list[Path],
    folder: Path,
    vae: AutoencoderKL,
    encoder: nn.Module,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> EncodedExemplars:
    """Encode the shards that are not encoded yet into `folder` and load them all.

    What other weights or other rules encoded is not taken: each has a subfolder of its own.
    """

    def encode_one(shard: Path) -> dict[str, Tensor]:
        arrays = dataset.load([shard], ("target", "objects", "effect_mask", "box"))
        generator = torch.Generator().manual_seed(int(shard.stem.split("-")[1]))  # the shard's first seed
        pictures = to_signed(arrays["target"])
        holes = []
        for box, effect in zip(arrays["box"], arrays["effect_mask"], strict=True):
            holes += [draw_hole(box, effect, generator) for _ in range(HOLES)]
        crops = []
        for picture, box in zip(pictures, arrays["box"], strict=True):
            crops += [draw_crop(picture, box, generator) for _ in range(CROPS)]
        exemplars = augment_exemplars((torch.stack(crops) + 1) / 2, AUGMENTATION, generator).clamp(0, 1) * 2 - 1
        masked, hole = masked_latents(vae, arrays["target"].repeat(HOLES, 0), torch.stack(holes))
        others = to_signed(arrays["objects"]).flatten(0, 1)
        count = len(pictures)
        return {
            "target": encode_signed(vae, pictures).half(),
            "masked": masked.half().unflatten(0, (count, -1)),
            "hole": hole.bool().unflatten(0, (count, -1)),
            "own": pool(encoder, exemplars).half().unflatten(0, (count, -1)),
            "others": pool(encoder, others).half().unflatten(0, (count, -1)),
        }

    rules = (HOLES, CROPS, JITTER, AUGMENTATION, FRAME)
    cast(Any, vae).to(memory_format=torch.channels_last)  # twice as fast on a CPU
    columns = encode_shards(shards, folder / fingerprint((vae, encoder), *rules), encode_one, progress)
    return EncodedExemplars(**columns, labels=label_tensors(dataset.load(shards, LABELS)))
