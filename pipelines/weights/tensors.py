"""Files of tensors of which only what is asked for is read: safetensors, and what torch pickled."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import is_zipfile

import torch
from torch import Tensor

from .configs import read_json
from .reading import (
    DTYPES,
    StateDict,
    check_numbers,
    is_pickle,
    is_stored,
    open_safetensors,
    pickled_tensors,
    unwrapped,
)

STEM = "diffusion_pytorch_model"
NO_WEIGHTS = ("position_ids", "num_batches_tracked")  # ends of the names of whole numbers, which nobody learned
INDICES = ("relative_position_index",)  # the same, which some versions of transformers want back
WINDOW = 1 << 28  # bytes of a file that are mapped at once: a mapping counts as our memory until it is closed


def _names(variant: str, kind: str, stem: str = STEM) -> tuple[str, ...]:
    return tuple(
        f"{stem}{end}" for end in (f"{variant}.{kind}", f".{kind}.index{variant}.json", f".{kind}{variant}.index.json")
    )


KINDS = ("safetensors", "bin")
# What a folder is searched for, best first; an index speaks for its shards.
HALF_FIRST = tuple(name for kind in KINDS for variant in (".fp16", "") for name in _names(variant, kind))
FULL_FIRST = tuple(name for variant in ("", ".fp16") for kind in KINDS for name in _names(variant, kind))
TRANSFORMERS = tuple(
    name
    for variant in ("", ".fp16")
    for kind, stem in (("safetensors", "model"), ("bin", "pytorch_model"))
    for name in _names(variant, kind, stem)
)


@dataclass(frozen=True)
class Stored:
    """One tensor of a file, not read yet."""

    file: Path
    name: str  # in the file
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
        """What gives a tensor for its name in the file; all that it gave counts as our memory until the block ends."""
        with open_safetensors(self.path) as file:
            yield file.get_tensor

    def read(self, names: Iterable[str]) -> StateDict:
        """These tensors. Raises ValueError for what is not stored as numbers, NaN and infinity."""
        with self.opened() as tensor:
            state = {name: tensor(self.stored[name].name) for name in names}
        check_numbers(state, self.path)
        return state

    def read_below(self, prefix: str) -> StateDict:
        """The tensors whose names begin so, by the rest of the name; numbers that are not learned are left out."""
        names = [name for name in self.stored if name.startswith(prefix) and not name.endswith(NO_WEIGHTS)]
        return {name.removeprefix(prefix): tensor for name, tensor in self.read(names).items()}


class MappedPickle(TensorFile):
    """The tensors of a pickle that is mapped anew each time: what is not touched is not read."""

    @contextmanager
    def opened(self) -> Iterator[Callable[[str], Tensor]]:
        yield pickled_tensors(self.path, mapped=True).__getitem__


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
    """A weight file by its content, whatever its name; the names of its tensors are the network's own (`unwrapped`).

    A pickle is `mapped`, if torch wrote it since 1.6, or else read whole. Raises FileNotFoundError, or ValueError for
    a damaged file.
    """
    path = Path(path)
    if is_pickle(path):
        mapped = mapped and is_zipfile(path)
        state = pickled_tensors(path, mapped=mapped)
        stored = {
            name: Stored(path, original, tuple(state[original].shape), state[original].dtype)
            for name, original in unwrapped(state).items()
        }
        return MappedPickle(path, stored) if mapped else LoadedPickle(path, stored, state)
    stored = {}
    with open_safetensors(path) as file:
        for name, original in unwrapped(file.keys()).items():
            piece = file.get_slice(original)
            stored[name] = Stored(path, original, tuple(piece.get_shape()), DTYPES.get(piece.get_dtype(), torch.int8))
    return TensorFile(path, stored)


@dataclass
class WeightFiles:
    """The tensors of one network in one or several files; nothing of safetensors is read before `read`."""

    where: Path  # what an error should name
    stored: dict[str, Stored]
    files: dict[Path, TensorFile]  # by their paths, as `stored` names them

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: entry.shape for name, entry in self.stored.items()}

    @property
    def parameters(self) -> int:
        return sum(entry.parameters for entry in self.stored.values())

    @property
    def dtype(self) -> torch.dtype:
        """What most of the weights are stored as."""
        sizes: dict[torch.dtype, int] = {}
        for entry in self.stored.values():
            sizes[entry.dtype] = sizes.get(entry.dtype, 0) + entry.parameters
        return max(sizes, key=lambda dtype: sizes[dtype])

    def read(self, names: Iterable[str] | None = None) -> Iterator[tuple[str, Tensor]]:
        """(name, tensor) one by one, in the order given or else shard by shard; each is checked to be finite.

        Drop a tensor before asking for the next, and no more than one and a window of a file are in memory. Raises
        ValueError for NaN or infinity.
        """
        for window in self._windows(self.stored if names is None else names):
            with self.files[self.stored[window[0]].file].opened() as tensor:
                for name in window:
                    yield name, self._checked(name, tensor(self.stored[name].name))

    def _windows(self, names: Iterable[str]) -> Iterator[list[str]]:
        """Runs of names that lie in one file and are not too large together."""
        window: list[str] = []
        for name in names:
            entry = self.stored[name]
            size = sum(self.stored[other].bytes for other in window)
            if window and (self.stored[window[0]].file != entry.file or size + entry.bytes > WINDOW):
                yield window
                window = []
            window.append(name)
        if window:
            yield window

    def _checked(self, name: str, tensor: Tensor) -> Tensor:
        wide = torch.float64 if tensor.dtype == torch.float64 else torch.float32
        # The cheap sum may only have overflowed; what is not stored must not be summed.
        if not is_stored(tensor) or not torch.isfinite(tensor.sum(dtype=wide)):
            check_numbers({self.stored[name].name: tensor}, self.where)
        return tensor


def open_folder(folder: Path, candidates: Sequence[str]) -> WeightFiles:
    """The weights in the one or several files of a network's folder, or in the one file that `folder` is.

    Raises FileNotFoundError for a file or a shard that is not there, and ValueError for what is corrupt, and for
    weights that are no 16 or 32 bit floating point numbers.
    """
    files: dict[Path, TensorFile] = {}
    stored: dict[str, Stored] = {}
    for file, promised in _files(folder, candidates).items():
        files[file] = open_tensors(file, mapped=False)
        if lacking := promised - {entry.name for entry in files[file].stored.values()}:
            raise ValueError(
                f"{file} lacks {len(lacking)} of the tensors that its index promises (such as {min(lacking)}). It is "
                "not the shard the index was written for; fetch the folder again."
            )
        stored |= files[file].stored
    return WeightFiles(folder, stored, files)


def _files(path: Path, candidates: Sequence[str]) -> dict[Path, set[str]]:
    """The weight files of a path, each with the names that an index promises it holds."""
    if not path.is_dir():
        return {path: set()}
    chosen = first_file(path, candidates)
    if chosen.suffix != ".json":
        return {chosen: set()}
    index = read_json(chosen).get("weight_map")
    if not isinstance(index, dict) or not index or any(Path(str(file)).name != file for file in index.values()):
        raise ValueError(f"{chosen} is no index of shards: its weight_map does not name files beside it.")
    shards: dict[Path, set[str]] = {}
    for name, file in index.items():
        shards.setdefault(path / file, set()).add(name)
    if absent := sorted(shard.name for shard in shards if not shard.is_file()):
        raise FileNotFoundError(
            f"{path} lacks {len(absent)} of {len(shards)} shards: {', '.join(absent)}. Fetch them from where the "
            "others came from."
        )
    return shards
