"""Polish the shipped VAE's decoder for as long as there is time, on a CPU or a GPU; a second call goes on.

    python devtools/pack.py pipelines.playroom.visual_insertion.polish --seconds 1200 --output decoder.safetensors

Renders, encodes, lets the shipped UNet draw, trains; a checkpoint every half minute. All that is within `--seconds`,
the last of the rate's cosine too. The output is what `decoder_file` puts into the shipped VAE.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from ...training.engine import Report, Result, fit
from ...training.run_folder import run_folder
from ...training.task import Task
from ...training.trainer import Settings
from ...visual_insertion import optimizer_files as optimizers
from ..models import ShippedNetworks
from ..world import dataset
from .decoder_examples import ExampleMaker
from .decoder_file import save_decoder
from .decoder_task import LEARNING_RATE, LOSSES, POLISH_SETTINGS, DecoderLosses, DecoderTask
from .recipe import GUIDANCE

FIRST_SEED = 500_000_000  # no other model was trained on triplets from here on
HELD_OUT = 24  # triplets of validation
HELD_OUT_DRAWN = 8
PART = 25  # triplets that a process renders at a time
COLUMNS = ("scene", "target", "objects")
MANY = 1_000_000  # steps: more than there is time for
FIRST_SITTING = 10.0  # seconds, to see how long a step takes
SITTING = 30.0  # seconds between checkpoints
RESERVE = 4.0  # seconds, to look at the result and to write it
SETTINGS = Settings(MANY, LEARNING_RATE, warmup=50, log_every=10, **POLISH_SETTINGS)


def render(seeds: range, workers: int) -> dataset.Arrays:
    """Scenes, targets and the objects' pictures of these seeds, rendered by processes of their own."""
    parts = [seeds[start : start + PART] for start in range(0, len(seeds), PART)]
    columns: dict[str, list[np.ndarray]] = {name: [] for name in COLUMNS}
    with ProcessPoolExecutor(workers) as pool:
        for arrays in pool.map(partial(dataset.render_arrays, views=1), parts):
            for name, values in columns.items():
                values.append(arrays[name])
    return {name: np.concatenate(values) for name, values in columns.items()}


class _Pause(Exception):
    """The end of a sitting; the engine has saved what was learned."""


class Clock:
    """Hears what the engine reports, ends a sitting by an exception, and knows how long a step takes."""

    def __init__(self, until: float, report: Report, *, is_last: bool):
        self.until = until  # of `time.monotonic()`
        self.is_last = is_last
        self.report = report
        self.times: list[tuple[int, float]] = []  # (step, when)

    def __call__(self, line: str) -> None:
        first, *rest = line.split()
        if first != "step":
            return  # "stopped", "resumed": a sitting's ends are no news
        self.report(line)
        self.times.append((int(rest[0]), time.monotonic()))
        if self.times[-1][1] >= self.until and (self.is_last or len(self.times) > 1):  # two, or there is no pace
            raise _Pause

    @property
    def done(self) -> int:
        """Steps, as of the last report."""
        return self.times[-1][0]

    @property
    def pace(self) -> float:
        """Seconds per step in this sitting, the first steps, which set up, left out where there are others."""
        start, then = self.times[0]
        end, now = self.times[-1]
        return (now - then) / max(1, end - start)


def fit_until(
    deadline: float,
    task: Task,
    settings: Settings,
    folder: Path,
    *,
    report: Report = print,
    facts: dict[str, str] | None = None,
) -> Result:
    """Train until `time.monotonic()` is `deadline`, the rate's cosine planned to end then.

    In sittings: after each there is a checkpoint, and the number of steps that still fit is estimated anew, for a
    machine may get slower or faster. Raises what `fit` does.
    """
    steps = settings.steps
    sitting = FIRST_SITTING
    while True:
        now = time.monotonic()
        is_last = deadline - now < 1.5 * sitting
        clock = Clock(deadline if is_last else now + sitting, report, is_last=is_last)
        try:
            return fit(task, replace(settings, steps=steps), folder, clock, facts)
        except _Pause:
            left = deadline - time.monotonic()
            steps = clock.done + (0 if is_last else max(0, int(left / max(clock.pace, 1e-6))))
            report(f"{clock.pace:.3g} s a step; {steps} steps fit")
            sitting = SITTING


