"""A network in one safetensors file: its tensors, and as metadata what kind it is and with which settings."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from textwrap import shorten
from typing import Any, TypeVar

import torch
from torch import nn

from .configs import blueprint, parse_table
from .reading import StateDict, describe_misfit, shapes_of
from .writing import save_tensors

Settings = TypeVar("Settings")
Network = TypeVar("Network", bound=nn.Module)
OVERWRITTEN = "pt"  # the format that other tools write over ours, as Hugging Face's files have it


def metadata(format: str, settings: Any, **notes: str) -> dict[str, str]:
    """The metadata for a network with these settings, a dataclass; `notes` such as its licence travel with it."""
    return {"format": format, "settings": json.dumps(asdict(settings)), **notes}


def settings_in(metadata: dict[str, str], format: str, kind: type[Settings], otherwise: str) -> Settings:
    """The settings of a file. Raises ValueError, saying `otherwise`, for a file of another format."""
    if metadata.get("format", OVERWRITTEN) not in (format, OVERWRITTEN) or "settings" not in metadata:
        raise ValueError(otherwise)
    table = parse_table(metadata["settings"], "what it has for settings")
    known = {entry.name for entry in fields(kind)}  # pyright: ignore[reportArgumentType]
    if unknown := table.keys() - known:
        raise ValueError(f"there is no setting {shorten(repr(min(unknown)), 80)}; known are {', '.join(sorted(known))}")
    try:
        return kind(**table)
    except TypeError as error:
        raise ValueError(f"its settings are not complete: {error}") from error


def check_counts(settings: Any, **least: int) -> None:
    """Raise ValueError for a setting that is no whole number, or below the `least` of its name."""
    for name, smallest in least.items():
        value = getattr(settings, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < smallest:
            raise ValueError(f"'{name}' must be a whole number of {smallest} or more, not {shorten(repr(value), 80)}")


def filled(make: Callable[[Any], Network], state: StateDict, path: Path, operations: Any, what: str) -> Network:
    """The network that `make` makes of layers, with the tensors of a file, which must be all and no others.

    It is made without memory first. Raises ValueError, naming the file and `what` it lacks.
    """
    with blueprint(str(path), len(state)):
        expected = shapes_of(make(nn).state_dict())
    if misfit := describe_misfit(expected, shapes_of(state)):
        raise ValueError(f"{path} does not hold the tensors {what}: {misfit}.")
    network = make(operations)
    network.load_state_dict(state)
    return network.eval()


def save(module: nn.Module, path: Path, dtype: torch.dtype, metadata: dict[str, str]) -> None:
    """Write a network's tensors in this precision, whole or not at all."""
    save_tensors(path, {name: tensor.to("cpu", dtype) for name, tensor in module.state_dict().items()}, metadata)
