"""The machine: system and memory, what torch computes on and in which precisions, and free disk."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..weights.hub import human_bytes
from .check import OK, PROBLEM, WARNING, Check, reason
from .installation import Installation

if TYPE_CHECKING:
    import torch

PRECISIONS = {"float32": 1e-2, "float16": 1e-2, "bfloat16": 5e-2}  # and the error of a product that is still right
LITTLE_DISK = 2_000_000_000  # bytes
NO_DISK = 200_000_000


def system(installation: Installation) -> Iterator[Check]:
    """Operating system, processor and memory."""
    memory = available_memory()
    total = f", {human_bytes(memory[1])} of memory, {human_bytes(memory[0])} available" if memory else ""
    machine = f"{platform.system()} {platform.release()} {platform.machine()}, {os.cpu_count()} CPU cores{total}"
    yield Check("system", OK, machine)


def available_memory() -> tuple[int, int] | None:
    """(available, total) bytes of memory; None where nothing tells."""
    try:
        import psutil
    except ImportError:
        return None
    memory = psutil.virtual_memory()
    return memory.available, memory.total


def devices(installation: Installation) -> Iterator[Check]:
    """Every device that torch computes on, then in which precisions the chosen one does it right."""
    import torch

    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        memory = f"{human_bytes(total)}, {human_bytes(free)} free"
        yield Check("device", OK, f"cuda:{index} {torch.cuda.get_device_name(index)}, {memory}")
    device = installation.device or best_device()
    if device == "cpu" and installation.device is None and shutil.which("nvidia-smi"):
        found = f"torch {torch.__version__} sees no GPU, though NVIDIA's tools are installed"
        yield Check("device", WARNING, found, "Update the driver, or install a build of torch for CUDA.")
    yield precision(device)


def best_device() -> str:
    """torch's name of what is computed on where nothing else is said."""
    import torch

    if not hasattr(torch, "accelerator"):  # before torch 2.6
        return "cuda" if torch.cuda.is_available() else "cpu"
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return accelerator.type if accelerator else "cpu"


def precision(name: str) -> Check:
    """In which precisions a device multiplies and convolves without NaN and gross errors."""
    import torch

    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except Exception as error:  # each kind of device fails in its own way
        return Check("device", PROBLEM, f"{name} cannot be used: {reason(error)}", "Take another device, such as cpu.")
    errors = {kind: error_in(device, getattr(torch, kind)) for kind in PRECISIONS}
    works = [kind for kind, error in errors.items() if error < PRECISIONS[kind]]
    broken = [kind for kind in PRECISIONS if kind not in works]
    found = f"{device} computes right in {', '.join(works) or 'no precision'}"
    if broken:
        found += f", not in {', '.join(broken)}"
    if "float32" in broken:
        return Check("device", PROBLEM, found, "Update the GPU's driver and torch, or start ComfyUI with --cpu.")
    if "float16" in broken and device.type != "cpu":
        return Check("device", WARNING, found, "Start ComfyUI with --force-fp32.")
    return Check("device", OK, found)


def error_in(device: torch.device, dtype: torch.dtype) -> float:
    """The relative error of a small product and convolution; infinite where there is none, or it is not finite."""
    import torch

    numbers = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    worst = 0.0
    for operation in (lambda x: x @ x, lambda x: torch.nn.functional.conv2d(x[None, None], x[None, None, :3, :3])):
        exact = operation(numbers.double())
        try:
            result = operation(numbers.to(device, dtype)).double().cpu()
        except RuntimeError:  # an operation that there is not in this precision
            return float("inf")
        error = float((result - exact).norm() / exact.norm())
        worst = max(worst, error if error < float("inf") else float("inf"))
    return worst


def disk(installation: Installation) -> Iterator[Check]:
    """Free disk where models and results are written, once for each disk."""
    folders = [folder for directories in installation.folders.values() for folder in directories[:1]]
    folders += [installation.output] if installation.output else []
    existing = {}
    for folder in [*filter(Path.is_dir, folders), Path.cwd()]:
        existing.setdefault(folder.stat().st_dev, folder)
    for folder in existing.values():
        free = shutil.disk_usage(folder).free
        state = PROBLEM if free < NO_DISK else WARNING if free < LITTLE_DISK else OK
        advice = "" if state == OK else "Free some space: weights and pictures could not be written."
        yield Check("disk", state, f"{human_bytes(free)} free on the disk of {folder}", advice)
