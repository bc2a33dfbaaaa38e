"""The training loop: optimizer, schedule, precision, averaged weights, log, checkpoints and exact resume.

What is drawn at random in a step depends on (seed, step) alone, so a run that was killed and resumed draws what the
uninterrupted run would have drawn, and so does a run of several processes.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import reduce, send_to_device
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from . import checkpoint
from .log import Log
from .task import Batch, Modules, Task


@dataclass(frozen=True)
class Settings:
    steps: int
    learning_rate: float
    warmup: int = 100  # steps
    final_rate: float = 0.02  # share of the learning rate at the end of the cosine; 1 keeps it constant
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.98)
    gradient_norm: float = 1.0
    ema: float = 0.998  # of the trained parameters
    accumulate: int = 1  # parts that a process's share of a batch is cut into
    precision: str = "bf16"  # of the forward pass: "bf16" (autocast) or "fp32"; what is trained stays float32
    seed: int = 0
    log_every: int = 50  # steps
    save_every: int = 300  # seconds
    validate_every: int = 0  # steps between metrics and sheets; 0 is at the end only
    device: str = "cpu"


@dataclass(frozen=True)
class Result:
    modules: Modules  # with the averaged weights
    history: list[dict[str, float]]
    seconds: float  # over all sittings


def learning_rate(settings: Settings, step: int) -> float:
    """Linear warm-up, then a cosine to `final_rate` of the peak."""
    warm = min(1.0, (step + 1) / settings.warmup) if settings.warmup else 1.0
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, step / settings.steps)))
    return settings.learning_rate * warm * (settings.final_rate + (1 - settings.final_rate) * cosine)


def cut(batch: Batch, part: int, parts: int) -> Batch:
    """Samples of one of equal parts of a batch. Raises ValueError when it cannot be cut so."""
    count = len(next(iter(batch.values())))
    if count % parts:
        raise ValueError(f"A batch of {count} samples cannot be cut into {parts} equal parts (processes x accumulate).")
    size = count // parts
    return {name: values[part * size : (part + 1) * size] for name, values in batch.items()}


class _Loss(nn.Module):
    """The task's loss as the forward pass of all its networks, which is what can be run in several processes."""

    def __init__(self, task: Task, settings: Settings):
        super().__init__()
        self.networks = nn.ModuleDict(dict(task.modules()))
        self.task, self.autocast = task, settings.precision == "bf16"

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        device = next(iter(batch.values())).device
        with torch.autocast(device.type, torch.bfloat16, enabled=self.autocast):
            return self.task.loss(batch)


class Trainer:
    """One run of a task in a folder: `step()` after `step()`, which a benchmark may call as well."""

    def __init__(self, task: Task, settings: Settings):
        self.task, self.settings = task, settings
        self.accelerator = Accelerator(cpu=settings.device == "cpu")
        self.device = self.accelerator.device
        loss = _Loss(task, settings)
        self.networks = loss.networks.to(self.device)
        self.parameters = [p for p in self.networks.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self._groups(), lr=settings.learning_rate, weight_decay=settings.weight_decay, betas=settings.betas
        )
        self.average = EMAModel(self.parameters, decay=settings.ema, foreach=True)
        self.run: Any = self.accelerator.prepare_model(loss)
        self.done = 0
        self.whole = True  # no update is half made, and the weights are not the averaged ones
        self._reader = ThreadPoolExecutor(1, "fetch")
        self._ahead: dict[int, Any] = {}
        count, process = settings.accumulate, self.accelerator.process_index
        self._parts = self.accelerator.num_processes * count  # of a batch, and which of them are this process's
        self._mine = range(process * count, (process + 1) * count)
        self.train()

    def train(self) -> None:
        """Training mode for what is trained; a frozen network stays in evaluation mode."""
        for network in self.networks.children():
            network.train(any(p.requires_grad for p in network.parameters()))

    def _groups(self) -> list[dict[str, Any]]:
        rates = self.task.rates()
        groups = [
            {"params": [p for p in network.parameters() if p.requires_grad], "factor": rates.get(name, 1.0)}
            for name, network in self.networks.items()
        ]
        if not self.parameters:
            raise ValueError("None of the networks has a parameter to train.")
        return [group for group in groups if group["params"]]

    def _seed(self, step: int) -> int:
        return self.settings.seed * 1_000_003 + step

    def _shares(self, step: int) -> list[Batch]:
        """This process's fetched parts of a step's batch."""
        generator = torch.Generator().manual_seed(self._seed(step))
        batch = self.task.draw(step, generator)
        return [self.task.fetch(cut(batch, part, self._parts)) for part in self._mine]

    def _read(self, step: int) -> list[Batch]:
        """The shares of a step, and those of the next one under way."""
        now = self._ahead.pop(step, None) or self._reader.submit(self._shares, step)
        if step + 1 < self.settings.steps:
            self._ahead[step + 1] = self._reader.submit(self._shares, step + 1)
        return now.result()

    def step(self) -> dict[str, Tensor]:
        """One update; returns the losses of this process's shares.

        Raises FloatingPointError, before anything is changed, when the gradients are not finite.
        """
        rate = learning_rate(self.settings, self.done)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        shares = self._read(self.done)
        self.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=self.device))
        for part, share in zip(self._mine, shares, strict=True):
            torch.manual_seed(-1 - self._seed(self.done) * self._parts - part)  # for dropout, apart from what is drawn
            with nullcontext() if part == self._mine[-1] else self.accelerator.no_sync(self.run):
                losses = self.run(send_to_device(share, self.device, non_blocking=True))
                self.accelerator.backward(losses["loss"] / len(shares))
            for name, value in losses.items():
                sums[name] += value.detach().float() / len(shares)
        norm: Any = self.accelerator.clip_grad_norm_(self.parameters, self.settings.gradient_norm)
        if not norm.isfinite():
            raise FloatingPointError(
                f"The gradients of step {self.done + 1} are not finite. What was learned before is kept. Look at the "
                "log: a lower learning rate, a longer warm-up or precision fp32 usually help; broken data would too."
            )
        self.whole = False
        self.optimizer.step()
        self.average.step(self.parameters)
        self.done += 1
        self.whole = True
        return sums

    @contextmanager
    def averaged(self):
        """The networks by name, with the averaged weights and in evaluation mode while inside."""
        self.average.store(self.parameters)
        self.whole = False
        try:
            self.average.copy_to(self.parameters)
            self.networks.eval()
            with torch.no_grad():
                yield dict(self.networks.items())
        finally:
            self.average.restore(self.parameters)
            self.train()
            self.whole = True

    def close(self) -> None:
        self._reader.shutdown(cancel_futures=True)


