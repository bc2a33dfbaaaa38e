"""The training loop: optimizer, schedule, precision, averaged weights, log, checkpoints and exact resume.

What is drawn at random in a step depends on (seed, step) alone, so a run that was killed and resumed draws what the
uninterrupted run would have drawn.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from PIL import Image
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from .plot import plot_history

Modules = Mapping[str, Any]  # networks by name; Any, because a caller knows its own classes


@dataclass(frozen=True)
class Settings:
    steps: int
    learning_rate: float
    warmup: int = 100  # steps
    final_rate: float = 0.02  # share of the learning rate at the end of the cosine
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.98)
    gradient_norm: float = 1.0
    ema: float = 0.998
    precision: str = "bf16"  # of the forward pass: "bf16" (autocast) or "fp32"; weights stay float32
    seed: int = 0
    log_every: int = 50  # steps
    save_every: int = 300  # seconds
    device: str = "cpu"


class Task(Protocol):
    """What a system brings to the engine."""

    def modules(self) -> Mapping[str, nn.Module]:
        """The trained networks by name."""
        ...

    def rates(self) -> Mapping[str, float]:
        """Learning-rate factor of each network (1 where absent)."""
        ...

    def loss(self, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Losses of one batch; the entry "loss" is minimised, the others are logged."""
        ...

    def sheet(self, modules: Modules) -> Image.Image | None:
        """A picture of what the averaged networks do now, if the system has one."""
        ...


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


def _average(decay: float):
    """Exponential average whose decay grows from 0, so that early steps are forgotten."""

    @torch.no_grad()
    def update(averaged, current, count):
        torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + float(count)) / (15 + float(count))))

    return update


def _save(path: Path, state: dict) -> None:
    part = path.with_suffix(".part")
    torch.save(state, part)
    os.replace(part, path)


def fit(task: Task, settings: Settings, folder: Path, report: Callable[[str], None] = print) -> Result:
    """Train `task` in `folder`, going on from the checkpoint that is there.

    Writes `state.pt` (checkpoint), `log.jsonl`, `loss.png` and `sheet.png`. Ctrl-C saves and re-raises.
    """
    folder.mkdir(parents=True, exist_ok=True)
    modules = nn.ModuleDict(dict(task.modules())).to(settings.device)
    rates = task.rates()
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in module.parameters() if p.requires_grad], "factor": rates.get(name, 1.0)}
            for name, module in modules.items()
        ],
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        betas=settings.betas,
    )
    average = AveragedModel(modules, multi_avg_fn=_average(settings.ema))
    averaged = cast(Modules, average.module)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    step, history, spent = 0, [], 0.0
    checkpoint = folder / "state.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=settings.device, weights_only=True)
        modules.load_state_dict(state["modules"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        step, history, spent = state["step"], state["history"], state["seconds"]
        report(f"resumed at step {step} of {settings.steps}")
    started = saved = time.monotonic()

    def save():
        state = {"modules": modules.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict()}
        seconds = spent + time.monotonic() - started
        _save(checkpoint, {**state, "step": step, "history": history, "seconds": seconds})
        with torch.no_grad():
            picture = task.sheet(averaged)
        if picture is not None:
            picture.save(folder / "sheet.png")
        plot_history(history, folder / "loss.png")

    device = torch.device(settings.device)
    window: dict[str, list[float]] = defaultdict(list)
    modules.train()
    average.eval()
    try:
        while step < settings.steps:
            rate = learning_rate(settings, step)
            for group in optimizer.param_groups:
                group["lr"] = rate * group["factor"]
            generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + step)
            with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
                losses = task.loss(step, generator)
            optimizer.zero_grad(set_to_none=True)
            losses["loss"].backward()
            nn.utils.clip_grad_norm_(parameters, settings.gradient_norm)
            optimizer.step()
            average.update_parameters(modules)
            step += 1
            for name, value in losses.items():
                window[name].append(value.item())
            if step % settings.log_every == 0 or step == settings.steps:
                seconds = spent + time.monotonic() - started
                row = {"step": step, "seconds": round(seconds, 1), "rate": rate}
                row |= {name: sum(values) / len(values) for name, values in window.items()}
                window.clear()
                history.append(row)
                with open(folder / "log.jsonl", "a", encoding="utf-8") as log:
                    log.write(json.dumps(row) + "\n")
                report(" ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()))
            if time.monotonic() - saved > settings.save_every:
                save()
                saved = time.monotonic()
    except KeyboardInterrupt:
        save()
        report(f"interrupted at step {step}; run again to go on")
        raise
    save()
    return Result(averaged, history, spent + time.monotonic() - started)
