"""Tasks over the machines of a Ray cluster: actors of Ray Data that open their models once, one for each GPU or core.

What is to be made lies in a file beside the pictures, of which the data set is the numbers: the list is nowhere in
memory. Ray starts an actor anew that was killed, and gives it what it was doing. A picture is written whole or not at
all and one that is there is not made again, so it is there once, whatever is done twice.
"""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from struct import Struct
from typing import IO, Any

from ..ray_cluster import Actor, cluster, package
from ..whole_files import part_of
from ..worker_processes import portable
from .tasks import Making, Task

TRIES = 5  # of a pair whose actor ends: machines of a cluster come and go for reasons of their own
PARTS_AT_MOST = 10_000  # of a data set, each of as many pairs
STEPS = 10_000  # of a resource, the smallest one of which Ray knows
PLACE = Struct("<Q")  # of a task in the file


class RayActors:
    """A crew of up to `count` actors in the cluster at `address`, or as many as fit; each has a GPU or a core, or a
    share of one."""

    def __init__(
        self,
        address: str,
        count: int | None,
        gpu: bool,
        folder: Path,
        opening: Callable[..., Making],
        *arguments: Any,
    ):
        """`folder` is that of the pictures. Paths in `arguments` are seen from all machines."""
        self.address = address
        self.count = count
        self.gpu = gpu
        self.tasks = part_of(folder / "tasks", os.getpid())
        self.places = part_of(folder / "places", os.getpid())
        self.work = pickle.dumps((opening, arguments))
        self.entered = ExitStack()

    def __enter__(self) -> RayActors:
        return self

    def __exit__(self, *ending: Any) -> None:
        self.entered.close()
        for path in (self.tasks, self.places):
            path.unlink(missing_ok=True)

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, str]]:
        """Each task as it ends, with why it failed. Raises what opening raises, OSError for what is not written, and
        RuntimeError where Ray gives up."""
        count = self._write(tasks)
        if not count:
            return
        each = -(-count // PARTS_AT_MOST)
        with _errors_of_ray():
            ray = self.entered.enter_context(cluster(self.address))
            resource = "GPU" if self.gpu else "CPU"
            fitting = int(ray.cluster_resources().get(resource, 0))
            if not fitting:
                raise ValueError(f"The Ray cluster has no {resource}. Choose another --device.")
            parts = -(-count // each)
            arguments = (self.work, str(self.tasks), str(self.places), each)
            numbers = ray.data.range(parts, override_num_blocks=parts)
            part = share(self.count, fitting)
            made = numbers.map(
                Actor,
                fn_constructor_args=(package(), __name__, "Maker", arguments),
                compute=ray.data.ActorPoolStrategy(size=min(self.count or fitting, parts)),
                num_cpus=part,
                num_gpus=part if self.gpu else None,
            )
            for row in made.iter_rows():
                ended, problem = pickle.loads(row["ended"])
                yield from ended
                if problem:
                    raise problem

    def _write(self, tasks: Iterable[Task]) -> int:
        """Write down what is to be made, for all machines to read; how many tasks these are."""
        count = 0
        with open(self.tasks, "wb") as file, open(self.places, "wb") as places:
            for task in tasks:
                places.write(PLACE.pack(file.tell()))
                pickle.dump(task, file)
                count += 1
        return count


def share(workers: int | None, fitting: int) -> float:
    """The part of a GPU or of a core that each worker takes, of `fitting` that are there: all of it, or as many workers
    share one as must. It is of a whole one, which no two machines share, and in Ray's steps."""
    if workers is None or workers <= fitting:
        return 1.0
    return STEPS // -(-workers // fitting) / STEPS


@contextmanager
def _errors_of_ray() -> Iterator[None]:
    """Raises RuntimeError for what Ray itself raises: a machine that is gone, actors that end for ever."""
    from ray.exceptions import RayError

    try:
        yield
    except RayError as error:
        text = str(error).strip()
        raised = re.search(r"^[\w.]+: .+$", text, re.MULTILINE)  # the first error of a traceback in it
        said = raised[0] if raised else text.partition("\n")[0]
        raise RuntimeError(
            f"Ray gave up ({type(error).__name__}): {said} See what is wrong there by `ray status`, and run the "
            "command again: pictures that are there are kept."
        ) from error


class NotRead(RuntimeError):
    """What is to be made cannot be read on a machine."""


class Maker:
    """What an actor does with a row: the tasks of its number."""

    def __init__(self, work: bytes, tasks: str, places: str, each: int):
        self.tasks = Path(tasks)
        self.places = Path(places)
        self.each = each
        self.making: Making | None = None
        self.problem: Exception | None = None
        try:
            opening, arguments = pickle.loads(work)
            self.making = opening(*arguments)
        except Exception as error:  # it is told with the first row; an actor that does not open is started for ever
            self.problem = portable(error)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        ended: list[tuple[Task, str]] = []
        problem = self.problem
        if self.making:
            try:
                for task in self._tasks(int(row["id"])):
                    ended.append((task, tried(self.making, task)))
            except (NotRead, OSError) as error:
                problem = portable(error)
            except Exception:  # after this the process is not to be trusted, as after a GPU's error
                os._exit(1)
        return {"ended": pickle.dumps((ended, problem))}

    def _tasks(self, number: int) -> list[Task]:
        """Raises NotRead."""
        try:
            with open(self.tasks, "rb") as file, open(self.places, "rb") as places:
                places.seek(PLACE.size * self.each * number)
                found = [place for (place,) in PLACE.iter_unpack(places.read(PLACE.size * self.each))]
                return [_task_at(file, place) for place in found]
        except Exception as error:  # whatever another version of a class makes of being read
            raise NotRead(
                f"{self.tasks} cannot be read where a worker is ({type(error).__name__}: {error}). See that all "
                "machines have one version of the pack, and see the folder of the pictures under one path."
            ) from error


def _task_at(file: IO[bytes], place: int) -> Task:
    file.seek(place)
    return pickle.load(file)


def tried(making: Making, task: Task) -> str:
    """Why a task failed, nothing where it did not; it is given up where it ended actors before, too often."""
    if task.output.is_file():  # by an actor that ended before it could tell
        return ""
    tries = part_of(
        task.output.with_name(f"{task.output.name}.tries"), 0
    )  # the next run removes it, where this one is killed
    with open(tries, "ab") as file:
        file.write(b".")
        begun = file.tell()
    reason = f"Its worker ended {TRIES} times." if begun > TRIES else making(task)
    tries.unlink(missing_ok=True)
    return reason