def fit(task: Task, settings: Settings, folder: Path, report: Callable[[str], None] = print) -> Result:
    """Train `task` in `folder`, going on from the checkpoint that is there.

    Writes `state.pt` (checkpoint), `log.jsonl`, TensorBoard's files, `loss.png` and `sheet.png`. Ctrl-C saves and
    re-raises. Started by torchrun in several processes, each takes its share of every batch and the first one writes.
    Raises ValueError for a checkpoint of another run, OSError when the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(task, settings)
    progress = checkpoint.load(folder, trainer.networks, trainer.average, trainer.optimizer, trainer.device) or {}
    trainer.done, spent = progress.get("step", 0), progress.get("seconds", 0.0)
    first = trainer.accelerator.is_main_process
    log = Log(folder if first else None, progress.get("history", []))
    if progress and first:
        report(f"resumed at step {trainer.done} of {settings.steps}")
    started = saved = time.monotonic()

    def seconds() -> float:
        return spent + time.monotonic() - started

    def save() -> None:
        if first:
            progress = {"step": trainer.done, "history": log.history, "seconds": seconds()}
            checkpoint.save(folder, trainer.networks, trainer.average, trainer.optimizer, **progress)
            log.plot()

    def look() -> None:
        if first:
            with trainer.averaged() as networks:
                if metrics := task.validate(networks):
                    log.add({"step": trainer.done, **{f"validation_{k}": v for k, v in metrics.items()}})
                picture = task.sheet(networks)
            if picture is not None:
                picture.save(folder / "sheet.png")
                log.picture(picture, trainer.done)
        trainer.accelerator.wait_for_everyone()

    window: dict[str, Tensor] = {}
    since = trainer.done
    try:
        while trainer.done < settings.steps:
            for name, value in trainer.step().items():
                window[name] = window.get(name, torch.zeros_like(value)) + value
            step = trainer.done
            if step % settings.log_every == 0 or step == settings.steps:
                means = {name: value / (step - since) for name, value in window.items()}
                means = {name: float(value) for name, value in reduce(means, "mean").items()}
                rate = learning_rate(settings, step - 1)
                row = {"step": step, "seconds": round(seconds(), 1), "rate": rate, **means}
                window, since = {}, step
                if first:
                    log.add(row)
                    report(" ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()))
            due = settings.validate_every and step % settings.validate_every == 0
            if due or step == settings.steps:
                look()
            if time.monotonic() - saved > settings.save_every:
                save()
                saved = time.monotonic()
    except KeyboardInterrupt:
        if trainer.whole:
            save()
        if first:
            report(f"interrupted at step {trainer.done}; run again to go on")
        raise
    finally:
        trainer.close()
        log.close()
    save()
    trainer.average.copy_to(trainer.parameters)
    trainer.networks.eval()
    return Result(dict(trainer.networks.items()), log.history, seconds())
