"""Tasks handed to workers that open their models once, each task done though workers are killed.

A worker is a process here, or a thread that speaks for a server elsewhere: whatever has the face of `WorkerProcess`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

from ..whole_files import part_of
from ..worker_processes import WorkerKilled, WorkerProcess
from .tasks import Making, Task

OPENINGS = 3  # of each worker that are killed in a row, after which the run is
ROW = 20  # pairs in a row that end their worker, or more where there are many: the machine is at fault then, not they
TRIES = 2  # of a pair that ends its worker


class PlaceGone(RuntimeError):
    """Where a worker was to be opened none ever will; those elsewhere go on."""


class Worker(Protocol):
    """What a task is sent to; `pid` is its process on this machine, None where it is this very one."""

    connection: Connection

    @property
    def pid(self) -> int | None: ...

    def send(self, *arguments: Any) -> None: ...

    def answer(self) -> Any: ...

    def close(self, *, now: bool = False) -> None: ...


Place = Callable[[], Worker]  # starts a worker where it is free


class Workers:
    """Up to one worker for each place, started when there is something to do; a context manager."""

    def __init__(
        self,
        places: Sequence[Place],
        *,
        tries: int = TRIES,
        all_at_once: bool = False,
        told: Callable[[str], object] = lambda line: None,
    ):
        """A pair is tried `tries` times where its worker ends. `all_at_once` opens workers at all places, however few
        pairs there are: where they may be long in coming. `told` hears of places that are gone."""
        self.count = len(places)
        self.places = list(places)  # where no worker is
        self.tries = tries
        self.all_at_once = all_at_once
        self.told = told
        self.opened: list[Worker] = []  # those without a task, ready for one
        self.beginning: set[Worker] = set()
        self.at_work: dict[Worker, Task] = {}
        self.place_of: dict[Worker, Place] = {}
        self.again: deque[Task] = deque()  # whose worker ended, and who wait for another one
        self.ended: dict[str, int] = {}  # how many workers ended, by the name of the task
        self.gone: set[Place] = set()  # of which it is told that they are
        self.row = max(ROW, tries * len(places))  # workers that end together, by one outage, count as one try of each
        self.openings = OPENINGS * len(places)
        self.in_a_row = 0
        self.openings_killed = 0

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.opened:
            worker.close()
        for worker in [*self.beginning, *self.at_work]:
            self._end(worker)
        self.opened.clear()

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, str]]:
        """Each task as it ends, with why it failed, or nothing where it did not.

        `tasks` are taken as workers become free. Raises what opening raises; OSError for a picture that cannot be
        written; RuntimeError where workers end whatever they are told to do.
        """
        coming = iter(tasks)
        waiting: deque[Task] = deque()
        while True:
            while len(waiting) < self.count:
                task = next(coming, None) or (self.again.popleft() if self.again else None)
                if task is None:
                    break
                waiting.append(task)
            self._hand_out(waiting)
            if not waiting and not self.at_work:
                return
            listening = [*self.beginning, *self.at_work]
            ready = wait([worker.connection for worker in listening])
            for worker in listening:
                if worker.connection in ready:
                    ended = self._hear(worker)
                    if ended:
                        yield ended

    def _hand_out(self, waiting: deque[Task]) -> None:
        """Tasks to workers that have none, and new workers for tasks that are left."""
        while waiting and self.opened:
            worker = self.opened.pop()
            self.at_work[worker] = task = waiting.popleft()
            worker.send(task)
        wanted = self.count if waiting and self.all_at_once else len(waiting) - len(self.beginning)
        for _ in range(min(wanted, len(self.places))):
            place = self.places.pop()
            worker = place()
            self.place_of[worker] = place
            self.beginning.add(worker)

    def _hear(self, worker: Worker) -> tuple[Task, str] | None:
        """What a worker has to say: that it is ready, or how its task ended; None where that is to be done again."""
        if worker in self.beginning:
            self._hear_opening(worker)
            return None
        task = self.at_work[worker]
        try:
            reason = worker.answer()
        except OSError:
            raise
        except Exception as error:  # it was killed, or is in a state that nobody knows
            self._end(worker)
            return self._again(task, str(error) or type(error).__name__)
        del self.at_work[worker]
        self.opened.append(worker)
        self.in_a_row = 0
        return task, reason

    def _hear_opening(self, worker: Worker) -> None:
        try:
            worker.answer()
        except PlaceGone as gone:
            self._end(worker)
            place = self.places.pop()
            self.count -= 1
            if place not in self.gone:  # one may have several workers
                self.gone.add(place)
                self.told(str(gone))
            if not self.count:
                raise
            return
        except WorkerKilled:
            self._end(worker)
            self.openings_killed += 1
            if self.openings_killed == self.openings:
                raise RuntimeError(
                    f"{self.openings} worker processes were killed from outside while they loaded the models, most "
                    "often for want of memory. Use fewer workers."
                ) from None
            return
        self.openings_killed = 0
        self.beginning.discard(worker)
        self.opened.append(worker)

    def _again(self, task: Task, ending: str) -> tuple[Task, str] | None:
        """Let a task wait until all others are done, by when others are more likely to be met by what ends workers.

        The last time it is given up. A worker that ended after it had written the picture has done its task.
        """
        if task.output.is_file():
            return task, ""
        count = self.ended[task.name] = self.ended.get(task.name, 0) + 1
        if count == self.tries:
            times = "twice" if count == 2 else f"{count} times"
            return task, f"Its worker process ended {times}: {ending}"
        self.in_a_row += 1
        if self.in_a_row == self.row:
            raise RuntimeError(f"{self.row} worker processes ended without a picture, the last one so: {ending}")
        self.again.append(task)
        return None

    def _end(self, worker: Worker) -> None:
        """End a worker, and remove the half of a picture that its process may leave. Its place is free then."""
        process = worker.pid
        self.beginning.discard(worker)
        task = self.at_work.pop(worker, None)
        worker.close(now=True)
        self.places.append(self.place_of.pop(worker))
        if task and process:
            with suppress(OSError):
                part_of(task.output, process).unlink(missing_ok=True)


def processes(count: int, opening: Callable[..., Making], *arguments: Any) -> Workers:
    """Workers that are `count` processes of this machine, which call `opening(*arguments)` for what they do."""
    return Workers([partial(WorkerProcess, opening, *arguments)] * count)
