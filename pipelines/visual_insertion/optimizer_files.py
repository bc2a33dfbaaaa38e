"""Embedding optimizers as files.

One file holds the weights, the null context they were trained with, and the settings as metadata.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..weights import module_files
from ..weights.reading import check_numbers, check_stored, read_weights
from .embedding_optimizer import EmbeddingOptimizer, OptimizerSettings, build, check_variant
from .released_optimizers import from_released, is_released

FORMAT = "visual-insertion/embedding-optimizer"
FOREIGN = (
    "it carries no embedding optimizer settings. Load a safetensors file that this pack's training wrote; tensors "
    "alone do not say which encoder and model they pair with."
)


def metadata(settings: OptimizerSettings, **notes: str) -> dict[str, str]:
    """safetensors metadata of an embedding optimizer; `notes` such as training data or licence travel with it."""
    return module_files.metadata(FORMAT, settings, **notes)


def save(embedding_optimizer: EmbeddingOptimizer, path: Path, dtype: torch.dtype = torch.float32, **notes: str) -> None:
    """Write the optimizer with its null and settings, whole or not at all."""
    module_files.save(embedding_optimizer, path, dtype, metadata(embedding_optimizer.settings, **notes))


def load(path: Path, operations: Any = nn, queries_seed: int = 0, nan_to_zero: bool = False) -> EmbeddingOptimizer:
    """The embedding optimizer in a file, ours or the authors'.

    `queries_seed` draws the queries of a released file, which holds none. `nan_to_zero` does what the authors' loader
    does silently. Raises FileNotFoundError, or ValueError for a corrupt file, another kind of file, missing tensors,
    NaN or infinite values.
    """
    path = Path(path)
    state, meta = read_weights(path)
    if nan_to_zero:
        check_stored(state, path)
        state = {name: torch.nan_to_num(tensor, 0.0, 0.0, 0.0) for name, tensor in state.items()}
    check_numbers(
        state,
        path,
        "Fetch another copy or train it again; to go on with zeros in their place, as the authors' own code does, "
        "convert the file with --nan-to-zero.",
    )
    try:
        if is_released(state):
            settings, state = from_released(state, queries_seed)
        else:
            settings = module_files.settings_in(meta, FORMAT, OptimizerSettings, FOREIGN)
        check_variant(settings)
    except ValueError as error:
        raise ValueError(f"{path} is not an embedding optimizer of this pack: {error}") from error
    return module_files.filled(partial(build, settings), state, path, operations, "its own settings promise")
