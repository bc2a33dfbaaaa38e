"""Weight files: which ones the pack knows, where they lie, whether they are whole, how to get them.

`weights_manifest.json` is the list. A file is found by its name in the model folders, verified by
size and sha256, and fetched from its Hugging Face repository in a way that can be cut at any moment
and run again. Torch is never imported here, huggingface_hub only when something is fetched.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from . import hub
from .folders import is_plain_name, walk_once
from .hub import FetchError, human_bytes

MANIFEST = Path(__file__).resolve().parents[2] / "weights_manifest.json"
SCHEMA = 1
FOLDERS = ("checkpoints", "diffusion_models", "vae", "clip_vision", "embedding_optimizers")
OLD_FOLDERS = {"diffusion_models": ("unet",)}  # names ComfyUI still searches

FOUND = "found"
MISSING = "missing"
WRONG_SIZE = "wrong size"
WRONG_HASH = "wrong hash"
HASH_UNKNOWN = "hash unknown"

Folders = Mapping[str, Sequence[Path]]  # ComfyUI's model folder key -> directories, in search order
Progress = Callable[[int, int], None]  # (bytes done, bytes in all)


@dataclass(frozen=True)
class Weight:
    """One file of the manifest, sizes in bytes.

    Facts for people, which no code reads: who states the sha256, the dimensions a file works with (`pairs`), and
    other files that do as well.
    """

    id: str
    role: str
    file: str  # name on the user's disk, unique in its folder
    folder: str  # ComfyUI's model folder key
    repository: str
    path: str  # inside the repository
    revision: str
    bytes: int | None
    bytes_approximate: int | None  # where no source states the exact size: rounded, within 1 %
    sha256: str | None
    sha256_source: str | None
    licence: str
    licence_note: str
    format: str
    pairs: Mapping[str, int]
    notes: str
    alternatives: tuple[str, ...]

    def __post_init__(self):
        for name in ("file", "folder"):
            if not is_plain_name(getattr(self, name)):
                raise ValueError(f"'{name}' must be a plain name, without a path; it is {getattr(self, name)!r}")
        if self.size < 1:
            raise ValueError("neither 'bytes' nor 'bytes_approximate' says a size")

    @property
    def size(self) -> int:
        """The size in bytes, exact or rounded."""
        return self.bytes or self.bytes_approximate or 0

    @property
    def size_text(self) -> str:
        """The size for people: `2.13 GB`, `about 17.3 MB`."""
        return ("" if self.bytes else "about ") + human_bytes(self.size)

    def has_size(self, size: int) -> bool:
        """Whether a file of `size` bytes can be this one."""
        return size == self.bytes if self.bytes else abs(size - self.size) <= self.size / 100


@dataclass(frozen=True)
class Report:
    """What `verify` saw: a state, the path, the size in bytes, the sha256 if it was computed."""

    id: str
    state: str
    path: Path | None = None
    bytes: int | None = None
    sha256: str | None = None
    detail: str = ""

    @property
    def usable(self) -> bool:
        """Present, and nothing speaks against it."""
        return self.state in (FOUND, HASH_UNKNOWN)


def load_manifest(path: Path | str = MANIFEST) -> dict[str, Weight]:
    """All known weight files by id.

    Raises FileNotFoundError, or ValueError when the file is not a manifest of this version.
    """
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
        if document["schema"] != SCHEMA:
            raise ValueError(f"schema {document['schema']}, this version reads {SCHEMA}")
        names = {field.name for field in fields(Weight)}
        weights = {}
        for entry in document["weights"]:
            if set(entry) != names:
                raise ValueError(f"{entry.get('id')}: fields {sorted(names ^ set(entry))}")
            weight = _read_entry(entry)
            if weight.id in weights:
                raise ValueError(f"{weight.id} is listed twice")
            weights[weight.id] = weight
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is not a readable list of weights: {error}") from error
    return weights


def _read_entry(entry: dict[str, Any]) -> Weight:
    """One entry of the list. Raises ValueError naming the first field that is of another type, or cannot be."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(Weight).validate_json(json.dumps(entry), strict=True)
    except ValidationError as error:
        wrong = error.errors()[0]
        where = ".".join(map(str, (entry["id"], *wrong["loc"])))
        raise ValueError(f"{where}: {wrong['msg'].removeprefix('Value error, ')}") from error


