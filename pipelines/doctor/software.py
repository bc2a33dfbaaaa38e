"""Versions: of this pack, Python, ComfyUI and the packages of both."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib import import_module, metadata

from ..provenance import commit
from .check import OK, PROBLEM, SKIPPED, WARNING, Check, reason
from .installation import PACK, WORKFLOW, Installation, own_folder, packs_in, setting

OLDEST_PYTHON = (3, 10)
NEWEST_PYTHON = (3, 13)  # of those that ran
VERSION_FILE = "comfyui_version.py"
COMFYUIS_PYTHON = (
    "Run the command with the Python that starts ComfyUI; of the portable Windows build that is "
    r"python_embeded\python.exe."
)

NODES_NEED = {  # module -> package; all of it comes with ComfyUI
    "torch": "torch",
    "torchvision": "torchvision",
    "numpy": "numpy",
    "scipy": "scipy",
    "PIL": "pillow",
    "safetensors": "safetensors",
    "einops": "einops",
    "kornia": "kornia",
    "pydantic": "pydantic",
    "yaml": "pyyaml",
}
COMMANDS_NEED = {"diffusers": "diffusers", "transformers": "transformers", "accelerate": "accelerate"}


def pack(installation: Installation) -> Iterator[Check]:
    """The pack's version and commit, and whether ComfyUI would load it twice."""
    version = setting(PACK / "pyproject.toml", "version")
    checkout = commit()
    yield Check("pack", OK, " ".join(filter(None, ["visual-insertion", version, f"({checkout})" if checkout else ""])))
    copies = packs_in(installation.comfyui) if installation.comfyui else []
    if len(copies) > 1:
        names = ", ".join(folder.name for folder in copies)
        advice = "Keep one of them in custom_nodes and restart ComfyUI."
        yield Check("pack", PROBLEM, f"installed {len(copies)} times, as {names}", advice)


def python(installation: Installation) -> Iterator[Check]:
    """The version of this Python against those that the pack ran with."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        yield Check("Python", PROBLEM, f"{version}; 3.10 is the oldest that works", COMFYUIS_PYTHON)
    elif sys.version_info[:2] > NEWEST_PYTHON:
        yield Check("Python", WARNING, f"{version}, newer than what the pack ran with (3.10 to 3.13)")
    else:
        yield Check("Python", OK, version)


def comfyui(installation: Installation) -> Iterator[Check]:
    """ComfyUI's version against the oldest that is promised, and whether it loads this pack."""
    folder = installation.comfyui
    if folder is None:
        advice = f"Use {WORKFLOW}, or set COMFYUI_PATH to the folder of ComfyUI's main.py."
        yield Check("ComfyUI", SKIPPED, "none here: this folder is not in a custom_nodes", advice)
        return
    version = setting(folder / VERSION_FILE, "__version__") if (folder / VERSION_FILE).is_file() else ""
    oldest = setting(PACK / "pyproject.toml", "requires-comfyui").lstrip(">=")
    if not version:
        yield Check("ComfyUI", WARNING, f"in {folder}, of an unknown version; {oldest} is the oldest that works")
    elif numbers(version) < numbers(oldest):
        advice = f"Update ComfyUI to {oldest} or newer."
        yield Check("ComfyUI", PROBLEM, f"{version} in {folder}; {oldest} is the oldest that works", advice)
    else:
        yield Check("ComfyUI", OK, f"{version} in {folder}")
    if not installation.running and own_folder(folder) is None:
        advice = f"Put {PACK.name} into the folder custom_nodes of ComfyUI and restart it."
        yield Check("ComfyUI", WARNING, f"this pack is not in {folder / 'custom_nodes'}", advice)


def numbers(version: str) -> tuple[int, ...]:
    """A version to compare: 0.18.2 as (0, 18, 2), whatever follows."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def packages(installation: Installation) -> Iterator[Check]:
    """Versions of the packages that the nodes need, and those that only commands with models need."""
    there = []
    for module, package in NODES_NEED.items():
        error = import_error(module)
        if error:
            yield Check("packages", PROBLEM, f"{package}, which the nodes need: {error}", COMFYUIS_PYTHON)
        else:
            there.append(f"{package} {version_of(package)}")
    yield Check("packages", OK, ", ".join(there) or "none")
    there = []
    for module, package in COMMANDS_NEED.items():
        error = import_error(module)
        if error:
            found = f"{package}, which no node needs, but insert, paint, train and evaluate as commands: {error}"
            yield Check("packages of commands", SKIPPED, found)
        else:
            there.append(f"{package} {version_of(package)}")
    if there:
        yield Check("packages of commands", OK, ", ".join(there))


def import_error(module: str) -> str:
    """Why a module cannot be imported; empty if it can."""
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        return "not installed" if error.name == module else reason(error)
    except (Exception, SystemExit) as error:  # a library built for another one fails in many ways
        return reason(error)
    return ""


def version_of(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "of an unknown version"
