"""Published files by the host's own loaders."""

from __future__ import annotations

from pathlib import Path

import comfy.clip_vision
import comfy.sd

from .managed_networks import load_embedding_optimizer


def load_photograph_models(checkpoint: Path, clip_vision: Path, embedding_optimizer: Path):
    """(MODEL, VAE, CLIP_VISION, EMBEDDING_OPTIMIZER) of three files.

    Raises ValueError for an encoder's file that is none, and what `load_embedding_optimizer` and the host raise.
    """
    model, _, vae, *_ = comfy.sd.load_checkpoint_guess_config(str(checkpoint), output_vae=True, output_clip=False)
    encoder = comfy.clip_vision.load(str(clip_vision))
    if encoder is None:
        raise ValueError(f"{clip_vision} is no CLIP vision model. Fetch clip-vit-large-patch14 again.")
    return model, vae, encoder, load_embedding_optimizer(embedding_optimizer)
