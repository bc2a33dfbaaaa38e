"""The networks that metrics need: which are there, and why others are not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ..weights.reading import fingerprint
from .detection import Detect, load_detector
from .features import Clip, Features, load_clip, load_cmmd_clip, load_dino, load_dinov2
from .metrics import BACKBONES
from .perceptual_distances import Lpips, PictureDistance, load_dreamsim, load_lpips


@dataclass
class Backbones:
    """What was loaded; None is missing, and so are its metrics."""

    clip_b32: Clip | None = None
    clip_l336: Features | None = None
    dino: Features | None = None
    dinov2: Features | None = None
    lpips: Lpips | None = None
    dreamsim: PictureDistance | None = None
    detector: Detect | None = None
    folders: dict[str, str] = field(default_factory=dict)

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """What tells the loaded networks from others, by name: their weights, DreamSim's by its files."""
        prints: dict[str, str] = {}
        for name in BACKBONES:
            backbone = getattr(self, name)
            network = getattr(backbone, "network", None) or getattr(backbone, "metric", None)
            if network is not None:
                prints[name] = fingerprint([network])
            elif backbone is not None:
                folder = Path(self.folders.get(name, ""))
                files = sorted((path.name, path.stat().st_size) for path in folder.glob("*") if path.is_file())
                prints[name] = repr((str(folder), files))
        return prints

    def why_not(self, name: str) -> str:
        """Why metrics that need this backbone are missing; empty where they are not."""
        return "" if not name or getattr(self, name) else f"no --{name.replace('_', '-')}: {BACKBONES[name]}"

    def inexact(self) -> list[str]:
        """Names of those that are not the published network; DreamSim's package knows no others."""
        return [name for name in BACKBONES if not getattr(getattr(self, name), "exact", True)]


def load_backbones(folders: Mapping[str, Path | None], device: str | torch.device = "cpu") -> Backbones:
    """The backbones whose folders are given. Raises FileNotFoundError, ValueError, ImportError."""
    loaders: dict[str, Callable[[Path, Any], Any]] = {
        "clip_b32": load_clip,
        "clip_l336": load_cmmd_clip,
        "dino": load_dino,
        "dinov2": load_dinov2,
        "lpips": load_lpips,
        "dreamsim": load_dreamsim,
        "detector": load_detector,
    }
    paths = {name: Path(folder) for name, folder in folders.items() if folder}
    unknown = paths.keys() - loaders.keys()
    if unknown:
        raise ValueError(f"There is no backbone {', '.join(unknown)}; there are {', '.join(BACKBONES)}.")
    loaded = {name: loaders[name](path, device) for name, path in paths.items()}
    return Backbones(**loaded, folders={name: str(path) for name, path in paths.items()})
