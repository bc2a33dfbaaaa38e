"""Tasks in worker processes that open their models once, each task done though processes are killed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from multiprocessing.connection import wait
from typing import Any

from ..whole_files import part_of
from ..worker_processes import WorkerKilled, WorkerProcess
from .tasks import Making, Task

OPENINGS = 3  # that are killed one after another, after which the run is
ROW = 20  # pairs in a row that end their process: the machine is at fault then, not they


class Workers:
    """Up to `count` processes that call `opening(*arguments)` for what they do with tasks; a context manager."""

    def __init__(self, count: int, opening: Callable[..., Making], *arguments: Any):
        self.count = count
        self.opening = opening
        self.arguments = arguments
        self.opened: list[WorkerProcess] = []  # those without a task, ready for one
        self.beginning: set[WorkerProcess] = set()
        self.at_work: dict[WorkerProcess, Task] = {}
        self.again: deque[Task] = deque()  # whose process ended, and who wait for another one
        self.ended: set[str] = set()  # names of all whose process ended
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

        `tasks` are taken as processes become free. Raises what opening raises; OSError for a picture that cannot be
        written; RuntimeError where processes end whatever they are told to do.
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
            listening = [*self.beginning, *self.at_work]
            if not listening:
                return
            ready = wait([worker.connection for worker in listening])
            for worker in listening:
                if worker.connection in ready:
                    ended = self._hear(worker)
                    if ended:
                        yield ended

    def _hand_out(self, waiting: deque[Task]) -> None:
        """Tasks to processes that have none, and new processes for tasks that are left."""
        while waiting and self.opened:
            worker = self.opened.pop()
            self.at_work[worker] = task = waiting.popleft()
            worker.send(task)
        for _ in range(min(len(waiting) - len(self.beginning), self.count - len(self.beginning) - len(self.at_work))):
            self.beginning.add(WorkerProcess(self.opening, *self.arguments))

    def _hear(self, worker: WorkerProcess) -> tuple[Task, str] | None:
        """What a process has to say: that it is ready, or how its task ended; None where that is to be done again."""
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

    def _hear_opening(self, worker: WorkerProcess) -> None:
        try:
            worker.answer()
        except WorkerKilled:
            self._end(worker)
            self.openings_killed += 1
            if self.openings_killed == OPENINGS:
                raise RuntimeError(
                    f"{OPENINGS} worker processes were killed from outside while they loaded the models, most often "
                    "for want of memory. Use fewer workers."
                ) from None
            return
        self.openings_killed = 0
        self.beginning.discard(worker)
        self.opened.append(worker)

    def _again(self, task: Task, ending: str) -> tuple[Task, str] | None:
        """Let a task wait until all others are done, by when others are more likely to be met by what kills processes.

        The second time it is given up.
        """
        if task.name in self.ended:
            return task, f"Its worker process ended twice: {ending}"
        self.in_a_row += 1
        if self.in_a_row == ROW:
            raise RuntimeError(f"{ROW} worker processes ended without a picture, the last one so: {ending}")
        self.ended.add(task.name)
        self.again.append(task)
        return None

    def _end(self, worker: WorkerProcess) -> None:
        """End a process, and remove the half of a picture that it may leave."""
        process = worker.process.pid
        self.beginning.discard(worker)
        task = self.at_work.pop(worker, None)
        worker.close(now=True)
        if task:
            with suppress(OSError):
                part_of(task.output, process).unlink(missing_ok=True)
