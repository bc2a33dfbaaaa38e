"""Playroom triplets as latents and vision tokens, shard by shard beside the pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ...visual_insertion.training.insertion_task import EncodedTriplets
from ...weights.reading import fingerprint
from ...whole_files import whole
from ..pictures import encode_pictures, to_signed
from ..toy_head import label_tensors
from ..world import dataset


@torch.no_grad()
def encode_objects(encoder: nn.Module, objects, batch: int = 100) -> Tensor:
    """uint8 [N,views,h,w,3] -> vision tokens [N,views,T,D], half precision."""
    flat = objects.reshape(-1, *objects.shape[2:])
    tokens = []
    for start in range(0, len(flat), batch):
        tokens.append(encoder(pixel_values=to_signed(flat[start : start + batch])).last_hidden_state.half())
    return torch.cat(tokens).unflatten(0, objects.shape[:2])


def _encode_shard(path: Path, folder: Path, vae: AutoencoderKL, encoder: nn.Module) -> Path:
    encoded = folder / path.with_suffix(".safetensors").name
    if not encoded.exists():
        arrays = dataset.load([path], ("scene", "target", "objects", "effect_mask"))
        effect = torch.from_numpy(arrays["effect_mask"]).float()[:, None]
        tensors = {
            "scene": encode_pictures(vae, arrays["scene"]).half(),
            "target": encode_pictures(vae, arrays["target"]).half(),
            "features": encode_objects(encoder, arrays["objects"]),
            "region": F.max_pool2d(effect, 8).bool(),
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
) -> EncodedTriplets:
    """Encode the shards that are not encoded yet into `folder` and load them all.

    What other weights encoded is not taken: each pair of networks has a subfolder of its own.
    """
    folder = folder / fingerprint((vae, encoder))
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for done, shard in enumerate(shards):
        parts.append(load_file(_encode_shard(shard, folder, vae, encoder)))
        if progress:
            progress(done + 1, len(shards))
    columns = {name: torch.cat([part[name] for part in parts]) for name in ("scene", "target", "features", "region")}
    labels = label_tensors(dataset.load(shards, ("shape", "pattern", "colour", "accent")))
    return EncodedTriplets(
        target=columns["target"][:, None],
        scene=columns["scene"][:, None],
        features=columns["features"],
        region=columns["region"][:, None],
        labels=labels,
    )
