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
from .task import Modules, Task
from .trainer import Settings, Trainer, learning_rate


@dataclass(frozen=True)
class Result:
    modules: Modules  # with the averaged weights
    history: list[dict[str, float]]  # of the first process
    seconds: float  # over all sittings


def fit(task: Task, settings: Settings, folder: Path, report: Callable[[str], None] = print) -> Result:
    """Train `task` in `folder`, going on from the checkpoint that is there.

    More steps than before may be asked for; the rate then follows the new, longer cosine. Writes `state.pt` (the
    checkpoint), `log.jsonl`, TensorBoard's files, `loss.png` and `sheet.png`. Ctrl-C saves and re-raises. Started by
    torchrun in several processes, each takes its share of every batch and the first one writes.
    Raises ValueError for a checkpoint of another run, OSError when the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(task, settings)
    progress = checkpoint.load(folder, trainer.networks, trainer.average, trainer.optimizer, trainer.device) or {}
    trainer.settle()
    trainer.done, looked, spent = (progress.get(name, 0) for name in ("step", "looked", "seconds"))
    if len(set(gather_object([trainer.done]))) > 1:
        raise ValueError(
            f"The processes find different checkpoints. {folder} must be one folder that all of them share."
        )
    first = trainer.accelerator.is_main_process
    log = Log(folder if first else None, progress.get("history", []))
    if progress and first:
        report(f"resumed at step {trainer.done} of {settings.steps}")
    started = saved = time.monotonic()

    def seconds() -> float:
        return spent + time.monotonic() - started

    def save() -> None:
        if first:
            progress = {"step": trainer.done, "looked": looked, "history": log.history, "seconds": seconds()}
            checkpoint.save(folder, trainer.networks, trainer.average, trainer.optimizer, **progress)
            log.plot()

    def look() -> None:
        nonlocal looked
        if first:
            with trainer.averaged() as networks:
                if metrics := task.validate(networks):
                    log.add({"step": trainer.done, **{f"validation_{k}": v for k, v in metrics.items()}})
                picture = task.sheet(networks)
            if picture is not None:
                picture.save(folder / "sheet.png")
                log.picture(picture, trainer.done)
        trainer.accelerator.wait_for_everyone()
        looked = trainer.done

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
            if settings.validate_every and step % settings.validate_every == 0:
                look()
            if time.monotonic() - saved > settings.save_every:
                save()
                saved = time.monotonic()
        if looked < settings.steps:
            look()
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
