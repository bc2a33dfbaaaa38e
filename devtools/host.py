"""A real ComfyUI server with this checkout as its one custom node: start it, talk to it, stop it.

One implementation for dev.py, the tests and the benchmarks. Standard library only, except that
watching a run needs aiohttp, which every environment of ComfyUI has.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, Request, build_opener

from .environment import ROOT

MOUNT = "visual-insertion"  # our folder under custom_nodes
HOST_FLAGS = "VISUAL_INSERTION_HOST_FLAGS"

Json = dict[str, Any]
Graph = Mapping[str, Json]  # a workflow in API format
OnEvent = Callable[[str, Any], None]  # type and data of a message; previews come as bytes

_open = build_opener(ProxyHandler({})).open  # a proxy has no business on the loopback


class HostError(RuntimeError):
    """The server did not start, died, or answered with an error."""


class Refused(HostError):
    """The graph did not pass validation; `reply` is what the server answered."""

    def __init__(self, reply: Json):
        self.reply = reply
        lines = [(reply.get("error") or {}).get("message") or "the graph was refused"]
        for number, node in (reply.get("node_errors") or {}).items():
            for error in node["errors"]:
                lines.append(f"{node['class_type']} (node {number}): {error['message']}: {error['details']}")
        super().__init__("\n".join(lines))


class RunFailed(HostError):
    """A node raised, or the run was interrupted; `entry` is the history, `data` the last event."""

    def __init__(self, entry: Json):
        self.entry = entry
        self.event, self.data = entry["status"]["messages"][-1]
        reason = self.data.get("exception_message", "interrupted").strip()
        where = f"{self.data.get('node_type')} (node {self.data.get('node_id')})"
        super().__init__(f"{where}: {reason}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def link_folder(at: Path, target: Path) -> None:
    """A symbolic link, or on a Windows that forbids it, a junction."""
    try:
        at.symlink_to(target, target_is_directory=True)
    except OSError:
        if os.name != "nt":
            raise
        command = ["cmd", "/c", "mklink", "/J", str(at), str(target)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def cpu_flags() -> list[str]:
    """What keeps a host on the CPU; HOST_FLAGS of the environment, such as `--force-fp32`, is taken in its place."""
    return os.environ.get(HOST_FLAGS, "--cpu").split()


def has_gpu() -> bool:
    """Whether the host can run on a GPU: NVIDIA's or Apple's. Does not import torch."""
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    command = shutil.which("nvidia-smi")
    if not command:
        return False
    gpus = subprocess.run([command, "-L"], capture_output=True, text=True)
    return gpus.returncode == 0 and "GPU" in gpus.stdout


class Host:
    """Starts at once, is reachable after `ready()`; as a context manager it does both and stops.

    `home` is the folder of ComfyUI; `base` holds inputs, outputs and settings (a temporary folder
    unless given); `models` replaces its empty models folder. `variables` go into the server's
    environment, `flags` to its command line. The log goes to `base`/log.txt or to the terminal.
    `api_nodes` are the host's own, which ask other servers; `more_packs` are folders of nodes beside ours.
    """

    def __init__(
        self,
        home: Path,
        *,
        python: str | Path = sys.executable,
        pack: Path = ROOT,
        base: Path | None = None,
        models: Path | None = None,
        port: int = 0,
        cpu: bool = True,
        flags: Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
        show_log: bool = False,
        api_nodes: bool = False,
        more_packs: Sequence[Path] = (),
    ):
        self._temporary = base is None
        self.base = base or Path(tempfile.mkdtemp(prefix="visual-insertion-"))
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        for name in ("custom_nodes", "input", "output", "temp", "user"):
            (self.base / name).mkdir(parents=True, exist_ok=True)
        self._link("models", models)
        self._link(f"custom_nodes/{MOUNT}", pack)
        for folder in more_packs:
            self._link(f"custom_nodes/{folder.name}", folder)
        command = [str(python), str(home / "main.py"), "--port", str(self.port), "--base-directory", str(self.base)]
        command += ["--database-url", "sqlite:///:memory:", "--preview-method", "latent2rgb"]
        command += [] if api_nodes else ["--disable-api-nodes"]
        command += [*cpu_flags(), *flags] if cpu else flags
        packs = [MOUNT, *(folder.name for folder in more_packs)]
        command += ["--disable-all-custom-nodes", "--whitelist-custom-nodes", *packs]  # last: it takes all the rest
        environment = {**os.environ, **(variables or {})}
        environment.pop("PYTHONSAFEPATH", None)  # main.py imports its neighbours
        self._log = None if show_log else self.base / "log.txt"
        stop_on_termination()
        self._started = time.monotonic()
        with open(self._log or os.devnull, "wb") as log:
            stream = log if self._log else None
            self.process = subprocess.Popen(command, stdout=stream, stderr=stream, cwd=self.base, env=environment)

    def _link(self, name: str, target: Path | None) -> None:
        """Make `base`/name a link to the target, or without one a plain folder."""
        at = self.base / name
        if target is None:
            at.mkdir(exist_ok=True)
        elif not at.exists() or not at.samefile(target):
            if os.path.lexists(at):
                at.unlink() if at.is_symlink() else at.rmdir()
            link_folder(at, target)

    def ready(self) -> float:
        """Wait until the server answers and has loaded our pack; seconds since its start."""
        while True:
            try:
                self.get("/system_stats")
                break
            except URLError:
                self._must_live()
                time.sleep(0.05)
        if re.search(rf"\(IMPORT FAILED\): .*[\\/]{MOUNT}\s*$", self.log(), re.MULTILINE):
            raise HostError(f"ComfyUI could not import the pack:\n{self.log()[-4000:]}")
        return time.monotonic() - self._started

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self._temporary:
            shutil.rmtree(self.base, ignore_errors=True)  # removes links, not what they lead to

    def __enter__(self) -> Host:
        try:
            self.ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def log(self) -> str:
        return self._log.read_text("utf-8", "replace") if self._log else ""

    def _must_live(self) -> None:
        code = self.process.poll()
        if code is not None:
            raise HostError(f"ComfyUI ended with code {code}:\n{self.log()[-4000:]}")

    # talking

    def _fetch(self, path: str, data: bytes | None = None, kind: str = "application/json") -> bytes:
        request = Request(self.url + path, data, {"Content-Type": kind} if data is not None else {})
        with _open(request, timeout=60) as reply:
            return reply.read()

    def get(self, path: str) -> Any:
        return json.loads(self._fetch(path))

    def post(self, path: str, body: Any = None) -> Any:
        reply = self._fetch(path, json.dumps(body or {}).encode())
        return json.loads(reply) if reply else None

    def object_info(self, node: str = "") -> Json:
        """Description of every node, or of one."""
        return self.get(f"/object_info/{node}")[node] if node else self.get("/object_info")

    def upload(self, name: str, data: bytes) -> str:
        """Put a picture into the input folder; the name that LoadImage knows it by."""
        boundary = uuid.uuid4().hex
        file = f'name="image"; filename="{name}"\r\nContent-Type: application/octet-stream'
        parts = {file: data, 'name="overwrite"': b"true"}
        body = b"".join(
            f"--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + content + b"\r\n"
            for head, content in parts.items()
        )
        body += f"--{boundary}--\r\n".encode()
        kind = f"multipart/form-data; boundary={boundary}"
        reply = json.loads(self._fetch("/upload/image", body, kind))
        return "/".join(filter(None, (reply["subfolder"], reply["name"])))

    def view(self, image: Mapping[str, str]) -> bytes:
        """The file behind one entry of a node's `images`."""
        return self._fetch(f"/view?{urlencode(image)}")

    def queue(self, graph: Graph, client: str = "") -> str:
        """Queue a graph, all of it; its prompt id."""
        try:
            reply = self.post("/prompt", {"prompt": graph, "client_id": client})
        except HTTPError as error:
            if error.code != 400:
                raise
            raise Refused(json.loads(error.read())) from None
        if reply["node_errors"]:  # the server would quietly leave these outputs out
            raise Refused(reply)
        return reply["prompt_id"]

    def result(self, prompt: str) -> Json:
        """Wait for a queued run; its entry in the history."""
        history = self.get(f"/history/{prompt}")
        while prompt not in history:
            self._must_live()
            time.sleep(0.02)
            history = self.get(f"/history/{prompt}")
        if history[prompt]["status"]["status_str"] != "success":
            raise RunFailed(history[prompt])
        return history[prompt]

    def run(self, graph: Graph, on_event: OnEvent | None = None) -> Json:
        """Queue a graph and wait, handing on the server's messages; its entry in the history."""
        if on_event is None:
            return self.result(self.queue(graph))
        return self.result(asyncio.run(self._watched(graph, on_event)))

    async def _watched(self, graph: Graph, on_event: OnEvent) -> str:
        import aiohttp

        client = uuid.uuid4().hex
        address = f"{self.url}/ws?clientId={client}"
        async with aiohttp.ClientSession() as session, session.ws_connect(address) as messages:
            prompt = self.queue(graph, client)
            async for message in messages:
                if message.type == aiohttp.WSMsgType.BINARY:
                    on_event("preview", message.data)
                    continue
                event = json.loads(message.data)
                on_event(event["type"], event["data"])
                ended = event["type"] == "executing" and event["data"].get("node") is None
                if ended and event["data"].get("prompt_id") == prompt:
                    break
        return prompt


def stop_on_termination() -> None:
    """Let SIGTERM unwind the stack as Ctrl-C does, so that no server outlives who started it."""
    if threading.current_thread() is threading.main_thread():
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, signal.default_int_handler)
