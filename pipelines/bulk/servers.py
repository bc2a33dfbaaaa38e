"""ComfyUI servers as workers: each is spoken to by threads here, and gets the next pair when it has made one."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import Pipe
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.parse import quote

from ..provenance import Origin
from ..weights.manifest import sha256_of
from ..worker_processes import WorkerKilled, serve
from . import comfyui_client
from .comfyui_client import Client, Lost, NotKnown, Refused
from .tasks import Making, Task, making
from .workers import PlaceGone, Workers
from .workflow import Workflow

if TYPE_CHECKING:
    from PIL.Image import Image

AHEAD = 2  # pairs that each server has at once: it makes one while the other comes or goes
TRIES = 5  # of a pair whose server goes: servers are started anew for reasons of their own
AT_ONCE = 5.0  # s in which one server must answer before anything is made; the others may come later


def crew_of_servers(
    urls: Sequence[str],
    workflow: Workflow,
    origin: Origin,
    settings: Mapping[str, Any],
    kind: Mapping[str, str],
    *,
    record: bool = True,
    told: Callable[[str], object] = lambda line: None,
) -> Workers:
    """Workers that let the servers at `urls` run a workflow for each pair; `kind` is what `kind_of` said of them."""
    patience = comfyui_client.PATIENCE
    work = [partial(WorkerThread, serving, url, workflow, origin, settings, kind, record, patience) for url in urls]
    return Workers(work * AHEAD, tries=TRIES, all_at_once=True, told=told)


def kind_of(urls: Sequence[str]) -> dict[str, str]:
    """The versions and the kind of device of servers, which are the same. Raises ValueError where they are not.

    That is NotKnown for what is no ComfyUI. One that does not answer at once may do so later; OSError is raised where
    none does.
    """
    kinds: dict[str, dict[str, str]] = {}
    reasons = []
    for url in urls:
        try:
            kinds[url] = Client(url).wait_for(min(comfyui_client.PATIENCE, AT_ONCE))
        except Lost as lost:
            reasons.append(str(lost))
        except HTTPError as error:
            reasons.append(f"{url} answers with an error: {error}.")
    if not kinds:
        raise OSError(
            f"No server answers at {', '.join(urls)}. Start ComfyUI there, and see that --listen lets us in. "
            + " ".join(reasons)
        )
    first, *others = kinds.items()
    for other in others:
        _check_kind(other, first)
    return first[1]


def _check_kind(one: tuple[str, Mapping[str, str]], first: tuple[str, Mapping[str, str]]) -> None:
    if one[1] != first[1]:
        is_not = ", ".join(f"{name} {value}" for name, value in one[1].items() if value != first[1][name])
        wanted = ", ".join(f"{name} {value}" for name, value in first[1].items() if value != one[1][name])
        raise ValueError(
            f"{one[0]} has {is_not}, {first[0]} {wanted}: their pictures would not be the same. Leave one out."
        )


@dataclass(frozen=True)
class FromServer:
    """A picture that a server made, its scene, and what made it."""

    picture: Image
    scene: Image
    record: Mapping[str, Any] | None

    def save(self, path: Path) -> None:
        """Write it, whole or not at all, with the scene's transparency. Raises OSError."""
        from ..pictures.files import is_transparent, save_picture

        picture = self.picture.convert("RGB")
        if is_transparent(self.scene) and self.scene.size == picture.size:
            picture.putalpha(self.scene.convert("RGBA").getchannel("A"))
        save_picture(picture, path, like=self.scene, record=self.record)


def serving(
    url: str,
    workflow: Workflow,
    origin: Origin,
    settings: Mapping[str, Any],
    kind: Mapping[str, str],
    record: bool,
    patience: float,
) -> Making:
    """What a thread does with a task. Raises PlaceGone for a server that does not come, ValueError for another kind."""
    from ..pictures.opening import open_picture

    client = Client(url, patience)
    try:
        _check_kind((url, client.wait_for(patience)), ("the others", kind))
        _check_nodes(client, workflow)
    except (Lost, NotKnown) as gone:
        raise PlaceGone(f"{gone} It is left out from now on.") from gone
    except HTTPError as error:
        raise PlaceGone(f"{url} answers with an error: {error}. It is left out from now on.") from error

    def names_of(task: Task, hashes: Mapping[str, str]) -> dict[str, str]:
        """What the server calls a task's pictures, which it is given."""
        names = {}
        for column, path in task.files.items():
            if path != task.files["scene"]:
                open_picture(path, deep=True)  # what it is not is told in our own words
            names[column] = client.upload(f"{hashes[column][:32]}{path.suffix.lower()}", path.read_bytes())
        return names

    def run(task: Task, hashes: Mapping[str, str]) -> bytes:
        graph = workflow.of_pair(names_of(task, hashes), task.seed, task.texts)
        return client.run(graph, workflow.result)

    def make(task: Task) -> FromServer:
        scene = open_picture(task.files["scene"], deep=True)
        hashes = {column: sha256_of(path) for column, path in task.files.items()}
        try:
            try:
                content = run(task, hashes)
            except Refused:  # it may have been started anew after the uploads, which are gone then
                content = run(task, hashes)
        except HTTPError as error:
            raise ValueError(f"{url} answers with an error: {error}") from error
        try:
            picture = open_picture(content, f"What {url} sent", deep=True)
        except ValueError as error:  # cut off on its way, or on a full disk there
            raise Lost(str(error)) from error
        named = {column: {path.name: hashes[column]} for column, path in task.files.items()}
        written = origin.record({**settings, **task.texts, "seed": task.seed}, named) if record else None
        return FromServer(picture, scene, written)

    return making(make)


def _check_nodes(client: Client, workflow: Workflow) -> None:
    """Raises ValueError for a server without one of the workflow's nodes: every pair would fail there."""
    for name in workflow.node_types:
        if name not in client.json(f"/object_info/{quote(name, safe='')}"):
            raise ValueError(f"{client.url} has no node {name}: install there what the workflow needs.")


class WorkerThread:
    """A thread of this process with the face of a `WorkerProcess`: for work that waits for others."""

    pid = None

    def __init__(self, opening: Callable[..., Callable], *arguments: Any):
        self.connection, theirs = Pipe()
        work = pickle.dumps((opening, arguments))
        threading.Thread(target=serve, args=(theirs, work), daemon=True).start()

    def send(self, *arguments: Any) -> None:
        """Ask for an answer to these arguments."""
        self.connection.send(arguments)

    def answer(self) -> Any:
        """Wait for the next answer, and raise what was raised there. Raises WorkerKilled."""
        try:
            value, error = self.connection.recv()
        except (EOFError, OSError) as ending:
            raise WorkerKilled("A thread ended without an answer.") from ending
        if error is not None:
            raise error
        return value

    def close(self, *, now: bool = False) -> None:
        """Ask no more; the thread ends after what it does."""
        self.connection.close()
