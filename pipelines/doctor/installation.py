"""What is looked at: this pack, the ComfyUI it is for, and the folders of models and results."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..weights.manifest import FOLDERS, MANIFEST, Folders, Progress, default_models_dir, model_folders

PACK = MANIFEST.parent
DIFFUSERS = "diffusers"  # the host's key of folders that are models as a whole
EXTRA = "extra_model_paths.yaml"  # which ComfyUI reads where it lies beside its main.py
WORKFLOW = "the node Visual Insertion Doctor in ComfyUI"


@dataclass(frozen=True)
class Installation:
    """Where everything is, and how closely to look."""

    comfyui: Path | None  # the folder of its main.py
    folders: Folders  # of models, by the host's keys
    output: Path | None = None  # where pictures are written
    extra: Path | None = None  # a list of further model folders
    device: str | None = None  # of torch; else the best there is
    quick: bool = False  # sizes in place of hashes, and ComfyUI is not started
    running: bool = False  # that ComfyUI asks, and has loaded this pack
    program: str = "python pipelines"  # what starts the commands
    progress: Callable[[str], Progress | None] = lambda name: None  # follows the hashing of a file of this name


def find_installation(
    models: Path | None = None, extra: Path | None = None, device: str | None = None, quick: bool = False
) -> Installation:
    """What this pack lies in, as commands find it. Raises OSError or ValueError for an `extra` that cannot be read."""
    comfyui = find_comfyui()
    models = models or default_models_dir() or (comfyui / "models" if comfyui else None)
    folders = {}
    if models:
        folders = model_folders(models, extra) | {DIFFUSERS: [models / DIFFUSERS]}
    beside = comfyui / EXTRA if comfyui else None
    if models and extra is None and beside and beside.is_file():
        extra = beside
        with suppress(OSError, ValueError, ImportError):  # the check of the folders says so
            folders |= model_folders(models, extra)
    output = comfyui / "output" if comfyui else None
    return Installation(comfyui, folders, output, extra, device=device, quick=quick, program=program_as_typed())


def find_comfyui() -> Path | None:
    """ComfyUI at $COMFYUI_PATH, around the custom_nodes that we lie in, or where the command was started."""
    places = [Path(os.environ["COMFYUI_PATH"])] if os.environ.get("COMFYUI_PATH") else []
    if PACK.parent.name == "custom_nodes":
        places.append(PACK.parents[1])
    places += [Path.cwd(), Path.cwd() / "ComfyUI"]
    return next((place.resolve() for place in places if (place / "main.py").is_file() and is_comfyui(place)), None)


def is_comfyui(folder: Path) -> bool:
    return (folder / "comfy").is_dir() and (folder / "nodes.py").is_file()


def own_folder(comfyui: Path) -> Path | None:
    """The folder in custom_nodes that is this pack or leads to it, else None."""
    return next((folder for folder in packs_in(comfyui) if folder.samefile(PACK)), None)


def packs_in(comfyui: Path) -> list[Path]:
    """The folders in custom_nodes that hold this pack; those that ComfyUI does not load are left out."""
    folders = sorted((comfyui / "custom_nodes").glob("*/pyproject.toml"))
    known = (file.parent for file in folders if setting(file, "name") == setting(PACK / "pyproject.toml", "name"))
    return [folder for folder in known if not folder.name.endswith(".disabled")]


def setting(file: Path, name: str) -> str:
    """A text in a TOML file; empty where there is none. Python 3.10 brings no reader."""
    match = re.search(rf'^{re.escape(name)} = "(.*)"', file.read_text("utf-8", "replace"), re.MULTILINE)
    return match[1] if match else ""


def program_as_typed() -> str:
    """What the user typed to start a command, up to its name: what works again in the same place."""
    words = sys.orig_argv[: -len(sys.argv[1:]) or None]
    if Path(words[-1]).stem == "visual-insertion":
        return "visual-insertion"
    typed = len(words) > 1 and Path(words[-1]).name in ("pipelines", "__main__.py")
    return " ".join(f'"{word}"' if " " in word else word for word in words) if typed else "python pipelines"


def has_models(folders: Folders) -> bool:
    """Whether any of the folders of models is there."""
    return any(folder.is_dir() for key in (*FOLDERS, DIFFUSERS) for folder in folders.get(key, ()))
