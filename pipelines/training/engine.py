"""A training run in a folder: checkpoints, log, looks at what is learned, and going on exactly where it stopped."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate.utils import gather_object, reduce
from torch import Tensor

from . import checkpoint
from .log import Log
from .precision import computes_in_bfloat16
from .task import Modules, Task
from .trainer import Settings, Trainer, learning_rate

Report = Callable[[str], None]


@dataclass(frozen=True)
class Result:
    modules: Modules  # with the averaged weights
    history: list[dict[str, float]]  # of the first process
    seconds: float  # over all sittings


def fit(task: Task, settings: Settings, folder: Path, report: Report = print) -> Result:
    """Train `task` in `folder`, going on from the checkpoint that is there.

    More steps than before may be asked for; the rate then follows the new, longer cosine. Writes `state.pt` (the
    checkpoint), `log.jsonl`, TensorBoard's files, `loss.png` and `sheet.png`. Ctrl-C saves and re-raises. Started by
    torchrun in several processes, each takes its share of every batch and the first one writes.
    Raises ValueError for a checkpoint of another run, OSError when the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(task, settings, folder, report)
    try:
        run.train()
    except KeyboardInterrupt:
        run.interrupt()
        raise
    finally:
        run.close()
    return run.finish()


class Run:
    """A task under way in a folder, from where its checkpoint left it."""

    def __init__(self, task: Task, settings: Settings, folder: Path, report: Report):
        self.task = task
        self.settings = settings
        self.folder = folder
        self.report = report
        self.trainer = trainer = Trainer(task, settings)
        progress = checkpoint.load(folder, trainer.networks, trainer.average, trainer.optimizer, trainer.device) or {}
        trainer.settle()
        trainer.done = progress.get("step", 0)
        if len(set(gather_object([trainer.done]))) > 1:
            raise ValueError(
                f"The processes find different checkpoints. {folder} must be one folder that all of them share."
            )
        self.first = trainer.accelerator.is_main_process
        self.log = Log(folder if self.first else None, progress.get("history", []))
        self.looked = progress.get("looked", 0)  # the step of the last look
        self.started = time.monotonic() - progress.get("seconds", 0)  # as if all sittings had been one
        self.saved = time.monotonic()
        if settings.precision == "bf16" and not computes_in_bfloat16(trainer.device) and self.first:
            report("this CPU has no bfloat16 of its own: the run uses float32, which is faster here")
        if progress and self.first:
            report(f"resumed at step {trainer.done} of {settings.steps}")

    @property
    def seconds(self) -> float:
        """How long it has trained, over all sittings."""
        return time.monotonic() - self.started

    def train(self) -> None:
        """Take the steps that are left, and log, look and save on the way."""
        trainer = self.trainer
        settings = self.settings
        sums: dict[str, Tensor] = {}
        since = trainer.done  # the step that the sums begin after
        while trainer.done < settings.steps:
            for name, value in trainer.step().items():
                sums[name] = sums.get(name, torch.zeros_like(value)) + value
            step = trainer.done
            if step % settings.log_every == 0 or step == settings.steps:
                self.log_losses({name: value / (step - since) for name, value in sums.items()})
                sums = {}
                since = step
            if settings.validate_every and step % settings.validate_every == 0:
                self.look()
            if time.monotonic() - self.saved > settings.save_every:
                self.save()
        if self.looked < settings.steps:
            self.look()

    def log_losses(self, means: dict[str, Tensor]) -> None:
        """Log this process's losses, averaged over all processes."""
        step = self.trainer.done
        losses = {name: float(value) for name, value in reduce(means, "mean").items()}
        rate = learning_rate(self.settings, step - 1)
        row = {"step": step, "seconds": round(self.seconds, 1), "rate": rate, **losses}
        if self.first:
            self.log.add(row)
            self.report(" ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()))

    def look(self) -> None:
        """Log and draw what the averaged networks do on what is held out."""
        if self.first:
            with self.trainer.averaged() as networks:
                metrics = self.task.validate(networks)
                picture = self.task.sheet(networks)
            if metrics:
                self.log.add({"step": self.trainer.done, **{f"validation_{k}": v for k, v in metrics.items()}})
            if picture is not None:
                picture.save(self.folder / "sheet.png")
                self.log.picture(picture, self.trainer.done)
        self.trainer.accelerator.wait_for_everyone()
        self.looked = self.trainer.done

    def save(self) -> None:
        """Write the checkpoint and the losses' plot."""
        if self.first:
            checkpoint.save(
                self.folder,
                self.trainer.networks,
                self.trainer.average,
                self.trainer.optimizer,
                step=self.trainer.done,
                looked=self.looked,
                history=self.log.history,
                seconds=self.seconds,
            )
            self.log.plot()
        self.saved = time.monotonic()

    def interrupt(self) -> None:
        """Save what is whole, and say how to go on."""
        if self.trainer.whole:
            self.save()
        if self.first:
            self.report(f"interrupted at step {self.trainer.done}; run again to go on")

    def close(self) -> None:
        """Stop reading ahead, and close the log."""
        self.trainer.close()
        self.log.close()

    def finish(self) -> Result:
        """Save, and give the networks their averaged weights."""
        trainer = self.trainer
        self.save()
        trainer.average.copy_to(trainer.parameters)
        trainer.networks.eval()
        return Result(dict(trainer.networks.items()), self.log.history, self.seconds)
