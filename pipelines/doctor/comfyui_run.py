"""The user's own ComfyUI, started for a moment: it runs the node Visual Insertion Doctor, and what that says is told.

Only this pack's nodes are loaded. Results, inputs and settings go to a temporary folder; the models are the user's.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

from .check import OK, PROBLEM, SKIPPED, Check
from .installation import PACK, WORKFLOW, Installation, own_folder
from .software import COMFYUIS_PYTHON, import_error

PARITY = "parity with diffusers"
NODE = "VisualInsertionDoctor"
LONGEST_START = 300  # s
LONGEST_RUN = 900
PYTHONS = (  # where ComfyUI's own Python lies beside it: the portable build's, then virtual environments
    "../python_embeded/python.exe",
    *(f"{folder}/{python}" for folder in (".venv", "venv") for python in ("bin/python", "Scripts/python.exe")),
)
HOSTS_OWN = "comfyui_frontend_package"  # which only ComfyUI asks for
UNANSWERED = (URLError, ConnectionError, TimeoutError)  # not there yet, or too busy to answer

_open = build_opener(ProxyHandler({})).open  # a proxy would not know this machine's own address


class RunError(Exception):
    """Why ComfyUI did not start or run, in a line."""


def in_comfyui(name: str, installation: Installation) -> Iterator[Check]:
    """What the node finds in ComfyUI: whether that starts, inserts, and has diffusers' arithmetic."""
    home = installation.comfyui
    if home is None:
        yield Check(name, SKIPPED, "no ComfyUI was found", f"Run {WORKFLOW}: it inserts there.")
        return
    if installation.quick:
        yield Check(name, SKIPPED, "a quick look does not start ComfyUI")
        return
    python = python_of(home)
    if is_this(python) and (error := import_error(HOSTS_OWN)):
        yield Check(name, SKIPPED, f"this Python cannot start ComfyUI: {HOSTS_OWN} {error}", COMFYUIS_PYTHON)
        return
    try:
        yield from _run(name, python, home, installation)
    except RunError as error:
        yield Check(name, PROBLEM, str(error), f"Start ComfyUI and look at what it prints, then run {WORKFLOW}.")


def python_of(home: Path) -> Path:
    """The Python that lies beside a ComfyUI, or this one."""
    return next((home / python for python in PYTHONS if (home / python).is_file()), Path(sys.executable))


def is_this(python: Path) -> bool:
    """Whether we run in this Python: two virtual environments may be links to one file."""
    return os.path.abspath(python) == os.path.abspath(sys.executable)


def _run(name: str, python: Path, home: Path, installation: Installation) -> Iterator[Check]:
    from .pairing import pix2pix_unets

    with started(python, home, installation) as server:
        seconds = server.wait_until_ready()
        yield Check(name, OK, f"ComfyUI starts in {seconds:.0f} s and has this pack's nodes")
        yield from _said(server.run({"doctor": {"class_type": NODE, "inputs": {}}}), name)
        unets = sorted(pix2pix_unets(installation), key=lambda part: part.path.is_dir() or part.path.stat().st_size)
        if not unets:
            yield Check(PARITY, SKIPPED, "no real weights")
            return
        loader = {"class_type": "Pix2PixUNetLoader", "inputs": {"name": unets[0].name, "weights": "as saved"}}
        doctor = {"class_type": NODE, "inputs": {"model": ["loader", 0]}}
        try:
            yield from _said(server.run({"loader": loader, "doctor": doctor}), PARITY)
        except RunError as error:
            yield Check(PARITY, PROBLEM, f"{unets[0].name}: {error}")


def _said(rows: list[dict[str, str]], name: str) -> Iterator[Check]:
    """The node's findings of one name."""
    yield from (Check(**row) for row in rows if row["name"] == name)


