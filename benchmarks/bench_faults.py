"""Faults at random moments of the commands that write: killed, told to stop, numbers that break down, a full disk.

After each fault nothing that was there before is gone, the next run goes on, and what it makes is to the bit what an
undisturbed run makes. Needs a system with fork; a full disk is a small file system where one may be mounted, and else
a limit on what a process may write.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from .bench_builder import make_sources
from .faulty_commands import Ended, Fault, FaultyCommands
from .figures import ROOT, record

FAULTS = 50
MINE = "holiday.txt"  # a user's file that is there before
SUMMARY = ("pictures", "index.html", "report.json", "cases.csv", "summary.csv")


class Work(ABC):
    """A command that writes into a folder, made small."""

    name: str
    entry: str  # a function that it calls again and again
    calls: int  # how often
    nan: str | None = None  # a function whose numbers may break down
    foreign = True  # a user's file may lie beside what it writes

    def __init__(self, folder: Path):  # noqa: B027
        """Make the sources, if it needs any, in a folder."""

    @abstractmethod
    def arguments(self, output: Path) -> list[object]:
        """Of the command that writes into `output`."""

    @abstractmethod
    def products(self, output: Path) -> dict[str, str]:
        """The digests of what is made, by name."""


def digests(folder: Path, *patterns: str) -> dict[str, str]:
    """The sha256 of files below a folder, by their names."""
    paths = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(paths)
    }


class Train(Work):
    """Six steps of visually guided insertion on toys, a checkpoint after each."""

    name = "train"
    entry = "pipelines.training.trainer:Trainer.step"
    calls = 6
    nan = "pipelines.visual_insertion.training.insertion_task:InsertionTask.loss"

    def __init__(self, folder: Path):
        from ..pipelines.playroom.world.folders import write_folder

        self.data = folder / "toys"
        write_folder(self.data, range(6), views=1)

    def arguments(self, output: Path) -> list[object]:
        run = ["steps=6", "log_every=1", "warmup=1", "save_every=0", "precision=fp32", "validate_every=0"]
        data = ["data.validation=null", f"data.train={self.data}", "data.pictures.size=64"]
        models = [
            f"models.base={ROOT / 'playroom_models'}",
            f"folder={output}",
            "batch=2",
            f"data.cache={output / 'cache'}",
        ]
        return ["train", "playroom", "--set", *(f"run.{entry}" for entry in run), *data, *models]

    def products(self, output: Path) -> dict[str, str]:
        return digests(output, "*.safetensors")


class Build(Work):
    """Shards of triplets from 60 rows in six row groups."""

    name = "build-dataset"
    entry = "pipelines.triplets.shards:cut_with_mask"
    calls = 60
    foreign = False  # it wants an empty folder

    def __init__(self, folder: Path):
        import pyarrow.parquet as pq

        self.rows, self.masks = make_sources(folder, rows=60, size=128)
        for path in (*self.rows.rglob("*.parquet"), *self.masks.rglob("*.parquet")):
            pq.write_table(pq.read_table(path), path, row_group_size=10)

    def arguments(self, output: Path) -> list[object]:
        return ["build-dataset", self.rows, output, "--masks", self.masks, "--workers", 1, "--validation", 0.3]

    def products(self, output: Path) -> dict[str, str]:
        return digests(output, "*/*.parquet", "*.jsonl", "*.json", "*.md", "*.jpg")


class Evaluate(Work):
    """Two methods on six cases of the playroom."""

    name = "evaluate"
    entry = "pipelines.evaluation.protocol:save_picture"
    calls = 12

    def arguments(self, output: Path) -> list[object]:
        methods = ["--method", "copy_paste", "shuffled_object", "--device", "cpu"]
        return ["evaluate", "--benchmark", "playroom", "--limit", 6, *methods, "--output", output]

    def products(self, output: Path) -> dict[str, str]:
        return digests(output, "results/*/*.png", "pictures/*.png", "*.csv")


class Fetch(Work):
    """A weight file of 4 MB from a server that takes its time."""

    name = "fetch"
    entry = "pipelines.weights.hub:download"
    calls = 1

    def __init__(self, folder: Path):
        self.content = random.Random(0).randbytes(4_000_000)
        content = self.content

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def _head(self) -> bytes:
                wanted = self.headers["Range"]
                start = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted else 0
                self.send_response(206 if start else 200)
                self.send_header("X-Repo-Commit", "0" * 40)
                self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
                self.send_header("Content-Length", str(len(content) - start))
                if start:
                    self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
                self.end_headers()
                return content[start:]

            def do_HEAD(self) -> None:
                self._head()

            def do_GET(self) -> None:
                body = self._head()
                for start in range(0, len(body), 100_000):
                    self.wfile.write(body[start : start + 100_000])
                    time.sleep(0.01)

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # clients that are killed

        self.server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        manifest = json.loads((ROOT / "weights_manifest.json").read_text("utf-8"))
        self.manifest = folder / "manifest.json"
        self.weight = "paint-by-inpaint-add-base-unet"
        for entry in manifest["weights"]:
            if entry["id"] == self.weight:
                entry |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        self.manifest.write_text(json.dumps(manifest), "utf-8")

    def arguments(self, output: Path) -> list[object]:
        output.mkdir(exist_ok=True)
        where = ["--endpoint", f"http://127.0.0.1:{self.server.server_port}", "--models-dir", output]
        return ["weights", "fetch", self.weight, "--manifest", self.manifest, *where]

    def products(self, output: Path) -> dict[str, str]:
        return digests(output, "*/*.safetensors")


WORKS = (Train, Build, Evaluate, Fetch)


@contextmanager
def small_disk(megabytes: float) -> Iterator[Path | None]:
    """A file system of that size, or None where none may be mounted."""
    folder = Path(tempfile.mkdtemp(prefix="small-disk-"))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={int(megabytes * 1e6)}", "none", str(folder)]
    mounted = shutil.which("mount") and subprocess.run(mount, capture_output=True).returncode == 0
    try:
        yield folder if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=False)
        shutil.rmtree(folder, ignore_errors=True)


class Trial:
    """One fault of one command: what was before, the fault, what is after."""

    def __init__(self, work: Work, commands: FaultyCommands, folder: Path):
        self.work = work
        self.commands = commands
        self.output = folder / "output"
        self.before: dict[Path, bytes] = {}
        places = [folder / MINE, *([self.output / MINE] if work.foreign else [])]
        for path in places:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("not yours", "utf-8")
            self.before[path] = path.read_bytes()

    def run(self, **fault: Any) -> Ended:
        return self.commands.run(*self.work.arguments(self.output), **fault)

    def problems(self, ended: Ended, again: Ended, reference: dict[str, str]) -> list[str]:
        """What is not as promised after a fault and the next run."""
        problems = []
        for path, content in self.before.items():
            if not path.is_file() or path.read_bytes() != content:
                problems.append(f"{path} is lost")
        if ended.traceback or again.traceback:
            problems.append(f"a traceback: {(ended if ended.traceback else again).said[-1500:]}")
        if ended.hung or again.hung:
            problems.append("a hang")
        if again.code:
            problems.append(f"the next run ended with {again.code}: {again.said[-600:]}")
        products = self.work.products(self.output)
        if products != reference:
            other = sorted(name for name in {*products, *reference} if products.get(name) != reference.get(name))
            problems.append(f"other results: {', '.join(other)}")
        left = [path for path in self.output.rglob("*.part") if path.is_file()]
        if left:
            problems.append(f"left behind: {left[0].name}")
        return problems


def inject(
    work: Work,
    commands: FaultyCommands,
    folder: Path,
    kind: str,
    *,
    reference: dict[str, str],
    full: Ended,
    chance: Any,
) -> tuple[list[str], Ended]:
    """One fault at a moment of chance, and the run after it; what is wrong then, and how the faulty run ended."""
    if kind == "disk":
        megabytes = sum(path.stat().st_size for path in (folder.parent / work.name / "output").rglob("*")) / 1e6
        with small_disk(2.5 * megabytes + 4) as disk:
            if disk:
                trial = Trial(work, commands, disk)
                ballast = disk / "ballast"
                room = int(chance.uniform(0.02, 1) * megabytes * 1e6)
                ballast.write_bytes(bytes(max(0, shutil.disk_usage(disk).free - room)))
                ended = trial.run()
                ballast.unlink()
                return trial.problems(ended, trial.run(), reference), ended
    trial = Trial(work, commands, folder)
    if kind in ("kill", "term"):
        number = signal.SIGKILL if kind == "kill" else signal.SIGTERM
        ended = trial.run(signal_after=(number, chance.uniform(0.05, full.seconds)))
    else:
        where = work.nan if kind == "nan" else work.entry
        assert where
        ended = trial.run(fault=Fault(kind, where, chance.randint(1, work.calls)))
    return trial.problems(ended, trial.run(), reference), ended


def measure(count: int = FAULTS, seed: int = 0, names: tuple[str, ...] = ()) -> dict[str, tuple[float, str]]:
    """`count` faults of each command; prints each that is not survived."""
    chance = random.Random(seed)
    survived: Counter[str] = Counter()
    injected: Counter[str] = Counter()
    lost = 0
    with tempfile.TemporaryDirectory(prefix="faults-") as place:
        base = Path(place)
        with FaultyCommands(base) as commands:
            for kind_of_work in WORKS:
                if names and kind_of_work.name not in names:
                    continue
                sources = base / f"{kind_of_work.name}-sources"
                sources.mkdir()
                work = kind_of_work(sources)
                whole = Trial(work, commands, base / work.name)
                full = whole.run()
                if full.code:
                    raise RuntimeError(f"{work.name} ended with {full.code}: {full.said[-2000:]}")
                reference = work.products(whole.output)
                kinds = ["kill", "term", "disk", *(["nan"] if work.nan else [])]
                late = 0
                while injected[work.name] < count:
                    number = injected[work.name]
                    kind = kinds[number % len(kinds)]
                    folder = base / f"{work.name}-{number}"
                    problems, ended = inject(
                        work, commands, folder, kind, reference=reference, full=full, chance=chance
                    )
                    if not ended.code and not problems:  # it had ended before, or there was room enough
                        late += 1
                        shutil.rmtree(folder, ignore_errors=True)
                        continue
                    injected[work.name] += 1
                    survived[work.name] += not problems
                    lost += sum(problem.endswith("is lost") for problem in problems)
                    print(f"{work.name} {kind}: code {ended.code}, {'; '.join(problems) or 'survived'}", flush=True)
                    shutil.rmtree(folder, ignore_errors=True)
                print(f"{work.name}: {late} faults came too late and were drawn again", flush=True)
    values = {
        "faults_injected": (injected.total(), "faults: SIGKILL, SIGTERM, full disk, NaN"),
        "faults_survived": (survived.total(), "faults: nothing lost, the next run goes on to the same result"),
        "foreign_files_lost": (lost, "files"),
    }
    for name, number in injected.items():
        values[f"faults_survived_{name}"] = (survived[name] / number, "share")
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=FAULTS, help="faults of each command (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=[], choices=[work.name for work in WORKS])
    options = parser.parse_args()
    if not hasattr(os, "fork"):
        print("This system has no fork; nothing is measured.")
        return
    values = measure(options.count, options.seed, tuple(options.only))
    for name, (value, unit) in values.items():
        print(f"{name}: {value:g} ({unit})")
    if options.count >= FAULTS and not options.only:
        print(record("reliability", values, "python dev.py bench faults"))
