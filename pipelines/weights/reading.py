"""Reading weight files safely, with errors that name the file and say what to do."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

StateDict = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]


def is_pickle(path: Path) -> bool:
    """Whether torch wrote a file, new (a zip) or old; anything else is safetensors, or damaged.

    Raises FileNotFoundError.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist.")
    with open(path, "rb") as file:
        start = file.read(9)
    # safetensors begins with the length of its header, which may be any number, and then the header's brace
    return start.startswith((b"PK\3\4", b"\x80")) and start[8:] != b"{"


@contextmanager
def open_safetensors(path: Path) -> Iterator[Any]:
    """safetensors' view of a file. Raises ValueError for one that is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a readable safetensors file ({path.stat().st_size:,} bytes): {error}. "
            "It may be cut off, or a web page saved under that name; download it again and compare its size and sha256."
        ) from error


def _read_pickle(path: Path) -> StateDict:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or malicious pickle fails in many ways
        raise ValueError(
            f"{path} is a pickle that cannot be read as plain tensors ({type(error).__name__}), and nothing else is "
            "run from a weight file. Ask for a safetensors file of the same weights."
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path} does not hold a plain table of tensors. Convert it to safetensors first.")
    return state


def read_weights(path: Path) -> tuple[StateDict, dict[str, str]]:
    """Tensors and metadata of a weight file; the content decides the format, not the file's name.

    Raises FileNotFoundError, or ValueError for a file that is corrupt, cut off, or holds more than tensors.
    """
    path = Path(path)
    if is_pickle(path):
        return _read_pickle(path), {}
    with open_safetensors(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}


def describe_non_finite(state: StateDict) -> str | None:
    """The names of tensors with NaN or infinity and how many values are bad, or None when all are finite."""
    bad = {
        name: int((~torch.isfinite(tensor)).sum())
        for name, tensor in state.items()
        if tensor.is_floating_point() and not torch.isfinite(tensor).all()
    }
    return ", ".join(f"{name} ({count} values)" for name, count in bad.items()) or None


def shapes_of(state: StateDict) -> Shapes:
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