class Server:
    """A process of ComfyUI and how to talk to it."""

    def __init__(self, process: subprocess.Popen, port: int, log: Path):
        self.process = process
        self.url = f"http://127.0.0.1:{port}"
        self.log = log
        self.started = time.monotonic()

    def ask(self, path: str, body: Any = None) -> Any:
        """What the server answers, JSON."""
        data = None if body is None else json.dumps(body).encode()
        request = Request(self.url + path, data, {"Content-Type": "application/json"} if data else {})
        with _open(request, timeout=60) as reply:
            return json.loads(reply.read())

    def wait_until_ready(self) -> float:
        """Seconds until the server answers. Raises RunError if it never does, or lacks the pack's node."""
        while True:
            with suppress(*UNANSWERED):
                nodes = self.ask(f"/object_info/{NODE}")
                break
            self._check_alive()
            if time.monotonic() - self.started > LONGEST_START:
                raise RunError(f"ComfyUI did not answer within {LONGEST_START} s. {self._last_words()}")
            time.sleep(0.2)
        if NODE not in nodes:
            raise RunError(f"ComfyUI starts without this pack's nodes. {self._last_words()}")
        return time.monotonic() - self.started

    def run(self, graph: dict[str, Any]) -> list[dict[str, str]]:
        """Run a graph with the node `doctor`: what that found. Raises RunError."""
        try:
            prompt = self.ask("/prompt", {"prompt": graph})["prompt_id"]
        except HTTPError as error:
            raise RunError(f"ComfyUI refused to run: {error.read().decode('utf-8', 'replace')}") from error
        entry = None
        ends = time.monotonic() + LONGEST_RUN
        while not entry:
            self._check_alive()
            if time.monotonic() > ends:
                raise RunError(f"ComfyUI did not finish within {LONGEST_RUN} s. {self._last_words()}")
            time.sleep(0.2)
            with suppress(*UNANSWERED):
                entry = self.ask(f"/history/{prompt}").get(prompt)
        if entry["status"]["status_str"] != "success":
            failure = entry["status"]["messages"][-1][1]
            raise RunError(f"{failure.get('node_type')} failed: {failure.get('exception_message', '').strip()}")
        return entry["outputs"]["doctor"]["checks"]

    def _check_alive(self) -> None:
        code = self.process.poll()
        if code is not None:
            raise RunError(f"ComfyUI ended with code {code}. {self._last_words()}")

    def _last_words(self) -> str:
        """The last line of the log that tells of an error, else its last line."""
        lines = [line.strip() for line in self.log.read_text("utf-8", "replace").splitlines() if line.strip()]
        errors = [line for line in lines if re.search(r"\w(Error|Exception)\b|IMPORT FAILED", line)]
        return f"It said: {(errors or lines or ['nothing'])[-1]}"


@contextmanager
def started(python: Path, home: Path, installation: Installation) -> Iterator[Server]:
    """ComfyUI's server with this pack alone, stopped when the block is left."""
    with tempfile.TemporaryDirectory(prefix="visual-insertion-doctor-", ignore_cleanup_errors=True) as base:
        command = [str(python), "main.py", "--port", str(port := free_port()), "--disable-auto-launch"]
        for kind in ("input", "output", "temp", "user"):
            (Path(base) / kind).mkdir()
            command += [f"--{kind}-directory", str(Path(base) / kind)]
        command += ["--database-url", "sqlite:///:memory:", "--disable-api-nodes"]
        command += ["--cpu"] if computes_on_cpu(python, installation) else []
        (Path(base) / "paths.json").write_text(json.dumps(extra_paths(home, installation)), "utf-8")  # JSON is YAML
        command += ["--extra-model-paths-config", str(Path(base) / "paths.json")]
        folder = (own_folder(home) or PACK).name
        command += ["--disable-all-custom-nodes", "--whitelist-custom-nodes", folder]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
        log = Path(base) / "log.txt"
        with log.open("wb") as stream:
            process = subprocess.Popen(command, cwd=home, env=environment, stdout=stream, stderr=stream)
        try:
            yield Server(process, port, log)
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def extra_paths(home: Path, installation: Installation) -> dict[str, dict[str, str]]:
    """What an extra_model_paths.yaml has to say so that ComfyUI finds the same models, and this pack."""
    folders = {key: "\n".join(map(str, directories)) for key, directories in installation.folders.items()}
    if own_folder(home) is None:
        folders["custom_nodes"] = str(PACK.parent)
    return {"doctor": folders}


def computes_on_cpu(python: Path, installation: Installation) -> bool:
    """Whether ComfyUI has to be told to do without a GPU, by the device that is wanted or by what torch says there."""
    if installation.device:
        return installation.device == "cpu"
    question = "import sys, torch; sys.exit(0 if getattr(torch, 'accelerator', torch.cuda).is_available() else 5)"
    return subprocess.run([str(python), "-c", question], capture_output=True, timeout=LONGEST_START).returncode == 5


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
