"""A training run in a folder: checkpoints, log, looks at what is learned, and going on exactly where it stopped."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object, reduce
from torch import Tensor

from . import checkpoint
from .exports import BEST, EXPORTS, Export, export_folder, keep_last
from .log import Log, check_trackers
from .precision import computes_in_bfloat16
from .task import Modules, Task
from .trainer import GradientsNotFiniteError, Settings, Trainer, learning_rate

Report = Callable[[str], None]
ERROR = "error"  # the metric of `Task.validate` that says which weights are the best: the less, the better


@dataclass(frozen=True)
class Result:
    modules: Modules  # with the averaged weights
    history: list[dict[str, float]]  # of the first process
    seconds: float  # over all sittings


def fit(
    task: Task,
    settings: Settings,
    folder: Path,
    report: Report = print,
    facts: checkpoint.Facts | None = None,
    *,
    export: Export | None = None,
    configuration: dict[str, Any] | None = None,
) -> Result:
    """Train `task` in `folder`, going on from the checkpoint that is there.

    More steps than before may be asked for; the rate then follows the new, longer cosine. The settings may be
    changed in going on; `facts`, what else the run depends on, must be the same. Writes `state.pt` (the
    checkpoint), `log.jsonl`, TensorBoard's files, `loss.png` and `sheet.png`; `export` writes what is learned so far
    into a folder in mid-run, as the settings say, and trackers are told of the `configuration`. Ctrl-C and any error
    save what was learned and re-raise. Started by torchrun in several processes, each takes its share of every batch
    and the first one writes. Raises ValueError for a checkpoint of another run, OSError when the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    check_trackers(settings.trackers)
    facts = dict(facts or {})
    if settings.optimizer != "adamw":
        facts["run.optimizer"] = settings.optimizer  # the state of the one means nothing to the other
    run = Run(task, settings, folder, report, facts, export)
    run.log.describe(configuration or asdict(settings))
    try:
        run.train()
    except BaseException as error:
        run.stop(error)
        raise
    finally:
        run.close()
    return run.finish()


