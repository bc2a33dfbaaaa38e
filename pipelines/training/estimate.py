"""What a training run will take, before it is started."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import psutil
import torch

from .optimizers import MOMENT_BYTES
from .task import Task
from .trainer import Settings, Trainer


@dataclass(frozen=True)
class Preparing:
    """What encoding a data set beforehand will take."""

    examples: int
    missing: int  # of them, in the cache
    seconds_each: float  # in one process

    @property
    def seconds(self) -> float:
        return self.missing * self.seconds_each


@dataclass(frozen=True)
class Estimate:
    """What a run will take, by a short measurement."""

    trained: dict[str, tuple[int, int]]  # network: (tensors, parameters)
    frozen: int  # parameters
    state_gb: float  # weights, gradients, moments and averages, in each process
    peak_gb: float  # of the device, or of this process on a CPU
    steps: int
    batch: int
    seconds_per_step: float
    device: str
    preparing: Sequence[Preparing] | None = ()  # before the first step; None where the data are not there

    @property
    def seconds(self) -> float:
        """All of it, as far as it is known."""
        return self.steps * self.seconds_per_step + sum(part.seconds for part in self.preparing or ())

    def __str__(self) -> str:
        lines = [f"{n}: trains {p:,} parameters in {t} tensors" for n, (t, p) in self.trained.items()]
        lines += [
            f"frozen: {self.frozen:,} parameters",
            f"memory: {self.state_gb:.2f} GB for weights and optimizer, {self.peak_gb:.2f} GB at the peak so far",
            f"steps: {self.steps:,} x {self.batch} samples, {self.seconds_per_step:.3g} s each, {self.device}",
        ]
        for part in self.preparing or ():
            encoding = (
                f"{part.missing:,} of them to be encoded, {duration(part.seconds)}" if part.missing else "encoded"
            )
            lines.append(f"data: {part.examples:,} examples, {encoding}")
        if self.preparing is None:
            lines.append("data: not there, so the time to encode them is not in the sum")
        lines.append(f"time: {duration(self.seconds)}")
        return "\n".join(lines)


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} seconds"


def measure(
    task: Task,
    batch: int,
    settings: Settings,
    measured: int = 2,
    preparing: Sequence[Preparing] | None = (),
) -> Estimate:
    """Take a few steps of a task with `batch` samples each, as a run would; nothing is written."""
    trainer = Trainer(task, settings)
    try:
        seconds = _median_seconds(trainer, measured)
    finally:
        trainer.close()
    every = [p for network in trainer.networks.values() for p in network.parameters()]
    trained = {}
    for name, network in trainer.networks.items():
        sizes = [p.numel() for p in network.parameters() if p.requires_grad]
        if sizes:
            trained[name] = (len(sizes), sum(sizes))
    count = sum(parameters for _, parameters in trained.values())
    moments = 2 * MOMENT_BYTES[settings.optimizer]
    state = sum(p.numel() * p.element_size() for p in every) + count * (4 + moments + 4)  # gradients, average
    if trainer.sharding:
        state /= trainer.accelerator.num_processes
    return Estimate(
        trained=trained,
        frozen=sum(p.numel() for p in every) - count,
        state_gb=state / 1e9,
        peak_gb=_peak_gb(trainer.device),
        steps=settings.steps,
        batch=batch,
        seconds_per_step=seconds,
        device=settings.device,
        preparing=preparing,
    )


def _median_seconds(trainer: Trainer, count: int) -> float:
    """The time of one step, after one that does not count."""
    times = []
    for _ in range(count + 1):
        started = time.perf_counter()
        trainer.step()
        if trainer.device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return median(times[1:])


def _peak_gb(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    return psutil.Process().memory_info().rss / 1e9