def fetch_command(weight_id: str, models_dir: Path | None = None) -> str:
    """The shell command that fetches a file, from any folder, with this very Python."""
    program = ["visual-insertion"]
    if not shutil.which(program[0]):
        program = [sys.executable, str(Path(__file__).resolve().parents[1])]
    directory = ["--models-dir", str(models_dir)] if models_dir else []
    command = [*program, "weights", "fetch", weight_id, *directory]
    return subprocess.list2cmdline(command) if os.name == "nt" else shlex.join(command)


# --- where -------------------------------------------------------------------------------------


def default_models_dir() -> Path | None:
    """ComfyUI's models folder: $COMFYUI_MODELS, $COMFYUI_PATH/models, or the host we lie in."""
    if os.environ.get("COMFYUI_MODELS"):
        return Path(os.environ["COMFYUI_MODELS"])
    if os.environ.get("COMFYUI_PATH"):
        return Path(os.environ["COMFYUI_PATH"]) / "models"
    custom_nodes = MANIFEST.parents[1]
    models = custom_nodes.parent / "models"
    return models if custom_nodes.name == "custom_nodes" and models.is_dir() else None


def model_folders(models_dir: Path | str, extra: Path | str | None = None) -> dict[str, list[Path]]:
    """The directories to search for each model folder key, as ComfyUI does.

    `extra` is an extra_model_paths.yaml. Raises OSError when it cannot be read, ValueError when it
    is not one.
    """
    folders = {key: [Path(models_dir) / name for name in (key, *OLD_FOLDERS.get(key, ()))] for key in FOLDERS}
    for key, directories in (read_extra_paths(extra) if extra else {}).items():
        folders.setdefault(key, []).extend(directories)
    return folders


