"""What made a file: the command, the versions of the software, and the files that were read, as tables for JSON.

No time and no machine, and of files their hashes rather than their places: the same inputs make the same record.
"""

from __future__ import annotations

import hashlib
import platform
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from .weights.licences import licences_of
from .weights.manifest import sha256_of

PACK = Path(__file__).resolve().parents[1]
PACKAGES = (
    *("torch", "torchvision", "numpy", "pillow", "scipy", "safetensors"),  # what everything stands on
    *("diffusers", "transformers", "accelerate", "torchmetrics"),  # what samples, encodes, trains and measures
)
WEIGHTS = (".safetensors", ".bin", ".ckpt", ".pt", ".pth")
# Of a diffusers folder: what is read of it here.
MODELS = ("unet", "transformer", "vae", "image_encoder", "text_encoder", "text_encoder_2")
SPLITS = ("train", "validation", "val", "test", "data")  # names of folders that do not name their data
PNG_TEXT = "visual-insertion"  # the keyword of a PNG's text that holds the record


def software() -> dict[str, str]:
    """Versions by name: of this pack and its commit, Python, the system, and the packages that are installed."""
    versions = {"visual-insertion": pack_version(), "commit": commit() or "none", "python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def pack_version() -> str:
    """The version of this pack, as its pyproject.toml or, where pip installed it, its metadata say."""
    project = PACK / "pyproject.toml"
    if project.is_file():
        line = re.search(r'^version = "(.+)"', project.read_text(encoding="utf-8"), re.MULTILINE)
        return line[1] if line else "unknown"
    try:
        return metadata.version("visual-insertion")
    except metadata.PackageNotFoundError:
        return "unknown"


def commit() -> str:
    """The short commit of a checkout, with "+changes" where tracked files differ; empty for any other installation."""
    if not (PACK / ".git").exists() or not shutil.which("git"):
        return ""

    def git(*words: str) -> str:
        command = ["git", "-C", str(PACK), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip()

    name = git("rev-parse", "--short", "HEAD")
    changes = git("status", "--porcelain", "--untracked-files=no")
    return f"{name}+changes" if name and changes else name


def command() -> str:
    """What was typed to start this process, its program by its plain name."""
    program, *words = sys.argv or [""]
    name = "visual-insertion" if Path(program).name == "__main__.py" else Path(program).name
    return shlex.join([name, *words])


def sha256_of_files(path: Path, parts: tuple[str, ...] = ()) -> dict[str, str]:
    """sha256 by name of a file, or of the weight files in a folder, named from there; those in `parts` of it alone.

    Empty for what is not there. Raises OSError for what cannot be read.
    """
    if path.is_file():
        return {path.name: sha256_of(path)}
    folders = [path / part for part in parts] if parts else [path]
    files = [file for folder in folders for file in folder.rglob("*") if file.suffix in WEIGHTS and file.is_file()]
    return {file.relative_to(path).as_posix(): sha256_of(file) for file in sorted(files)}


def sha256_of_models(path: Path) -> dict[str, str]:
    """The same of any weights; of a diffusers folder, those of the parts that are read here."""
    return (sha256_of_files(path, MODELS) if path.is_dir() else {}) or sha256_of_files(path)


def is_weights(path: Path) -> bool:
    """Whether a path is that of weights, a folder of models or a file, by its name."""
    return path.is_dir() or path.suffix in WEIGHTS


def sha256_of_all(paths: Iterable[Path]) -> str:
    """One sha256 of the names and contents of files, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(f"{path.name} {sha256_of(path)}\n".encode())
    return digest.hexdigest()


def data_name(folder: Path) -> str:
    """What data in a folder are called: by its name, after that of the one above where it only names a split."""
    folder = Path(folder).resolve()
    return f"{folder.parent.name}/{folder.name}" if folder.name in SPLITS else folder.name


def made_by(**facts: Any) -> dict[str, Any]:
    """The record of what this process makes: `facts`, such as settings and hashes, its command and its software."""
    return {**facts, "command": command(), "software": software()}


@dataclass(frozen=True)
class Origin:
    """What the records of all results of a long run have in common: weights by what they are, and the software.

    Its command is left out: how many workers it asked for, and where it wrote, changes none of them.
    """

    sha256: Mapping[str, Mapping[str, str]]
    software: Mapping[str, str]
    licences: Mapping[str, str]  # of the weights

    def record(self, settings: Mapping[str, Any], sha256: Mapping[str, Any]) -> dict[str, Any]:
        """That of one result, of its own settings and files."""
        return {
            "settings": dict(settings),
            "sha256": {**self.sha256, **sha256},
            "licences": dict(self.licences),
            "software": dict(self.software),
        }


def origin_of(files: Mapping[str, Path | None]) -> Origin:
    """That of a run with such weight files or folders. Raises OSError for what cannot be read."""
    hashes = {name: sha256_of_models(path) for name, path in files.items() if path}
    return Origin(hashes, software(), licences_of(files, hashes))