class Run:
    """A task under way in a folder, from where its checkpoint left it."""

    def __init__(
        self,
        task: Task,
        settings: Settings,
        folder: Path,
        report: Report,
        facts: checkpoint.Facts,
        export: Export | None = None,
    ):
        self.task = task
        self.export = export
        self.settings = settings
        self.folder = folder
        self.report = report
        self.trainer = trainer = Trainer(task, settings)
        self.facts = facts
        self.sharding = trainer.sharding
        progress = checkpoint.load(
            folder,
            trainer.networks,
            trainer.average,
            trainer.optimizer,
            device=trainer.device,
            facts=self.facts,
            divide=self.sharding.divided if self.sharding else None,
        )
        progress = progress or {}
        trainer.settle()
        if settings.precision == "fp16" and progress.get("scaler"):
            trainer.scaler.load_state_dict(progress["scaler"])
        trainer.done = progress.get("step", 0)
        if trainer.done > settings.steps:
            raise ValueError(
                f"{folder} has been trained for {trainer.done} steps already, more than run.steps = {settings.steps}. "
                "Ask for more, or start in another folder."
            )
        if len(set(gather_object([trainer.done]))) > 1:
            raise ValueError(
                f"The processes find different checkpoints. {folder} must be one folder that all of them share."
            )
        self.first = trainer.accelerator.is_main_process
        self.takes_part = self.first or self.sharding is not None  # in what is made of whole networks
        history = progress.get("history", [])
        self.log = Log(folder if self.first else None, history, settings.trackers, settings.project)
        self.looked = progress.get("looked", 0)  # the step of the last look
        self.started = time.monotonic() - progress.get("seconds", 0)  # as if all sittings had been one
        self.saved = time.monotonic()
        self.saved_step = trainer.done
        if settings.precision == "bf16" and not computes_in_bfloat16(trainer.device) and self.first:
            report("this CPU has no bfloat16 of its own: the run uses float32, which is faster here")
        if progress and self.first:
            report(f"resumed at step {trainer.done} of {settings.steps}{self._changes(progress.get('settings', {}))}")

    def _changes(self, before: dict[str, str]) -> str:
        """What is set otherwise than in the sitting before, to end a line."""
        now = self._plain_settings()
        changed = sorted(name for name in before.keys() & now.keys() if before[name] != now[name])
        changes = [f"run.{name} {now[name]} (was {before[name]})" for name in changed]
        return f"; from here on {', '.join(changes)}" if changes else ""

    def _plain_settings(self) -> dict[str, str]:
        return {name: str(value) for name, value in asdict(self.settings).items()}

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
            if settings.export_every and step % settings.export_every == 0:
                self.export_now()
            if self._is_time_to_save():
                self.save()
        if self.looked < settings.steps:
            self.look()

    def _is_time_to_save(self) -> bool:
        """Whether the last checkpoint is old; where all processes are needed for one, the first one's clock says it."""
        due = time.monotonic() - self.saved > self.settings.save_every
        return self.sharding.first_says(due) if self.sharding else due

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
        if self.takes_part:
            with self.trainer.averaged() as networks:
                if self.first:
                    self._look_at(networks)
        self.trainer.accelerator.wait_for_everyone()
        self.looked = self.trainer.done

    def _look_at(self, networks: Modules) -> None:
        metrics = self.task.validate(networks)
        picture = self.task.sheet(networks)
        if self.export and self._is_best(metrics):
            export_folder(self.folder / BEST, self.export, networks, self.trainer.done)
            self.report(f"step {self.trainer.done} is the best so far, and in {self.folder / BEST}")
        if metrics:
            self.log.add({"step": self.trainer.done, **{f"validation_{k}": v for k, v in metrics.items()}})
        if picture is not None:
            picture.save(self.folder / "sheet.png")
            self.log.picture(picture, self.trainer.done)

    def _is_best(self, metrics: dict[str, float]) -> bool:
        """Whether no look before had as small an error, and this is to be known; one look alone is no choice."""
        settings = self.settings
        if not settings.keep_best or not settings.validate_every or ERROR not in metrics:
            return False
        before = [row[f"validation_{ERROR}"] for row in self.log.history if f"validation_{ERROR}" in row]
        return metrics[ERROR] < min(before, default=math.inf) or not (self.folder / BEST).is_dir()

    def export_now(self) -> None:
        """Write what the averaged networks are now, for use, and remove the exports that are too many."""
        if self.takes_part and self.export:
            with self.trainer.averaged() as networks:
                if self.first:
                    exports = self.folder / EXPORTS
                    export_folder(exports / f"step_{self.trainer.done:07d}", self.export, networks, self.trainer.done)
                    keep_last(exports, self.settings.keep_last, self.trainer.done)
        self.trainer.accelerator.wait_for_everyone()

    def save(self, keep_before: bool = False) -> None:
        """Write the checkpoint and the losses' plot."""
        if self.takes_part:
            checkpoint.save(
                self.folder,
                self.trainer.networks,
                self.trainer.average,
                self.trainer.optimizer,
                keep_before=keep_before,
                gather=self.sharding.gathered if self.sharding else None,
                step=self.trainer.done,
                looked=self.looked,
                history=self.log.history,
                seconds=self.seconds,
                settings=self._plain_settings(),
                scaler=self.trainer.scaler.state_dict(),
                facts=self.facts,
            )
        self.log.plot()
        self.saved = time.monotonic()
        self.saved_step = self.trainer.done

    def stop(self, error: BaseException) -> None:
        """Save what is whole, and say how to go on; a checkpoint from before a breakdown of the numbers stays as well.

        Processes that have shares of the networks may be at different steps then: they go on from the last checkpoint.
        A second problem, such as the full disk that the first was, does not hide the first.
        """
        trainer = self.trainer
        if not trainer.whole or not self.takes_part:
            return
        broke_down = isinstance(error, GradientsNotFiniteError)
        together = broke_down or not self.sharding  # that all processes are here, at the same step
        try:
            if trainer.done != self.saved_step and together:
                self.save(keep_before=broke_down)
        except OSError as problem:
            self.report(str(problem))
            return
        if not self.first:
            return
        how = "interrupted" if isinstance(error, KeyboardInterrupt) else "stopped"
        lost = f" from the checkpoint of step {self.saved_step}" if trainer.done != self.saved_step else ""
        if lost and not (self.folder / checkpoint.NAME).exists():
            lost = " from the beginning"
        kept = broke_down and (self.folder / checkpoint.BEFORE).exists()
        also = f"; the checkpoint before is {checkpoint.BEFORE}" if kept else ""
        self.report(f"{how} at step {trainer.done}; run again to go on{lost}{also}")

    def close(self) -> None:
        """Stop reading ahead, and close the log."""
        self.trainer.close()
        self.log.close()

    def finish(self) -> Result:
        """Save, and give the networks their averaged weights."""
        trainer = self.trainer
        self.save()
        trainer.finish()
        return Result(dict(trainer.networks.items()), self.log.history, self.seconds)
