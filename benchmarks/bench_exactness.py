"""Exactness of training: two processes against one, and a run killed again and again against one that was left alone.

The real task at the playroom's size, float32 on the CPU, with random numbers for latents and vision tokens. Every run
is a process of its own, as a user starts it. `--only NAME ...` measures some.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import psutil
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from ..pipelines.playroom.models import (
    ENCODER_TOKENS,
    ENCODER_WIDTH,
    make_embedding_optimizer,
    make_unet,
    noise_schedule,
)
from ..pipelines.training.denoising import Weighting
from ..pipelines.training.engine import Settings, fit
from ..pipelines.visual_insertion.training.insertion_task import EncodedTriplets, InsertionTask
from .figures import ROOT, record

TRIPLETS = 64
BATCH = 8
STEPS = 20  # of the runs whose losses are compared
KILLED_STEPS = 48
KILLS = 4
NEVER = 1_000_000  # seconds
CHANNELS = (64, 128, 128)  # the playroom's own
SHARDED = (
    *("-m", "accelerate.commands.launch", "--use_fsdp", "--fsdp_version", "2", "--main_process_port", "0"),
    *("--fsdp_auto_wrap_policy", "TRANSFORMER_BASED_WRAP"),
)  # without --cpu, with which accelerate starts one process
STATE = ("step", "trained", "average", "optimizer")  # what must be equal in a checkpoint


def make_task(channels: Sequence[int] = CHANNELS, **options: Any) -> InsertionTask:
    """The insertion task on random triplets: always the same networks and triplets."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel.from_config({**make_unet().config, "block_out_channels": tuple(channels)})
    data = EncodedTriplets(
        target=torch.randn(TRIPLETS, 1, 4, 16, 16),
        scene=torch.randn(TRIPLETS, 1, 4, 16, 16),
        features=torch.randn(TRIPLETS, 2, ENCODER_TOKENS, ENCODER_WIDTH),
        region=torch.rand(TRIPLETS, 1, 1, 16, 16) > 0.8,
    )
    options = {"batch": BATCH, "weighting": Weighting(region=3.0), **options}
    return InsertionTask(
        cast(UNet2DConditionModel, unet), make_embedding_optimizer(), data, noise_schedule(), **options
    )


def train(
    folder: Path, steps: int, *, accumulate: int = 1, save_every: int = NEVER, channels: Sequence[int] = CHANNELS
) -> None:
    """A run of the task in `folder` that logs every step."""
    settings = Settings(
        steps,
        learning_rate=1e-3,
        warmup=5,
        accumulate=accumulate,
        precision="fp32",
        log_every=1,
        save_every=save_every,
    )
    fit(make_task(channels), settings, folder)


