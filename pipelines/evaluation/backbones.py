"""The networks that metrics need: which are there, and why others are not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .features import Clip, Features, load_clip, load_cmmd_clip, load_dino, load_dinov2
from .perceptual import Lpips, PictureDistance, load_dreamsim, load_lpips

# Name: what its folder is.
BACKBONES = {
    "clip_b32": "transformers folder of openai/clip-vit-base-patch32",
    "clip_l336": "transformers folder of openai/clip-vit-large-patch14-336",
    "dino": "transformers folder of facebook/dino-vits16",
    "dinov2": "transformers folder of facebook/dinov2-large",
    "lpips": "torch hub folder with torchvision's AlexNet",
    "dreamsim": "dreamsim's cache folder with its ensemble",
}


@dataclass
class Backbones:
    """What was loaded; None is missing, and so are its metrics."""

    clip_b32: Clip | None = None
    clip_l336: Features | None = None
    dino: Features | None = None
    dinov2: Features | None = None
    lpips: Lpips | None = None
    dreamsim: PictureDistance | None = None
    folders: dict[str, str] = field(default_factory=dict)

    def why_not(self, name: str) -> str:
        """Why metrics that need this backbone are missing; empty where they are not."""
        return "" if not name or getattr(self, name) else f"no --{name.replace('_', '-')}: {BACKBONES[name]}"

    def inexact(self) -> list[str]:
        """Names of those that are not the published network; DreamSim's package knows no others."""
        return [name for name in BACKBONES if not getattr(getattr(self, name), "exact", True)]


def load_backbones(folders: Mapping[str, Path | None], device: Any = "cpu") -> Backbones:
    """The backbones whose folders are given. Raises FileNotFoundError, ValueError, ImportError."""
    loaders: dict[str, Any] = {
        "clip_b32": lambda folder: load_clip(folder, device),
        "clip_l336": lambda folder: load_cmmd_clip(folder, device),
        "dino": lambda folder: load_dino(folder, device),
        "dinov2": lambda folder: load_dinov2(folder, device),
        "lpips": lambda folder: load_lpips(folder, device),
        "dreamsim": lambda folder: load_dreamsim(folder, device),
    }
    given = {name: Path(folder) for name, folder in folders.items() if folder}
    if unknown := given.keys() - loaders.keys():
        raise ValueError(f"There is no backbone {', '.join(unknown)}; there are {', '.join(BACKBONES)}.")
    loaded = {name: loaders[name](folder) for name, folder in given.items()}
    return Backbones(**loaded, folders={name: str(folder) for name, folder in given.items()})
