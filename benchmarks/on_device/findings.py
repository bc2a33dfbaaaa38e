"""What a part found out, written after each step, so that what ends a process does not end what is known."""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...pipelines.whole_files import write_text


def best_device() -> str:
    """Torch's name of what this machine computes on."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def distance(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """(largest difference in levels, PSNR in dB, 99 for none) of pictures [H,W,3] of 8 bits.

    Raises ValueError for pictures of two sizes.
    """
    if one.shape != other.shape:
        raise ValueError(f"The pictures are {one.shape} and {other.shape}.")
    difference = one.astype(float) - other
    error = float((difference**2).mean())
    return float(np.abs(difference).max()), 99.0 if not error else round(10 * np.log10(255**2 / error), 2)


class Findings:
    """Figures, facts and failures of one part, and pictures to look at."""

    def __init__(self, folder: Path, part: str, seconds: float):
        self.folder = folder
        self.part = part
        self.ends = time.monotonic() + seconds
        self.figures: dict[str, tuple[float, str]] = {}
        self.facts: dict[str, Any] = {}
        self.failures: dict[str, str] = {}

    @property
    def file(self) -> Path:
        return self.folder / f"{self.part}.json"

    def left(self) -> float:
        """Seconds."""
        return self.ends - time.monotonic()

    def check_time(self) -> None:
        """Raise TimeoutError when none is left."""
        if self.left() <= 0:
            raise TimeoutError("no time was left for it")

    def figure(self, name: str, value: float, unit: str) -> None:
        self.figures[f"{self.part}_{name}"] = (float(f"{value:.5g}"), unit)
        print(f"{self.part}_{name:52}{value:12.5g}  {unit}", flush=True)
        self._save()

    def fact(self, name: str, value: Any) -> None:
        self.facts[name] = value
        self._save()

    def failure(self, name: str, text: str) -> None:
        self.failures[name] = text[-6000:]
        print(f"FAILED {self.part} {name}: {text.strip().splitlines()[-1] if text.strip() else ''}", flush=True)
        self._save()

    @contextmanager
    def attempt(self, name: str) -> Iterator[None]:
        """What fails inside is written down, and what comes after goes on."""
        started = time.monotonic()
        try:
            yield
        except (Exception, SystemExit):
            self.failure(name, traceback.format_exc())
        self.facts.setdefault("seconds", {})[name] = round(time.monotonic() - started, 2)
        self._save()

    def compared(self, name: str, picture: np.ndarray, reference: np.ndarray) -> None:
        """The figures of a picture beside that of the CPU."""
        largest, psnr = distance(picture, reference)
        self.figure(f"{name}_psnr", psnr, "dB to the CPU's picture in float32, 99 is equal")
        self.figure(f"{name}_max", largest, "levels of 255, largest difference to it")

    def picture(self, name: str, picture: Image.Image) -> None:
        picture.convert("RGB").save(self.folder / f"{self.part}_{name}.jpg", quality=92)

    def _save(self) -> None:
        found = {"figures": self.figures, "facts": self.facts, "failures": self.failures}
        write_text(self.file, json.dumps(found, indent=1) + "\n")


def machine() -> dict[str, Any]:
    """What this machine computes on, as the driver tells it."""
    import torch

    facts: dict[str, Any] = {"python": sys.version.split()[0], "torch": torch.__version__, "device": best_device()}
    if facts["device"] == "cuda":
        properties = torch.cuda.get_device_properties(0)
        facts |= {"name": properties.name, "gb": round(properties.total_memory / 1e9, 1), "cuda": torch.version.cuda}
    return facts
