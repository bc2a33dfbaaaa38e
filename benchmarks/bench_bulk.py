"""Many pairs by `insert --pairs` with the toy models: killed at random, by one worker, two, a server; and its memory.

Figures go to docs/figures/speed.json. Each run is the command in a process of its own. Rates are of pictures in the
second half of a run, by when their files were written: the models are loaded then, by all workers.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import psutil
from PIL import Image

from ..devtools.environment import find_host
from ..devtools.host import Host
from ..pipelines.whole_files import PARTS
from .figures import ROOT, record

TOYS = ROOT / "playroom_models"
SCENES = 20
SIDE = 64  # px of a scene; the toy models take any
SAID = 10  # lines of progress in a run
LATER = 0.25  # share of a run after which memory is compared


class Run:
    """The command in a process of its own, and how it went."""

    def __init__(self, data: Path, output: Path, count: int, steps: int, *by: object):
        """`by` are the options that say who makes the pictures."""
        folders = ["--scenes", data, "--objects", data, "--output", output]
        words = ["insert", "--pairs", data / "pairs.csv", *folders, "--steps", steps, *by]
        command = [sys.executable, str(ROOT / "pipelines"), *map(str, words)]
        self.output = output
        self.count = count
        self.began = time.monotonic()
        self.process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.megabytes: list[float] = []  # of all processes, while pictures are made

    def workers(self) -> list[psutil.Process]:
        """Its worker processes that are there now."""
        with_tracker = self.process.children()
        return [child for child in with_tracker if "resource_tracker" not in " ".join(child.cmdline())]

    def follow(self, act: Callable[[int], object] = lambda made: None) -> int:
        """Wait for its end, and call `act` with the number of pictures that are there; returns the exit code."""
        said = 0
        while self.process.poll() is None:
            made = len(list(self.output.glob("*.png")))
            if made * SAID // self.count > said:
                said = made * SAID // self.count
                seconds = time.monotonic() - self.began
                print(f"  {self.output.name}: {made} of {self.count}, {seconds:.0f} s", flush=True)
            try:
                act(made)
                if 0 < made < self.count:  # its models are loaded, and it has not begun to end
                    processes = [self.process, *self.workers()]
                    self.megabytes.append(sum(process.memory_info().rss for process in processes) / 1e6)
            except psutil.NoSuchProcess:
                pass  # it ended while it was looked at
            time.sleep(0.2)
        return self.process.wait()


def write_pairs(folder: Path, count: int) -> None:
    """Scenes and an object of the playroom, and a list of `count` pairs by seed."""
    folder.mkdir()
    scene = Image.open(TOYS / "samples" / "scene.png").convert("RGB").resize((SIDE, SIDE))
    for number in range(SCENES):
        scene.rotate(90 * number).crop((0, 0, SIDE - number, SIDE)).save(folder / f"room{number}.png")
    Image.open(TOYS / "samples" / "object.png").save(folder / "toy.png")
    rows = "".join(f"room{number % SCENES}.png,toy.png,{number}\n" for number in range(count))
    (folder / "pairs.csv").write_text(f"scene,object,seed\n{rows}", encoding="utf-8")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*.png")}


def rate(folder: Path) -> float:
    """Pictures per second in the second half of a run."""
    times = sorted(path.stat().st_mtime for path in folder.rglob("*.png"))
    half = times[len(times) // 2 :]
    return (len(half) - 1) / (half[-1] - half[0])


def growth(megabytes: list[float]) -> float:
    """How much more memory was in use in the last tenth than in the tenth after the first quarter, MB of medians."""
    tenth = max(1, len(megabytes) // 10)
    later = int(len(megabytes) * LATER)
    return median(megabytes[-tenth:]) - median(megabytes[later : later + tenth])


def by_workers(count: int) -> tuple[object, ...]:
    return ("--workers", count, "--device", "cpu")


def server_rate(data: Path, output: Path, pairs: int, steps: int) -> float:
    """Pictures per second of one ComfyUI server on this machine."""
    home = find_host()
    assert home, "no ComfyUI yet: run `python dev.py test` once, or set COMFYUI_PATH"
    write_pairs(data, pairs)
    with Host(home, variables={"OMP_NUM_THREADS": "1"}) as host:
        assert Run(data, output, pairs, steps, "--servers", host.url).follow() == 0, "the run on a server failed"
    return rate(output)


def sizes(folder: Path) -> tuple[float, float]:
    """Median bytes of a picture that goes in, and of one that comes out."""
    scenes = [path.stat().st_size for path in (folder / "data").glob("room*.png")]
    made = [path.stat().st_size for path in (folder / "by_1").rglob("*.png")]
    return median(scenes), median(made)


def disturbed(data: Path, output: Path, count: int, steps: int, kills: int, chance: random.Random) -> int:
    """Make all pictures with two workers, `kills` of which are killed, and the command once; how many were killed."""
    moments = sorted(chance.sample(range(1, count), kills))
    end = chance.randrange(count // 3, count)
    killed = 0
    ended = False
    while True:
        run = Run(data, output, count, steps, *by_workers(2))

        def strike(made: int, run: Run = run) -> None:
            nonlocal killed, ended
            if killed < kills and made >= moments[killed] and (workers := run.workers()):
                chance.choice(workers).kill()
                killed += 1
            if not ended and made >= end:
                run.process.kill()
                ended = True

        if run.follow(strike) == 0:
            return killed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--kills", type=int, default=12, help="of workers; the command is killed once more")
    parser.add_argument("--steps", type=int, default=1, help="of each picture")
    parser.add_argument("--server", type=int, nargs="?", const=200, metavar="PAIRS", help="of a ComfyUI server as well")
    parser.add_argument("--seed", type=int, default=0, help="of when and what is killed")
    parser.add_argument("--dry", action="store_true", help="print the figures, write no file of the repository")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data = folder / "data"
        write_pairs(data, options.pairs)
        rates: dict[int, float] = {}
        for workers in (1, 2):
            run = Run(data, folder / f"by_{workers}", options.pairs, options.steps, *by_workers(workers))
            assert run.follow() == 0, f"the run with {workers} workers failed"
            rates[workers] = rate(folder / f"by_{workers}")
            print(f"{workers} workers: {rates[workers]:.2f} pictures per second", flush=True)
            if workers == 1:
                grown = growth(run.megabytes)
        chance = random.Random(options.seed)
        killed = disturbed(data, folder / "killed", options.pairs, options.steps, options.kills, chance)
        expected = contents(folder / "by_1")
        once = expected == contents(folder / "by_2") == contents(folder / "killed")
        whole = len(expected) == options.pairs and not list(folder.rglob(f"*{PARTS}"))
        bytes_in, bytes_out = sizes(folder)
        by_server = None
        if options.server:
            by_server = server_rate(folder / "few", folder / "by_server", options.server, options.steps)
    about = f"{options.pairs} pairs with {killed} workers and the command killed, two workers and one: the same bytes"
    figures = {
        "bulk_exactly_once": (float(once and whole), f"1 is yes: {about}"),
        "bulk_scaling_2": (round(rates[2] / rates[1], 2), "pictures per second with 2 workers over those with 1"),
        "bulk_memory_growth": (round(grown, 1), f"MB from a quarter to the end of {options.pairs} pairs, 1 worker"),
    }
    each = f"pictures per second of {options.pairs} toy pairs, {options.steps} steps"
    figures |= {
        f"bulk_rate_{workers}": (round(made, 2), f"{each}, {workers} workers") for workers, made in rates.items()
    }
    figures["bulk_bytes_in"] = (bytes_in, f"bytes of a toy scene of {SIDE} px, median")
    figures["bulk_bytes_out"] = (bytes_out, "bytes of a toy picture with its record, median")
    if by_server:
        unit = f"pictures per second of {options.server} toy pairs, {options.steps} steps, by one ComfyUI server"
        figures["bulk_rate_server"] = (round(by_server, 2), unit)
    print(figures)
    if not options.dry:
        command = f"python dev.py bench bulk --pairs {options.pairs} --kills {options.kills} --steps {options.steps}"
        command += f" --seed {options.seed}" + (f" --server {options.server}" if options.server else "")
        print(record("speed", figures, command))


if __name__ == "__main__":
    main()
