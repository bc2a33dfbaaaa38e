"""Playroom triplets as latents and vision tokens, shard by shard beside the pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from ...pictures.masks import touched_cells
from ...pictures.scene import CELL
from ...visual_insertion.training.insertion_task import EncodedTriplets
from ...weights.reading import fingerprint
from ..encoded_shards import encode_shards
from ..pictures import encode_pictures, to_signed
from ..toy_head import LABELS, label_tensors
from ..world import dataset


@torch.no_grad()
def encode_objects(encoder: nn.Module, objects: np.ndarray, batch: int = 100) -> Tensor:
    """Vision tokens [N,views,T,D], in half precision, of uint8 pictures [N,views,h,w,3]."""
    tokens = []
    for part in to_signed(objects).flatten(0, 1).split(batch):
        tokens.append(encoder(pixel_values=part).last_hidden_state.half())
    return torch.cat(tokens).unflatten(0, objects.shape[:2])


def encode(
    shards: list[Path],
    folder: Path,
    vae: AutoencoderKL,
    encoder: nn.Module,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> EncodedTriplets:
    """Encode the shards that are not encoded yet into `folder` and load them all.

    What other weights encoded is not taken: each pair of networks has a subfolder of its own.
    """

    def encode_one(shard: Path) -> dict[str, Tensor]:
        arrays = dataset.load([shard], ("scene", "target", "objects", "effect_mask"))
        effect = torch.from_numpy(arrays["effect_mask"]).float()
        return {
            "scene": encode_pictures(vae, arrays["scene"]).half(),
            "target": encode_pictures(vae, arrays["target"]).half(),
            "features": encode_objects(encoder, arrays["objects"]),
            "region": touched_cells(effect, CELL).bool(),
        }

    columns = encode_shards(shards, folder / fingerprint((vae, encoder)), encode_one, progress)
    return EncodedTriplets(
        target=columns["target"][:, None],
        scene=columns["scene"][:, None],
        features=columns["features"],
        region=columns["region"][:, None],
        labels=label_tensors(dataset.load(shards, LABELS)),
    )
