"""Reading weight files safely, with errors that name the file and say what to do."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

StateDict = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]

DTYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64}
"""What weights may be stored as, by safetensors' names; all else is quantised, or no weight."""

WRAPPERS = ("module.", "_orig_mod.", "base_model.model.", "unet.")
"""What DDP, torch.compile, PEFT and pipelines put before the name of every tensor of a network."""

Version = tuple[int, int]
RUNS_CODE_BELOW: Version = (2, 6)  # CVE-2025-32434
CORRUPTS_MEMORY_BELOW: Version = (2, 10)  # CVE-2026-24747


def is_pickle(path: Path) -> bool:
    """Whether torch wrote a file, new (a zip) or old; anything else is safetensors, or damaged.

    Raises FileNotFoundError.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file." if path.exists() else f"{path} does not exist.")
    with open(path, "rb") as file:
        start = file.read(9)
    # safetensors begins with the length of its header, which may be any number, and then the header's brace
    return start.startswith((b"PK\3\4", b"\x80")) and start[8:] != b"{"


@contextmanager
def open_safetensors(path: Path) -> Iterator[Any]:
    """safetensors' view of a file. Raises ValueError for one that is damaged, OSError for one that cannot be mapped."""
    try:
        try:
            opened = safe_open(path, framework="pt")
        except FileNotFoundError:
            raise
        except (OSError, RuntimeError) as error:  # RuntimeError: torch's own mapping of the file
            raise OSError(
                f"{path} cannot be mapped into memory: {error}. "
                "If it lies on a network or cloud drive, copy it to a disk of this machine."
            ) from error
        with opened as file:
            yield file
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a readable safetensors file ({path.stat().st_size:,} bytes): {error}. "
            "It may be cut off, or a web page saved under that name; download it again and compare its size and sha256."
        ) from error


# Pickles.


def _nothing(*_: Any) -> None:
    """Stands for what a training checkpoint carries beside its tensors."""


