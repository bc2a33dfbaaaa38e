"""Steps of training: batch, precision, processes, update, averaged weights.

What is drawn at random in a step depends on (seed, step) alone, so a run that was killed and resumed draws what the
uninterrupted run would have drawn, and so does a run of several processes.
"""

from __future__ import annotations

import atexit
import math
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..interruption import undivided
from .fsdp_settings import sharding_plan
from .log import PROJECT, Tracker
from .one_process import LatestWeights, OneProcess
from .optimizers import OptimizerKind, make_optimizer
from .precision import Precision, autocast
from .ranges import Count, NotNegative, Positive, Share, ShareBelowOne, Whole
from .task import Batch, Task

if TYPE_CHECKING:
    from accelerate import PartialState

    from .sharding import Sharding

PATIENCE = timedelta(days=7)  # of processes that wait while the first one encodes or validates


@dataclass(frozen=True)
class Settings:
    steps: Count
    learning_rate: Positive
    warmup: Whole = 100  # steps
    final_rate: Share = 0.02  # of the learning rate, at the end of the cosine; 1 keeps it constant
    weight_decay: NotNegative = 0.01
    betas: tuple[ShareBelowOne, ShareBelowOne] = (0.9, 0.98)
    gradient_norm: Positive = 1.0  # longer gradients are cut to this length
    ema: ShareBelowOne = 0.998  # of the trained parameters; 0 takes them as they are
    accumulate: Count = 1  # parts that a process's share of a batch is cut into
    precision: Precision = "bf16"  # of the forward pass (autocast); what is trained stays float32
    optimizer: OptimizerKind = "adamw"  # or with moments of 8 bits, by the package bitsandbytes
    seed: Whole = 0
    log_every: Count = 50  # steps
    save_every: Whole = 300  # seconds
    validate_every: Whole = 0  # steps between metrics and sheets; 0 is at the end only
    keep_best: bool = True  # what has the least validation error so far goes into `best`, if there is `validate_every`
    export_every: Whole = 0  # steps between exports into `exports`; 0 is none
    keep_last: Count = 3  # of these exports
    trackers: tuple[Tracker, ...] = ("tensorboard",)  # beside log.jsonl, by accelerate
    project: str = PROJECT  # of wandb and trackio
    device: Literal["cpu", "cuda"] = "cpu"  # which of several GPUs, CUDA_VISIBLE_DEVICES and torchrun say


def processes(settings: Settings) -> PartialState:
    """The processes of this run: one, or those that torchrun or accelerate started.

    Raises ValueError for a GPU that is not there, and for what cannot be done where networks are divided among them.
    """
    device = settings.device
    plan = sharding_plan()
    if device != "cpu" and not torch.cuda.is_available():
        raise ValueError(
            f"The run is to use {device}, but this machine has no GPU that torch can use; set run.device=cpu."
        )
    from accelerate import PartialState

    state = PartialState(cpu=device == "cpu", timeout=PATIENCE)
    atexit.unregister(_part)
    atexit.register(_part)
    if plan and state.num_processes > 1:
        for name, other in (("optimizer", "adamw8bit"), ("precision", "fp16")):
            if getattr(settings, name) == other:
                raise ValueError(
                    f"run.{name} = {other} is not supported where FSDP divides the networks. Set "
                    f"run.{name}={getattr(Settings, name)}, or start with torchrun, which leaves them whole."
                )
    return state


def _part() -> None:
    """End the talk among processes before Python ends: threads that still listen then abort the process."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


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


class GradientsNotFiniteError(FloatingPointError):
    """A step that would spoil the weights; all processes have the same gradients, and so raise it in the same step."""


class _Loss(nn.Module):
    """The task's loss as the forward pass of all its networks, which is what can be run in several processes."""

    def __init__(self, task: Task, settings: Settings):
        super().__init__()
        self.networks = nn.ModuleDict(dict(task.modules()))
        self.task = task
        self.precision: Precision = settings.precision

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        device = next(iter(batch.values())).device
        with autocast(device, self.precision):
            return self.task.loss(batch)


def _accelerator(settings: Settings) -> Any:
    """What divides the work among the processes of this run."""
    from accelerate import Accelerator

    processes(settings)
    return Accelerator(cpu=settings.device == "cpu", mixed_precision="no")  # that is `precision`


def _sharding(loss: _Loss, accelerator: Any) -> Sharding | None:
    """The division of what is trained among the processes, if accelerate is set to it; one has nothing to divide."""
    plan = sharding_plan() if accelerator.num_processes > 1 else None
    if plan is None:
        return None
    from .sharding import Sharding  # which not every torch has, as a host may bring it

    return Sharding(loss, loss.networks, plan, accelerator.device)


def _average(parameters: Sequence[Tensor], decay: float, alone: bool) -> Any:
    """The average of what is trained; alone and without a decay, the weights as they are."""
    if alone and not decay:
        return LatestWeights()
    from diffusers.training_utils import EMAModel

    return EMAModel(cast(Any, parameters), decay=decay, foreach=True)


