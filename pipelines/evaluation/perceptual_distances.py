"""LPIPS by torchmetrics and DreamSim by its own package, their weights from folders on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..weights.pretrained import reading
from ..weights.reading import unpickle

ALEXNET_SHA256 = "7be5be79"  # how it starts
ALEXNET = f"alexnet-owt-{ALEXNET_SHA256}.pth"  # torchvision's name for it in a torch hub folder
DREAMSIM = (
    "dino_vitb16_pretrain.pth",
    "open_clip_vitb16_pretrain.pth.tar",
    "clip_vitb16_pretrain.pth.tar",
    "ensemble_lora/adapter_config.json",
    "facebookresearch_dino_main/hubconf.py",  # these two torch hub would download
    "checkpoints/dino_vitbase16_pretrain.pth",
)
ADAPTERS = ("adapter_model.safetensors", "adapter_model.bin")  # peft would look online for others

PictureDistance = Callable[[Image.Image, Image.Image], float]


@dataclass(frozen=True)
class Lpips:
    """LPIPS of two pictures [3,H,W] in 0..1 of one size."""

    metric: Any
    device: str | torch.device
    exact: bool  # whether AlexNet's weights are torchvision's
    one_at_a_time: Lock = field(default_factory=Lock)  # the metric has a state

    @torch.no_grad()
    def __call__(self, a: Tensor, b: Tensor) -> float:
        with self.one_at_a_time:
            value = float(self.metric(a[None].to(self.device), b[None].to(self.device)))
            self.metric.reset()
        return value


@contextmanager
def _hub(folder: Path) -> Iterator[None]:
    """torch hub's folder for as long as this lasts."""
    before = torch.hub.get_dir()
    torch.hub.set_dir(folder)
    try:
        yield
    finally:
        torch.hub.set_dir(before)


def load_lpips(folder: Path, device: str | torch.device = "cpu") -> Lpips:
    """LPIPS on AlexNet; `folder` is a torch hub folder with `checkpoints/` in it. torchmetrics has the linear weights.

    Raises FileNotFoundError, ValueError.
    """
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    path = folder / "checkpoints" / ALEXNET
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: torchvision's AlexNet, as torch hub keeps it "
            "(by default in .cache/torch/hub of your home folder)."
        )
    with reading(str(path)), _hub(folder):
        unpickle(path)  # torch hub would run what a pickle says
        metric = LearnedPerceptualImagePatchSimilarity("alex", normalize=True)
    exact = sha256(path.read_bytes()).hexdigest().startswith(ALEXNET_SHA256)
    return Lpips(metric.to(device), device, exact)


def load_dreamsim(folder: Path, device: str | torch.device = "cpu") -> PictureDistance:
    """DreamSim's ensemble; `folder` is the package's cache folder as one use with a connection leaves it.

    That is its unzipped ensemble, and what torch hub keeps there for it: facebookresearch/dino's code and DINO's
    weights. Raises FileNotFoundError where a part is missing, so that nothing is downloaded, ValueError, ImportError.
    """
    lora = folder / "ensemble_lora"
    adapter = next((name for name in ADAPTERS if (lora / name).is_file()), ADAPTERS[0])
    for path in (*(folder / name for name in DREAMSIM), lora / adapter):
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} is missing. Needed is the cache folder of dreamsim's ensemble as its first use fills it; "
                "see docs/evaluation.md, Backbones."
            )
    from dreamsim import dreamsim  # pyright: ignore[reportMissingImports]  # optional

    with reading(f"DreamSim in {folder}"), _hub(folder):
        model, prepare = dreamsim(pretrained=True, device=str(device), cache_dir=str(folder))

    @torch.no_grad()
    def distance(a: Image.Image, b: Image.Image) -> float:
        return float(model(prepare(a).to(device), prepare(b).to(device)))

    return distance
