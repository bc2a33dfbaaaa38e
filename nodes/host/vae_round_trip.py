"""What a VAE alone makes of a picture."""

from __future__ import annotations

from torch import Tensor

from ...pipelines.pictures.checks import rgb
from ...pipelines.pictures.scene import pad_to_multiple

CELL = 64  # px, a multiple of every VAE's cell


def round_trip(vae, scene: Tensor) -> Tensor:
    """Scenes [B,H,W,C] in 0..1 through a VAE of pictures or of videos: [B,H,W,3]."""
    height, width = scene.shape[1:3]
    decoded = vae.decode(vae.encode(pad_to_multiple(rgb(scene), CELL)))
    return decoded.reshape(-1, *decoded.shape[-3:])[:, :height, :width]