_HARMLESS: list[Any] = [  # globals in Lightning's files; the functions and classes named are not run, `_nothing` is
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


def _check_sums(path: Path) -> None:
    """Raise BadZipFile when a part of torch's archive is not what its checksum says: torch itself does not look."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():
                raise zipfile.BadZipFile(f"{damaged} is damaged")


def unpickle(path: Path, *, mapped: bool = False, safe_since: Version = CORRUPTS_MEMORY_BELOW) -> Any:
    """What torch pickled, as plain tensors, numbers and tables: the one place where a pickle is opened.

    Nothing of it is run, and torch before `safe_since` cannot promise that. `mapped` leaves tensors in the file until
    they are touched, and its checksums unread. Raises ValueError for a torch that is too old, and for a file that is
    damaged or holds more.
    """
    version = torch.__version__.partition("+")[0]
    if tuple(int(part) for part in version.split(".")[:2]) < safe_since:
        needed = ".".join(map(str, safe_since))
        raise ValueError(
            f"{path} is a pickle, and torch {version} cannot keep one from running a program; torch {needed} can. Take "
            "a safetensors file of the same weights, or update torch."
        )
    try:
        if not mapped:
            _check_sums(path)
        with torch.serialization.safe_globals(_HARMLESS if safe_since == CORRUPTS_MEMORY_BELOW else []):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except (MemoryError, PermissionError):
        raise
    except Exception as error:  # a damaged or malicious pickle fails in many ways
        raise ValueError(
            f"{path} is a pickle that cannot be read as plain tensors ({type(error).__name__}), and nothing else is "
            f"run from a weight file. It may be cut off ({path.stat().st_size:,} bytes): compare size and sha256, "
            "or take a safetensors file of the same weights."
        ) from error


def pickled_tensors(path: Path, *, mapped: bool = False) -> StateDict:
    """The tensors of a pickled table, or of the `state_dict` in one (Lightning); its other content is left out.

    Raises ValueError, as `unpickle` does, and for a file without such a table.
    """
    content = unpickle(path, mapped=mapped)
    table = content.get("state_dict", content) if isinstance(content, Mapping) else {}
    tensors = table.items() if isinstance(table, Mapping) else ()
    state = {name: tensor.detach() for name, tensor in tensors if isinstance(tensor, Tensor) and isinstance(name, str)}
    if not state:
        raise ValueError(f"{path} does not hold a plain table of tensors. Convert it to safetensors first.")
    return state


# Tensors, whatever they lay in.


def unwrapped(names: Iterable[str]) -> dict[str, str]:
    """A network's own name of a tensor -> its name in a file, where WRAPPERS may stand before every name.

    What torch.compile puts before the parts that it compiled is left out inside of a name, too.
    """
    stored = {name: name for name in names}
    while prefix := next((p for p in WRAPPERS if stored and all(name.startswith(p) for name in stored)), None):
        stored = {name.removeprefix(prefix): original for name, original in stored.items()}
    shorter = {name.replace("_orig_mod.", ""): original for name, original in stored.items()}
    return shorter if len(shorter) == len(stored) else stored


def read_weights(path: Path) -> tuple[StateDict, dict[str, str]]:
    """Tensors and metadata of a weight file; the content decides the format, not the file's name.

    Raises FileNotFoundError, or ValueError for a file that is corrupt, cut off, or holds no tensors.
    """
    path = Path(path)
    if is_pickle(path):
        state = pickled_tensors(path)
        return {name: state[stored] for name, stored in unwrapped(state).items()}, {}
    with open_safetensors(path) as file:
        state = {name: file.get_tensor(stored) for name, stored in unwrapped(file.keys()).items()}
        return state, file.metadata() or {}


def metadata_of(path: Path) -> dict[str, str]:
    """What a weight file says of itself, nothing where it is a pickle. Raises FileNotFoundError, or ValueError."""
    if is_pickle(path):
        return {}
    with open_safetensors(path) as file:
        return file.metadata() or {}


def check_dtypes(dtypes: Mapping[str, torch.dtype], where: Path) -> None:
    """Raise ValueError, naming the file or folder, for weights that are stored as anything but DTYPES, by name."""
    if strange := [name for name, dtype in dtypes.items() if dtype not in DTYPES.values()]:
        raise ValueError(
            f"{_whose(where)} weights that are not 16 or 32 bit floating point numbers (such as {min(strange)}). Take "
            "a version of the model that is not quantised."
        )


def check_stored(state: Mapping[str, Tensor], where: Path) -> None:
    """The same for tensors, and for what claims more numbers than it stores, as one in a pickle can."""
    check_dtypes({name: tensor.dtype for name, tensor in state.items()}, where)
    if claiming := [name for name, tensor in state.items() if not is_stored(tensor)]:
        raise ValueError(
            f"{_whose(where)} fewer numbers than {min(claiming)} claims by its shape. Fetch another copy, as "
            "safetensors if you can."
        )


def check_numbers(state: Mapping[str, Tensor], where: Path, advice: str = "Fetch another copy.") -> None:
    """The same, and for NaN and infinity, of which `advice` says what to do."""
    check_stored(state, where)
    if bad := describe_non_finite(state):
        raise ValueError(f"{_whose(where)} values that are not finite: {bad}. {advice}")


def _whose(where: Path) -> str:
    return f"The weights in {where} hold" if where.is_dir() else f"{where} holds"


def is_stored(tensor: Tensor) -> bool:
    """Whether all the numbers of a tensor are there: one in a pickle may repeat a few over any shape, or have none."""
    dense = tensor.layout is torch.strided and tensor.device.type == "cpu"
    return dense and tensor.numel() * tensor.itemsize <= tensor.untyped_storage().nbytes()


def describe_non_finite(state: Mapping[str, Tensor]) -> str | None:
    """The names of weights with NaN or infinity and how many values are bad, or None when all are finite."""
    bad = {
        name: int((~torch.isfinite(tensor)).sum())
        for name, tensor in state.items()
        if tensor.dtype in DTYPES.values() and not torch.isfinite(tensor).all()
    }
    return ", ".join(f"{name} ({count} values)" for name, count in bad.items()) or None


def shapes_of(state: Mapping[str, Tensor]) -> Shapes:
    """Name -> shape of the tensors of a file or a network."""
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def describe_misfit(expected: Shapes, stored: Shapes) -> str | None:
    """How many tensors of a file are missing, unexpected or of another shape, each with an example; None if all fit."""
    common = expected.keys() & stored.keys()
    wrong = {
        "missing": expected.keys() - stored.keys(),
        "unexpected": stored.keys() - expected.keys(),
        "of another shape": {name for name in common if expected[name] != stored[name]},
    }
    return ", ".join(f"{len(names)} {what} (such as {min(names)})" for what, names in wrong.items() if names) or None


def fingerprint(networks: Iterable[torch.nn.Module], *facts: object) -> str:
    """Twelve hex digits that change with any weight of the networks and with the text of any fact."""
    digest = hashlib.sha256(repr(facts).encode())
    for network in networks:
        for tensor in network.state_dict().values():
            digest.update(tensor.cpu().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:12]
