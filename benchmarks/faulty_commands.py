"""The pack's commands in processes of their own, with a fault at a named moment: killed, told to stop, out of disk.

A server process imports what is slow once and forks for each command, so a command costs what it does and no more.
Needs a system with fork (Linux, macOS).
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

from ..devtools.pack import NAME, ROOT

PATIENCE = 120.0  # seconds until a command counts as hanging
SLOW_IMPORTS = (
    "pipelines.visual_insertion.training.recipe",
    "pipelines.paint_by_example.training.recipe",
    "pipelines.evaluation.report",
    "pipelines.evaluation.inserters",
    "pipelines.triplets.build",
    "pipelines.playroom.judging.benchmark",
    "pipelines.weights.hub",
)


@dataclass(frozen=True)
class Fault:
    """What goes wrong when a function of the pack, "module:name" or "module:Class.name", is called.

    `call` counts from 1. Kinds: "kill" (SIGKILL), "term" and "int" (the signals), "disk" (nothing can be written any
    more), "memory" (torch's out-of-memory error), "nan" (all that the function returns by name is not a number).
    """

    kind: str
    where: str
    call: int = 1


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int  # as a shell has it: negative for a signal
    said: str  # on stdout and stderr
    seconds: float
    hung: bool
    peak_mb: float  # resident memory

    @property
    def traceback(self) -> bool:
        """Whether it told its user something for programmers."""
        return "Traceback (most recent call last)" in self.said


class FaultyCommands:
    """Runs commands one after another; a context manager."""

    def __init__(self, folder: Path):
        command = [sys.executable, str(ROOT / "devtools" / "pack.py"), "benchmarks.faulty_commands"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "NO_PROXY": "127.0.0.1,localhost"}
        self.server = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=folder
        )

    def __enter__(self) -> FaultyCommands:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.kill()
        self.server.wait()

    def run(
        self,
        *arguments: object,
        fault: Fault | None = None,
        signal_after: tuple[int, float] | None = None,
        patience: float = PATIENCE,
    ) -> Ended:
        """Run a command with a fault, or with a signal that many seconds after its start."""
        request = {
            "arguments": [str(argument) for argument in arguments],
            "fault": asdict(fault) if fault else None,
            "signal_after": signal_after,
            "patience": patience,
        }
        assert self.server.stdin and self.server.stdout
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        return Ended(**json.loads(self.server.stdout.readline()))


def _strike(kind: str) -> None:
    if kind == "disk":
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    elif kind == "memory":
        import torch

        raise torch.OutOfMemoryError("CUDA out of memory (injected)")
    elif kind != "nan":
        signals = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "int": signal.SIGINT}
        os.kill(os.getpid(), signals[kind])


def _arm(fault: Fault) -> None:
    module, _, path = fault.where.partition(":")
    owner: Any = import_module(f"{NAME}.{module}")
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    original: Callable[..., Any] = getattr(owner, name)
    calls = count(1)

    def struck(*arguments: Any, **named: Any) -> Any:
        now = next(calls) == fault.call
        if now:
            _strike(fault.kind)
        value = original(*arguments, **named)
        return {key: part * float("nan") for key, part in value.items()} if now and fault.kind == "nan" else value

    setattr(owner, name, struck)


def _command(request: dict[str, Any], said: int) -> int:
    os.dup2(said, 1)
    os.dup2(said, 2)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    if request["fault"]:
        _arm(Fault(**request["fault"]))
    try:
        return import_module(f"{NAME}.pipelines.__main__").main(request["arguments"])
    except SystemExit as ending:
        return ending.code if isinstance(ending.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
        return 70
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _serve(request: dict[str, Any]) -> dict[str, Any]:
    started = time.monotonic()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os._exit(_command(request, writing))
    os.close(writing)
    timers = [threading.Timer(request["patience"], os.kill, (child, signal.SIGKILL))]
    if request["signal_after"]:
        number, seconds = request["signal_after"]
        timers.append(threading.Timer(seconds, os.kill, (child, number)))
    for timer in timers:
        timer.start()
    with open(reading, encoding="utf-8", errors="replace") as pipe:
        said = pipe.read()
    _, status, usage = os.wait4(child, 0)
    seconds = time.monotonic() - started
    for timer in timers:
        timer.cancel()
    return {
        "said": said,
        "code": os.waitstatus_to_exitcode(status),
        "seconds": seconds,
        "hung": seconds >= request["patience"],
        "peak_mb": usage.ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2),
    }


def main() -> None:
    for name in SLOW_IMPORTS:
        import_module(f"{NAME}.{name}")
    for line in sys.stdin:
        print(json.dumps(_serve(json.loads(line))), flush=True)
