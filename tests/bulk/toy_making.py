"""What worker processes of these tests do: small pictures of one colour, and an end where a task asks for one."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from visual_insertion_pack.pipelines.bulk.tasks import making
from visual_insertion_pack.pipelines.whole_files import whole


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