class Run:
    """`train` in a process of its own, or in several; what they print goes to `output.txt`.

    torchrun starts several, or accelerate where they are to divide the networks (`sharded`).
    """

    def __init__(
        self,
        folder: Path,
        processes: int = 1,
        channels: Sequence[int] = CHANNELS,
        *,
        sharded: bool = False,
        **options: int,
    ):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        command: list[Any] = [sys.executable]
        if sharded:
            command += [*SHARDED, "--num_processes", processes]
        elif processes > 1:
            command += ["-m", "torch.distributed.run", "--standalone", "--local_addr", "127.0.0.1"]
            command += ["--nproc_per_node", processes]
        command += [ROOT / "devtools" / "pack.py", "benchmarks.bench_exactness", "--train", folder]
        command += ["--channels", *channels]
        command += [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        variables = {**os.environ, "OMP_NUM_THREADS": "1"}
        if sys.platform == "win32":
            variables["USE_LIBUV"] = "0"  # torch has none there, and torchrun wants it
        with open(folder / "output.txt", "ab") as output:
            self.process = subprocess.Popen(
                [str(word) for word in command], cwd=folder, env=variables, stdout=output, stderr=subprocess.STDOUT
            )

    def _failed(self, what: str) -> RuntimeError:
        printed = (self.folder / "output.txt").read_text(encoding="utf-8", errors="replace")
        return RuntimeError(f"The run in {self.folder} {what}:\n{printed[-4000:]}")

    def finish(self, seconds: float = 1800) -> None:
        """Wait for its end. Raises RuntimeError with what it printed when it failed."""
        try:
            code = self.process.wait(seconds)
        finally:
            self.process.terminate()
        if code:
            raise self._failed(f"ended with {code}")

    def kill(self, step: int, delay: float = 0.0) -> None:
        """Kill it (SIGKILL; on Windows its like) `delay` seconds after the log has reached a step."""
        try:
            while logged(self.folder) < step and self.process.poll() is None:
                time.sleep(0.02)
            time.sleep(delay)
        finally:
            ended = self.process.poll() is not None
            started = [] if ended else psutil.Process(self.process.pid).children(recursive=True)
            self.process.kill()
            for process in started:
                process.kill()
            self.process.wait()
        if ended:
            raise self._failed(f"ended before it could be killed at step {step}")


def logged(folder: Path) -> int:
    """Steps in the log so far."""
    log = folder / "log.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


def losses(folder: Path) -> list[dict[str, float]]:
    """What was logged of every step, but for the time it took."""
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    for row in rows:
        row.pop("seconds", None)
    return rows


def largest_difference(one: Path, other: Path) -> float:
    """Of the losses of two runs at the same step, relative."""
    differences = []
    for a, b in zip(losses(one), losses(other), strict=True):
        differences += [abs(a[name] - b[name]) / abs(a[name]) for name in a]
    return max(differences)


def equal(a: Any, b: Any) -> bool:
    """Whether two nests of tensors are the same, bit for bit."""
    if isinstance(a, Tensor):
        same = isinstance(b, Tensor) and a.dtype == b.dtype and a.shape == b.shape
        return same and a.numpy().tobytes() == b.numpy().tobytes()
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b


def same_state(one: Path, other: Path) -> bool:
    """Whether two runs ended with the same weights, averaged weights and optimizer state, bit for bit."""
    a = torch.load(one / "state.pt", weights_only=True)
    b = torch.load(other / "state.pt", weights_only=True)
    return all(equal(a[name], b[name]) for name in STATE)


def two_processes(folder: Path) -> dict[str, tuple[float, str]]:
    Run(folder / "one", steps=STEPS).finish()
    differences = []
    for accumulate in (1, 2):
        Run(folder / f"two-{accumulate}", processes=2, steps=STEPS, accumulate=accumulate).finish()
        differences.append(largest_difference(folder / "one", folder / f"two-{accumulate}"))
        print(f"two processes, accumulate={accumulate}: losses differ by {differences[-1]:.2g} at most, relative")
    unit = f"relative, largest of all losses over {STEPS} steps, accumulate 1 and 2"
    return {"two_process_rel": (max(differences), unit)}


def resume(folder: Path) -> dict[str, tuple[float, str]]:
    Run(folder / "whole", steps=KILLED_STEPS).finish()
    for _ in range(KILLS):
        step = logged(folder / "killed") + random.randint(1, KILLED_STEPS // (KILLS + 2))
        delay = random.uniform(0, 1)
        Run(folder / "killed", steps=KILLED_STEPS, save_every=0).kill(step, delay)
        print(f"killed {delay:.2f} s after step {step} of {KILLED_STEPS}, at step {logged(folder / 'killed')}")
    Run(folder / "killed", steps=KILLED_STEPS, save_every=0).finish()
    same = same_state(folder / "whole", folder / "killed") and losses(folder / "whole") == losses(folder / "killed")
    unit = f"1 if bit-equal after {KILLS} kills (-9) in {KILLED_STEPS} steps: weights, averages, optimizer, losses"
    return {"resume_bit_equal": (float(same), unit)}


PARTS: dict[str, Callable[[Path], dict[str, tuple[float, str]]]] = {"two_processes": two_processes, "resume": resume}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    run = parser.add_argument_group("one of the runs")
    run.add_argument("--train", type=Path, metavar="FOLDER", help="train in FOLDER and measure nothing")
    run.add_argument("--steps", type=int, default=STEPS)
    run.add_argument("--accumulate", type=int, default=1)
    run.add_argument("--save-every", type=int, default=NEVER, metavar="SECONDS")
    run.add_argument("--channels", type=int, nargs="+", default=CHANNELS, help="of the UNet's levels")
    options = parser.parse_args()
    if options.train:
        return train(
            options.train,
            options.steps,
            accumulate=options.accumulate,
            save_every=options.save_every,
            channels=options.channels,
        )
    for name in options.only:
        with TemporaryDirectory(prefix="exactness-", ignore_cleanup_errors=True) as folder:
            values = PARTS[name](Path(folder))
        for figure, (value, unit) in values.items():
            print(f"{figure:32}{value:g}  {unit}")
        record("flagship", values, "python dev.py bench exactness")


if __name__ == "__main__":
    main()
