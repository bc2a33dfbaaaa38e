"""A network in one safetensors file: its tensors, and as metadata what kind it is and with which settings."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from .writing import save_tensors

Settings = TypeVar("Settings")


def metadata(format: str, settings: Any, **notes: str) -> dict[str, str]:
    """The metadata for a network with these settings, a dataclass; `notes` such as its licence travel with it."""
    return {"format": format, "settings": json.dumps(asdict(settings)), **notes}


def settings_in(metadata: dict[str, str], format: str, kind: type[Settings], otherwise: str) -> Settings:
    """The settings of a file. Raises ValueError, saying `otherwise`, for a file of another format."""
    if metadata.get("format") != format:
        raise ValueError(otherwise)
    return kind(**json.loads(metadata["settings"]))


def save(module: nn.Module, path: Path, dtype: torch.dtype, metadata: dict[str, str]) -> None:
    """Write a network's tensors in this precision, whole or not at all."""
    save_tensors(path, {name: tensor.to("cpu", dtype) for name, tensor in module.state_dict().items()}, metadata)
