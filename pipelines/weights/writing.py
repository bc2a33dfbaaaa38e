"""Writing weight files: whole, readable by whom the umask lets, the same bytes for the same content."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from ..whole_files import whole


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file, whole or not at all. Raises OSError where it cannot be written, on a full disk say."""
    contents = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with whole(path) as part:
        save_file(contents, part, dict(metadata or {}))
        _sort_metadata(part)


def _sort_metadata(path: Path) -> None:
    """Put a safetensors file's metadata, which the library writes in an order of chance, into that of their names."""
    with open(path, "rb+") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        if "__metadata__" not in header:
            return
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) <= length:  # the same content; padding is blanks
            file.seek(8)
            file.write(text.ljust(length))
