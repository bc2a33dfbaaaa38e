"""What worker processes of these tests do: small pictures of one colour, and an end where a task asks for one."""

import os
import signal
import threading
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image

from visual_insertion_pack.pipelines.bulk.tasks import making
from visual_insertion_pack.pipelines.whole_files import whole
from visual_insertion_pack.pipelines.worker_processes import WorkerKilled


@dataclass(frozen=True)
class Coloured:
    colour: tuple

    def save(self, path: Path) -> None:
        with whole(path) as part:  # as `save_picture` does, without torch
            Image.new("RGB", (8, 8), self.colour).save(part, format="PNG")


def colouring(ends: Path, seconds: float = 0.0):
    """Makes pictures whose colour is their seed, notes each beginning in `ends`, and ends as a task's scene says."""

    def make(task):
        with open(ends / "begun.txt", "a", encoding="utf-8") as file:
            file.write(f"{task.name}\n")
        time.sleep(seconds)
        _, _, ending = task.given["scene"].partition(":")
        if ending == "kill" or (ending == "kill once" and begun(ends).count(task.name) == 1):
            os.kill(os.getpid(), signal.SIGKILL)
        if ending == "damage":
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        if ending == "sleep":
            time.sleep(600)
        if ending == "bad":
            raise ValueError("this scene is bad")
        return Coloured(tuple(task.seed.to_bytes(8, "big")[-3:]))

    return making(make)


def begun(ends: Path) -> list[str]:
    """The names of tasks that were begun, as often as they were."""
    return (ends / "begun.txt").read_text("utf-8").splitlines()


def killed_in_opening(ends: Path):
    begin(ends)
    os.kill(os.getpid(), signal.SIGKILL)


def failing_to_open(ends: Path):
    begin(ends)
    raise FileNotFoundError("nowhere/unet is missing.")


def begin(ends: Path) -> None:
    with open(ends / "begun.txt", "a", encoding="utf-8") as file:
        file.write("opened\n")


class KilledAtLast(Coloured):
    """A picture whose process is killed as soon as it is written."""

    def save(self, path: Path) -> None:
        super().save(path)
        os.kill(os.getpid(), signal.SIGKILL)


def killed_at_last(ends: Path):
    def make(task):
        begin(ends)
        return KilledAtLast((1, 2, 3))

    return making(make)


class OnFullDisk(Coloured):
    """A picture for which there is no room."""

    def save(self, path: Path) -> None:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        super().save(path)


def full_disk(ends: Path):
    return making(lambda task: OnFullDisk((1, 2, 3)))


def opened_on_a_sound_machine(ends: Path):
    """Makes any picture."""
    return making(lambda task: Coloured((1, 2, 3)))


@cache
def meeting(folder: Path, count: int) -> threading.Barrier:
    """Where that many threads wait for one another, again and again."""
    return threading.Barrier(count, timeout=60)


def first_time(folder: Path, name: str) -> bool:
    """Whether this name is said for the first time."""
    try:
        (folder / name).mkdir()
    except FileExistsError:
        return False
    return True


def ended_together(folder: Path, count: int):
    """Makes any picture with `count` threads; the first time all of them end at once."""

    def make(task):
        begun_first = first_time(folder, task.name)
        meeting(folder, count).wait()
        if begun_first:
            raise RuntimeError("CUDA error: no device")
        return Coloured((1, 2, 3))

    return making(make)


def killed_together_in_opening(folder: Path, count: int):
    """The same of threads that end while they open, one after another of `count`."""
    number = next(number for number in range(2 * count) if first_time(folder, f"opening{number}"))
    meeting(folder, count).wait()
    if number < count:
        raise WorkerKilled("killed")
    return making(lambda task: Coloured((1, 2, 3)))


def all_there_at_once(folder: Path, count: int):
    """Makes any picture when as many processes are open."""
    (folder / f"open{os.getpid()}").touch()

    def make(task):
        until = time.monotonic() + 120
        while len(list(folder.glob("open*"))) < count:
            if time.monotonic() > until:
                raise ValueError("The others did not come.")
            time.sleep(0.02)
        return Coloured((1, 2, 3))

    return making(make)


def saying_what_cannot_be_sent():
    return lambda task: lambda: ""