def read_extra_paths(path: Path | str) -> dict[str, list[Path]]:
    """The directories of an extra_model_paths.yaml by key. Raises OSError, ValueError."""
    import yaml

    def expand(text: str) -> Path:
        return Path(os.path.expandvars(os.path.expanduser(text.strip())))

    folders: dict[str, list[Path]] = {}
    new_names = {old: new for new, olds in OLD_FOLDERS.items() for old in olds}
    try:
        for section in (yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}).values():
            section = dict(section or {})
            base = Path(path).resolve().parent / expand(section.pop("base_path", None) or "")
            section.pop("is_default", None)
            for key, lines in section.items():
                directories = [base / expand(line) for line in lines.splitlines() if line.strip()]
                folders.setdefault(new_names.get(key, str(key)), []).extend(directories)
    except (yaml.YAMLError, AttributeError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a list of model folders: {error}") from error
    return folders


def find(weight: Weight, folders: Folders) -> Path | None:
    """The file of that name in the weight's folders, at any depth; None if there is none."""
    directories = [Path(directory) for directory in folders.get(weight.folder, ())]
    for directory in directories:
        if (directory / weight.file).is_file():
            return directory / weight.file
    for directory in directories:
        for folder, _, files in walk_once(directory):
            if weight.file in files:
                return folder / weight.file
    return None


def how_to_get(weight: Weight, folders: Folders) -> str:
    """What to say of a file that is in none of its folders: which, where, how large, and how to get it."""
    searched = [Path(directory) for directory in folders.get(weight.folder, ())]
    where = "; ".join(map(str, searched)) or f"none is known for '{weight.folder}'"
    models = next((path.parent for path in searched if path.name == weight.folder), None)
    return (
        f"{weight.file} ({weight.role}) was not found. Folders searched: {where}. It is {weight.size_text}, licence: "
        f"{weight.licence}. Fetch it with: {fetch_command(weight.id, models)}"
    )


# --- whether it is whole -----------------------------------------------------------------------


def verify(
    weight: Weight,
    folders: Folders,
    *,
    check_hash: bool = True,
    progress: Progress | None = None,
) -> Report:
    """Find the file and check its size, then its sha256 (7.7 GB take about a minute).

    Without `check_hash` a file of the right size is reported as `hash unknown`. Raises OSError when
    the file cannot be read.
    """
    path = find(weight, folders)
    if path is None:
        return Report(weight.id, MISSING, detail=how_to_get(weight, folders))
    return verify_file(weight, path, check_hash=check_hash, progress=progress)


def verify_file(
    weight: Weight,
    path: Path,
    *,
    check_hash: bool = True,
    announced: str | None = None,
    progress: Progress | None = None,
) -> Report:
    """`verify` for one path. `announced` is a sha256 to use where the manifest has none."""
    size = path.stat().st_size
    if not weight.has_size(size):
        detail = f"{size:,} bytes, expected {weight.size_text}"
        if weight.bytes:
            detail += f" ({weight.bytes:,} bytes)"
        return Report(weight.id, WRONG_SIZE, path, size, detail=detail)
    if not check_hash:
        return Report(weight.id, HASH_UNKNOWN, path, size, detail="size agrees, hash not checked")
    digest = sha256_of(path, progress)
    expected = weight.sha256 or announced
    if expected is None:
        detail = "size agrees, no public source states the hash"
        return Report(weight.id, HASH_UNKNOWN, path, size, digest, detail)
    if digest != expected:
        return Report(weight.id, WRONG_HASH, path, size, digest, f"expected sha256 {expected}")
    return Report(weight.id, FOUND, path, size, digest)


def sha256_of(path: Path, progress: Progress | None = None) -> str:
    """The sha256 of a file in hexadecimal, read in pieces. Raises OSError."""
    digest, done, total = hashlib.sha256(), 0, path.stat().st_size
    with path.open("rb") as file:
        while piece := file.read(1 << 22):
            digest.update(piece)
            done += len(piece)
            if progress:
                progress(done, total)
    return digest.hexdigest()


# --- how to get it -----------------------------------------------------------------------------


def fetch(
    weight: Weight,
    models_dir: Path | str,
    *,
    endpoint: str | None = None,
    token: str | bool | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Bring a file into `models_dir/<folder>/<file>` and verify it; return the report.

    A file that is already there and sound is left alone. What arrives lies in a `.part` folder
    beside it until size and sha256 are right, and only then takes its name; cut at any moment, the
    next call goes on where it stopped. `endpoint` is a hub or mirror (default: $HF_ENDPOINT),
    `token` as in huggingface_hub, but by default no mirror is told it. `force` replaces a file that
    is there but wrong, `progress` follows the hashing (the hub's own bar follows the download). Raises FetchError.
    """
    destination = Path(models_dir) / weight.folder / weight.file
    source = hub.Source(weight.repository, weight.path, weight.revision, endpoint, token)
    if not Path(models_dir).is_dir():
        raise FetchError(
            f"{weight.file} cannot be fetched. {models_dir} is not a folder. Give ComfyUI's models"
            " folder with --models-dir."
        )
    with hub.explained(source, destination):
        if report := _already_there(weight, destination, force, progress):
            return report
        remote = hub.look(source)
        _check_announced(weight, remote)
        with hub.part_file(destination, remote) as part:
            if report := _already_there(weight, destination, force, progress):
                return report  # fetched by someone else while we waited
            hub.resume(
                source,
                part,
                remote.size or weight.bytes,
                weight.file,
                most=remote.size or weight.bytes or weight.size + weight.size // 100,
            )
            report = verify_file(weight, part, announced=remote.sha256, progress=progress)
            if not report.usable:
                part.unlink()
                raise FetchError(
                    f"What {weight.repository} sent as {weight.file} is not the file we know:"
                    f" {report.state}, {report.detail}. It was thrown away. Fetch it again; if that"
                    " gives the same, do not use the file, and report it."
                )
            os.replace(part, destination)
        return replace(report, path=destination)


def _already_there(weight: Weight, destination: Path, force: bool, progress: Progress | None) -> Report | None:
    """The report of a sound file at the destination. Raises FetchError on a wrong one."""
    if not destination.is_file():
        return None
    report = verify_file(weight, destination, progress=progress)
    if not report.usable and not force:
        raise FetchError(
            f"{destination} is taken. What lies there is not the file we know: {report.state},"
            f" {report.detail}. Move it away, or replace it with --force."
        )
    return report if report.usable else None


def _check_announced(weight: Weight, remote: hub.Remote) -> None:
    """Refuse before the first byte what is announced to be another file."""
    differences = []
    if remote.size is not None and not weight.has_size(remote.size):
        differences.append(f"{remote.size:,} bytes instead of {weight.size_text}")
    if weight.sha256 and remote.sha256 and remote.sha256 != weight.sha256:
        differences.append(f"sha256 {remote.sha256} instead of {weight.sha256}")
    if differences:
        raise FetchError(
            f"{weight.repository} no longer holds the {weight.path} we know. It announces"
            f" {', '.join(differences)}. Nothing was fetched; look for a newer version of this pack."
        )
