"""LPIPS by torchmetrics and DreamSim by its own package, their weights from folders on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

ALEXNET = "alexnet-owt-7be5be79.pth"  # torchvision's name for it in a torch hub folder
DREAMSIM = ("dino_vitb16_pretrain.pth", "open_clip_vitb16_pretrain.pth.tar", "clip_vitb16_pretrain.pth.tar")

Distance = Callable[[Tensor, Tensor], float]  # of two pictures [3,H,W] in 0..1 of one size
PictureDistance = Callable[[Image.Image, Image.Image], float]


def load_lpips(folder: Path, device: Any = "cpu") -> Distance:
    """LPIPS on AlexNet; `folder` is a torch hub folder with `checkpoints/` in it. torchmetrics has the linear weights.

    Raises FileNotFoundError, ValueError.
    """
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    if not (folder / "checkpoints" / ALEXNET).is_file():
        raise FileNotFoundError(
            f"{folder / 'checkpoints' / ALEXNET} is missing: torchvision's AlexNet, as torch hub keeps it "
            "(by default in .cache/torch/hub of your home folder)."
        )
    before = torch.hub.get_dir()
    torch.hub.set_dir(folder)
    try:
        metric = LearnedPerceptualImagePatchSimilarity("alex", normalize=True)
    except (OSError, RuntimeError, EOFError) as error:
        raise ValueError(f"{folder / 'checkpoints' / ALEXNET} cannot be read: {error}") from error
    finally:
        torch.hub.set_dir(before)
    metric = metric.to(device)

    @torch.no_grad()
    def distance(a: Tensor, b: Tensor) -> float:
        value = float(metric(a[None].to(device), b[None].to(device)))
        metric.reset()
        return value

    return distance


def load_dreamsim(folder: Path, device: Any = "cpu") -> PictureDistance:
    """DreamSim's ensemble; `folder` is the package's own cache of it, unzipped.

    Raises FileNotFoundError where something of it is missing, so that nothing is downloaded, and ImportError.
    """
    for name in (*DREAMSIM, "ensemble_lora"):
        if not (folder / name).exists():
            raise FileNotFoundError(f"{folder / name} is missing. Needed is the cache folder of dreamsim's ensemble.")
    from dreamsim import dreamsim  # pyright: ignore[reportMissingImports]  # optional

    model, prepare = dreamsim(pretrained=True, device=str(device), cache_dir=str(folder))

    @torch.no_grad()
    def distance(a: Image.Image, b: Image.Image) -> float:
        return float(model(prepare(a).to(device), prepare(b).to(device)))

    return distance
