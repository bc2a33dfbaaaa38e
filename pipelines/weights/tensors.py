"""Files of tensors of which only what is asked for is read: safetensors, and what torch pickled."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .reading import StateDict, describe_non_finite, is_pickle, open_safetensors, read_weights

DTYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64}  # by their names


@dataclass(frozen=True)
class Stored:
    """One tensor of a file, not read yet."""

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype  # int8 stands for whatever is not in DTYPES

    @property
    def parameters(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.parameters * self.dtype.itemsize


@dataclass(frozen=True)
class TensorFile:
    """The tensors of one safetensors file by name; none of them is read before it is asked for."""

    path: Path
    stored: dict[str, Stored]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: entry.shape for name, entry in self.stored.items()}

    @contextmanager
    def opened(self) -> Iterator[Callable[[str], Tensor]]:
        """What gives a tensor for its name; all that it gave counts as our memory until the block ends."""
        with open_safetensors(self.path) as file:
            yield file.get_tensor

    def read(self, names: Iterable[str]) -> StateDict:
        """These tensors. Raises ValueError for NaN or infinity."""
        with self.opened() as tensor:
            state = {name: tensor(name) for name in names}
        if bad := describe_non_finite(state):
            raise ValueError(f"{self.path} holds values that are not finite: {bad}. Fetch another copy.")
        return state

    def read_below(self, prefix: str) -> StateDict:
        """The tensors whose names begin so, by the rest of the name; numbers that are not learned are left out."""
        names = [name for name in self.stored if name.startswith(prefix) and not name.endswith("position_ids")]
        return {name.removeprefix(prefix): tensor for name, tensor in self.read(names).items()}


class MappedPickle(TensorFile):
    """The tensors of a pickle that is mapped anew each time: what is not touched is not read."""

    @contextmanager
    def opened(self) -> Iterator[Callable[[str], Tensor]]:
        yield map_pickle(self.path).__getitem__


@dataclass(frozen=True)
class LoadedPickle(TensorFile):
    """The tensors of a pickle that had to be read whole; each is given once, so that it need not stay in memory."""

    state: StateDict = field(repr=False)

    @contextmanager
    def opened(self) -> Iterator[Callable[[str], Tensor]]:
        yield self.state.pop


def first_file(folder: Path, candidates: Sequence[str]) -> Path:
    """The first of these names that a folder has. Raises FileNotFoundError."""
    for name in candidates:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"{folder} holds no weights: none of {', '.join(candidates)} is there.")


def open_tensors(path: Path, mapped: bool = True) -> TensorFile:
    """A weight file by its content, whatever its name.

    A pickle is `mapped`, which only those are that torch wrote since 1.6, or else read whole. Raises
    FileNotFoundError, or ValueError for a damaged file.
    """
    path = Path(path)
    if is_pickle(path) and mapped:
        return MappedPickle(path, _described(path, map_pickle(path)))
    if is_pickle(path):
        state, _ = read_weights(path)
        return LoadedPickle(path, _described(path, state), state)
    stored = {}
    with open_safetensors(path) as file:
        for name in file.keys():
            piece = file.get_slice(name)
            stored[name] = Stored(path, name, tuple(piece.get_shape()), DTYPES.get(piece.get_dtype(), torch.int8))
    return TensorFile(path, stored)


def _described(path: Path, state: Mapping[str, Tensor]) -> dict[str, Stored]:
    return {name: Stored(path, name, tuple(tensor.shape), tensor.dtype) for name, tensor in state.items()}


# Pickles.


def _nothing(*_: Any) -> None:
    """Stands for what a training checkpoint carries beside its tensors."""


_HARMLESS: list[Any] = [  # globals in model.ckpt; the functions and classes named are not run, `_nothing` is
    *(
        (_nothing, name)
        for name in (
            "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
            "numpy.core.multiarray.scalar",
            "numpy._core.multiarray.scalar",
            "_codecs.encode",
        )
    ),
    *(np.dtype, *(type(np.dtype(kind)) for kind in ("float64", "float32", "int64"))),  # of those scalars
]


def map_pickle(path: Path) -> StateDict:
    """The tensors of a pickled checkpoint, mapped: what is not touched is not read. Other content is left out.

    Raises ValueError for a file that is cut off, holds more than plain tensors and numbers, or cannot be mapped.
    """
    try:
        with torch.serialization.safe_globals(_HARMLESS):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # a damaged or malicious pickle fails in many ways
        raise ValueError(
            f"{path} is a pickle that cannot be read as plain tensors ({type(error).__name__}), and nothing else is "
            f"run from a weight file. It may be cut off ({path.stat().st_size:,} bytes): compare size and sha256, "
            "or take a safetensors file of the same weights."
        ) from error
    content = content.get("state_dict", content) if isinstance(content, dict) else {}
    return {name: value for name, value in content.items() if isinstance(value, Tensor)}
