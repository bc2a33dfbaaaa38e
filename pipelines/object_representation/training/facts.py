"""What a learned object's file says of how it was made."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from ...provenance import pack_version
from ...weights.manifest import sha256_of
from ..learned_object import as_json

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def facts_of(
    settings: DataclassInstance,
    sources: Sequence[Path],
    *,
    base_name: str,
    licence: str,
    hashes: Sequence[str] = (),
) -> dict[str, str]:
    """Plain texts for the metadata: settings, sha256 of the sources' files or of pixels, base model, licence.

    No time and no machine: the same pictures and settings make the same file.
    """
    return {
        "settings": as_json(asdict(settings)),
        "sources_sha256": as_json([*(sha256_of(path) for path in sources), *hashes]),
        "base_name": base_name,
        "licence": licence,
        "made_with": f"visual-insertion {pack_version()}",
    }


def sha256_of_pixels(pixels: Tensor) -> str:
    """Of a picture [3,H,W] uint8 that no file is known of."""
    return hashlib.sha256(repr(tuple(pixels.shape)).encode() + pixels.contiguous().numpy().tobytes()).hexdigest()
