"""One damaged input after another through a reader, each with a bound on time and memory, and what came of it."""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from .readers import Reader

SECONDS = 10  # until a reader counts as hanging
MEGABYTES = 1000  # that a damaged file may take beyond an undamaged one


@dataclass
class Outcome:
    """What a reader did with its damaged inputs."""

    tried: int = 0
    counts: Counter[str] = field(default_factory=Counter)  # refused, read, and the faults
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)
    inputs: dict[str, dict[str, bytes]] = field(default_factory=dict)  # of the faults, by digest


FAULTS = ("raw", "unnamed", "hang", "memory", "garbage")


@contextmanager
def _alarm(seconds: int) -> Iterator[None]:
    def ring(*_: Any) -> None:
        raise TimeoutError("rang")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)


def judge(reader: Reader, folder: Path) -> tuple[str, str]:
    """What a reader does with the files below a folder: one word, and for a fault what was seen."""
    before = _peak()
    try:
        with _alarm(SECONDS):
            value = reader.read(folder)
    except TimeoutError as error:
        return ("hang", traceback.format_exc()[-400:]) if str(error) == "rang" else ("refused", "")
    except (ValueError, OSError) as error:
        if _peak() - before > MEGABYTES:
            return "memory", f"{_peak() - before:.0f} MB, then: {error}"
        return ("refused", "") if str(folder) in str(error) else ("unnamed", f"{type(error).__name__}: {error}"[:400])
    except MemoryError:
        return "memory", "MemoryError"
    except Exception:
        return "raw", traceback.format_exc()[-700:]
    if _peak() - before > MEGABYTES:
        return "memory", f"{_peak() - before:.0f} MB"
    return ("read", "") if reader.right(value, folder) else ("garbage", repr(value)[:300])


def damage(reader: Reader, whole: dict[str, bytes], chance: Random) -> dict[str, bytes]:
    """The damaged files of one input, by name."""
    name = chance.choice(sorted(reader.damage))
    return {name: chance.choice(reader.damage[name])(whole[name], chance)}


def run(reader: Reader, count: int, seed: int = 0, until: float = float("inf")) -> Outcome:
    """`count` damaged inputs, or as many as there is time for."""
    outcome = Outcome()
    chance = Random(f"{reader.name} {seed}")
    folder = reader.place or Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        reader.write(folder)
        whole = {name: (folder / name).read_bytes() for name in reader.damage}
        with suppress(ValueError):  # formats that are not read at all
            reader.read(folder)  # what is imported and allocated once is not a damaged file's
        word, seen = judge(reader, folder)
        if word != ("refused" if reader.refuses else "read"):
            raise AssertionError(f"The undamaged example of {reader.name}: {word}, {seen}")
        begun = time.monotonic()
        while outcome.tried < count and time.monotonic() < until:
            files = damage(reader, whole, chance)
            for name, content in files.items():
                (folder / name).write_bytes(content)
            word, seen = judge(reader, folder)
            outcome.tried += 1
            outcome.counts[word] += 1
            if word in FAULTS:
                digest = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:12]
                outcome.faults.append(f"{reader.name}, {word}, {digest}: {seen}")
                outcome.inputs[digest] = files
            for name in files:
                (folder / name).write_bytes(whole[name])
        outcome.seconds = time.monotonic() - begun
    finally:
        if not reader.place:
            shutil.rmtree(folder, ignore_errors=True)
    return outcome


def replay(reader: Reader, files: dict[str, bytes]) -> tuple[str, str]:
    """What a reader does with an input that was kept."""
    folder = reader.place or Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        reader.write(folder)
        for name, content in files.items():
            (folder / name).write_bytes(content)
        return judge(reader, folder)
    finally:
        if not reader.place:
            shutil.rmtree(folder, ignore_errors=True)


def limit_memory(megabytes: int) -> None:
    """Let this process fail, rather than the machine."""
    if hasattr(resource, "RLIMIT_AS") and sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (megabytes * 2**20, resource.RLIM_INFINITY))
    os.environ.setdefault("OMP_NUM_THREADS", "1")