class Trainer:
    """One run of a task in a folder: `step()` after `step()`, which a benchmark may call as well.

    In `alone`, a process on a device of its own, it needs nothing of accelerate, nor of diffusers without an average.
    """

    def __init__(self, task: Task, settings: Settings, alone: OneProcess | None = None):
        self.task = task
        self.settings = settings
        self.accelerator: Any = alone or _accelerator(settings)
        self.device = self.accelerator.device
        loss = _Loss(task, settings)
        self.sharding = _sharding(loss, self.accelerator)
        self.networks = loss.networks if self.sharding else loss.networks.to(self.device)
        self.parameters = [p for p in self.networks.parameters() if p.requires_grad]
        self.optimizer = make_optimizer(
            settings.optimizer,
            self._groups(),
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            betas=settings.betas,
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=settings.precision == "fp16")
        self.average = _average(self.own(), settings.ema, alone is not None)
        self.run: Any = loss if self.sharding else self.accelerator.prepare_model(loss)
        self.done = 0
        self.whole = True  # no update is half made, and the weights are not the averaged ones
        self._reader = ThreadPoolExecutor(1, "fetch")
        self._ahead: dict[int, Any] = {}
        count = settings.accumulate
        first = self.accelerator.process_index * count
        self._parts = self.accelerator.num_processes * count  # of a batch, and which of them are this process's
        self._mine = range(first, first + count)
        self.train()

    def train(self) -> None:
        """Training mode for what is trained; a frozen network stays in evaluation mode."""
        for network in self.networks.children():
            network.train(any(p.requires_grad for p in network.parameters()))

    def own(self) -> Sequence[Tensor]:
        """What this process holds of what is trained: the parameters, or its shares of them."""
        if not self.sharding:
            return self.parameters
        from .sharding import own_shares

        return own_shares(self.parameters)

    def _groups(self) -> list[dict[str, Any]]:
        rates = self.task.rates()
        unknown = rates.keys() - set(self.networks.keys())
        if unknown:
            raise ValueError(f"There are rates for {', '.join(unknown)}, which is no network of this task.")
        groups = [
            {"params": [p for p in network.parameters() if p.requires_grad], "factor": rates.get(name, 1.0)}
            for name, network in self.networks.items()
        ]
        if not self.parameters:
            raise ValueError("None of the networks has a parameter to train.")
        return [group for group in groups if group["params"]]

    def settle(self) -> None:
        """Let what the settings say now hold, also for what a checkpoint has brought back."""
        for group, own in zip(self.optimizer.param_groups, self._groups(), strict=True):
            group |= {"factor": own["factor"], "weight_decay": self.settings.weight_decay, "betas": self.settings.betas}
        self.average.decay = self.settings.ema

    def _seed(self, step: int) -> int:
        return (self.settings.seed * 1_000_003 + step) % 2**62

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

        In fp16 the gradients of a step may overflow: it changes nothing, and the scale of the next ones is halved.
        Raises GradientsNotFiniteError, before anything is changed, when the gradients are not finite otherwise.
        """
        rate = learning_rate(self.settings, self.done)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        shares = self._read(self.done)
        self.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=self.device))
        for part, share in zip(self._mine, shares, strict=True):
            torch.manual_seed(
                (-1 - self._seed(self.done) * self._parts - part) % 2**62
            )  # for dropout, apart from what is drawn
            with self._waiting(last=part == self._mine[-1]):
                share = {name: values.to(self.device, non_blocking=True) for name, values in share.items()}
                losses = self.run(share)
                self.scaler.scale(losses["loss"] / len(shares)).backward()
            for name, value in losses.items():
                sums[name] += value.detach().float() / len(shares)
        self.scaler.unscale_(self.optimizer)
        norm = self._cut_gradients()
        finite = bool(norm.isfinite())
        if not finite and self.scaler.get_scale() <= 1:
            raise GradientsNotFiniteError(
                f"The gradients of step {self.done + 1} are not finite, and would be again. Look at the log: a "
                "lower run.learning_rate, a longer run.warmup or run.precision=fp32 usually help, and may be changed "
                "in going on; broken data must be mended."
            )
        with undivided():
            self.whole = False
            if finite:
                self.scaler.step(self.optimizer)
                self.average.step(self.own())
            self.scaler.update(None if finite else self.scaler.get_scale() / 2)
            self.done += 1
            self.whole = True
        return sums

    def _waiting(self, last: bool) -> Any:
        """How a part's gradients go to the other processes: with the last one's, or at once where they are divided.

        Whole gradients until the last part would take the memory that dividing them saves.
        """
        return nullcontext() if last or self.sharding else self.accelerator.no_sync(self.run)

    def _cut_gradients(self) -> Tensor:
        """Cut gradients to the length that the settings say; returns the length that they had."""
        if not self.sharding:
            return self.accelerator.clip_grad_norm_(self.parameters, self.settings.gradient_norm)
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        norm: Any = nn.utils.get_total_norm(gradients)
        norm = norm.full_tensor()
        nn.utils.clip_grads_with_norm_(self.parameters, self.settings.gradient_norm, norm)
        return norm

    @contextmanager
    def averaged(self):
        """The networks by name, with the averaged weights and in evaluation mode while inside.

        Where they are divided all processes must go inside, and have them whole there.
        """
        self.average.store(self.own())
        self.whole = False
        try:
            self.average.copy_to(self.own())
            if self.sharding:
                self.sharding.unite()
            self.networks.eval()
            with torch.no_grad():
                yield dict(self.networks.items())
        finally:
            with undivided():
                if self.sharding:
                    self.sharding.divide()
                self.average.restore(self.own())
                self.train()
                self.whole = True

    def finish(self) -> None:
        """Leave the networks whole, with the averaged weights and in evaluation mode."""
        self.average.copy_to(self.own())
        if self.sharding:
            self.sharding.unite()
        self.networks.eval()

    def close(self) -> None:
        self._reader.shutdown(cancel_futures=True)
