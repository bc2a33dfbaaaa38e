"""The context that says nothing to a base model."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from ..encoders.text import empty_prompt
from ..visual_insertion import optimizer_files as embedding_optimizer


def base_null(folder: Path) -> Tensor:
    """The null [1,N,C] that the UNet in a diffusers folder was trained with: its empty prompt.

    A model that never had words has its embedding optimizer's null. Raises FileNotFoundError for one with neither,
    ValueError for unreadable files.
    """
    optimizer = folder / "embedding_optimizer.safetensors"
    if (folder / "text_encoder").is_dir():
        return empty_prompt(folder)
    if not optimizer.is_file():
        raise FileNotFoundError(
            f"{folder} has no text_encoder, and no embedding optimizer whose null could stand for the empty prompt. "
            "Needed is the whole diffusers folder, such as paint-by-inpaint/add-base."
        )
    return embedding_optimizer.load(optimizer).null[None]
