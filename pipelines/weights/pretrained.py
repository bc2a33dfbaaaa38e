"""Networks from folders as transformers and diffusers save them: whole, or an error that names the folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Makes one ValueError that names `what` of all that a library raises at damaged files."""
    try:
        yield
    except Exception as error:  # a pickle, a tokenizer and a safetensors file each fail in many ways
        detail = shorten(f"{type(error).__name__} {error}", 300)
        raise ValueError(
            f"{what} cannot be read. It may be cut off, another network's, or a web page saved under its name: "
            f"download it again. In detail: {detail}"
        ) from error


def load_whole(kind: Any, folder: Path, what: str, **options: Any) -> tuple[Any, list[str]]:
    """A transformers network, frozen, in float32, and names of tensors in its folder that it has no use for.

    transformers itself would put random weights in the place of missing ones. Raises ValueError naming `what`, the
    folder and what is wrong with it.
    """
    with reading(f"{what} in {folder}"):
        network, found = kind.from_pretrained(
            folder, local_files_only=True, output_loading_info=True, dtype=torch.float32, **options
        )
    if missing := sorted(found["missing_keys"]):
        raise ValueError(
            f"The weights in {folder} are not those of {kind.__name__}: {len(missing)} are missing, such as "
            f"{missing[0]}. With random ones in their place every number would be wrong."
        )
    return network.requires_grad_(False).eval(), sorted(found["unexpected_keys"])


def present(path: Path, needed: str) -> Path:
    """The path. Raises FileNotFoundError, saying what is `needed`, when no file is there."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing. Needed is {needed}.")
    return path