def build(
    models: Path,
    folder: Path,
    output: Path,
    *,
    deadline: float,
    triplets: int,
    drawn: int,
    batch: int,
    device: str,
    workers: int,
    weights: DecoderLosses = LOSSES,
    settings: Settings = SETTINGS,
    report: Callable[[str], None] = print,
) -> dict[str, float]:
    """Polish the decoder of `models` in `folder` until the deadline and write it; returns what validation measured."""
    rendered = render(range(FIRST_SEED, FIRST_SEED + triplets), workers)  # before a GPU is touched: processes fork
    held_out = render(dataset.VALIDATION_SEEDS[:HELD_OUT], workers)
    report(f"{triplets} triplets rendered, {deadline - time.monotonic():.0f} s left")
    networks = ShippedNetworks.load(models)
    vae = networks.vae.to(cast(Any, device))
    unet = networks.unet().to(cast(Any, device))
    context_encoder = optimizers.load(models / "embedding_optimizer.safetensors").to(device)
    make = ExampleMaker(vae, unet, networks.encoder, context_encoder, GUIDANCE)
    examples = make(rendered, drawn, seed=1000)
    looked_at = make(held_out, min(drawn, HELD_OUT_DRAWN), seed=0)
    report(f"{len(examples.latents)} latents made, {deadline - time.monotonic():.0f} s left")
    torch.manual_seed(settings.seed)
    task = DecoderTask(vae, networks.encoder, examples, looked_at, batch=batch, weights=weights)
    with run_folder(folder):
        on_device = replace(settings, device=cast(Any, device))
        result = fit_until(deadline - RESERVE, task, on_device, folder, report=report)
    figures = {name: value for name, value in result.history[-1].items() if name.startswith("validation")}
    where = torch.cuda.get_device_name() if device == "cuda" else f"{platform.machine()} CPU"
    facts = {
        "steps": str(int(result.history[-1]["step"])),
        "seconds": str(round(result.seconds)),
        "triplets": str(triplets),
        "drawn": str(drawn),
        "batch": str(batch),
        "adversarial": str(weights.adversarial),
        "device": where,
        "torch": torch.__version__,
    }
    save_decoder(vae.cpu(), output, facts)
    return figures


def main() -> int:
    started = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1200, help="wall clock, from rendering to the written file")
    parser.add_argument("--models", type=Path, default=Path("playroom_models"))
    parser.add_argument("--folder", type=Path, default=Path("output/decoder"), help="checkpoint, sheet and log")
    parser.add_argument("--output", type=Path, help="the decoder's file; default FOLDER/decoder.safetensors")
    parser.add_argument("--triplets", type=int, default=1500, help="two pictures each, rendered anew in every call")
    parser.add_argument("--drawn", type=int, default=128, help="latents that the shipped UNet draws")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=SETTINGS.learning_rate, help="of learning, at its peak")
    parser.add_argument("--adversarial", type=float, default=LOSSES.adversarial, help="the loss's weight")
    parser.add_argument("--validate-every", type=int, default=0, help="steps between looks; 0: at the end alone")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.device_count() else "cpu")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes that render")
    options = parser.parse_args()
    try:
        figures = build(
            options.models,
            options.folder,
            options.output or options.folder / "decoder.safetensors",
            deadline=started + options.seconds,
            triplets=options.triplets,
            drawn=min(options.drawn, options.triplets),
            batch=options.batch,
            device=options.device,
            workers=options.workers,
            weights=replace(LOSSES, adversarial=options.adversarial),
            settings=replace(SETTINGS, learning_rate=options.rate, validate_every=options.validate_every),
        )
    except (OSError, ValueError) as error:
        print(error)
        return 1
    for name, value in figures.items():
        print(f"{name:32}{value:.4f}")
    return 0


if __name__ == "__main__":
    main()
