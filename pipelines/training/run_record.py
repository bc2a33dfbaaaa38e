"""What made a training run, as a file in its folder and as metadata of what comes out: `run.json`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from ..pictures.folder import METADATA
from ..provenance import data_name, made_by, sha256_of_models
from ..weights.manifest import sha256_of
from ..whole_files import write_text

RECORD = "run.json"
OUTPUTS = ("folder", "data.cache")  # entries that name what is written
DATA = "data."  # begins the names of the entries that are folders of pictures

DAMAGED = "{file} is damaged. Delete it: only what the run says of itself is lost."

Record = dict[str, Any]


def write_record(config: Any, method: str, facts: Mapping[str, str]) -> Record:
    """Write what makes a run into its folder, and return it: configuration, seed, hashes, command and software.

    `config` is a method's dataclass with the entries `folder` and `run`, `facts` are those that its checkpoint goes by.
    Sittings before this one that were started otherwise stay, as `earlier`.
    """
    paths = {name: path for name, path in _paths(config).items() if name not in OUTPUTS}
    record = made_by(
        method=method,
        seed=config.run.seed,
        configuration=resolved(config, lambda path: str(path.resolve())),
        sha256={name: _hashes(name, path) for name, path in paths.items()},
        data={name: data_name(path) for name, path in paths.items() if name.startswith(DATA)},
        fingerprints={name: value for name, value in facts.items() if name.startswith("the ")},
    )
    before = read_record(config.folder)
    earlier = before.pop("earlier", [])
    if before and before != record:
        earlier = [*earlier, before]
    _write(config.folder, record | ({"earlier": earlier} if earlier else {}))
    return record


def copy_record(folder: Path, record: Record) -> None:
    """Put the record beside an export of the run, so that the export's folder is as good as the run's."""
    _write(folder, record)


def _write(folder: Path, record: Record) -> None:
    write_text(folder / RECORD, json.dumps(record, indent=2) + "\n")


def read_record(folder: Path) -> Record:
    """The record of a run; empty where there is none. Raises ValueError for one that is damaged."""
    file = folder / RECORD
    if not file.is_file():
        return {}
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(DAMAGED.format(file=file)) from error
    if not isinstance(record, dict):
        raise ValueError(DAMAGED.format(file=file))
    return record


def models_of_run(folder: Path) -> dict[str, str]:
    """The folders of models that a run was trained on, by the names of its configuration; empty without a record.

    Raises ValueError for a damaged record.
    """
    configuration = read_record(folder).get("configuration")
    models = configuration.get("models") if isinstance(configuration, dict) else None
    return {name: path for name, path in models.items() if isinstance(path, str)} if isinstance(models, dict) else {}


def notes(record: Record, config: Any) -> dict[str, str]:
    """The record as the metadata of a safetensors file; paths are names, so that no folder of this machine is told."""
    plain = resolved(config, data_name)
    tables = {"configuration": plain, "sha256": record["sha256"], "software": record["software"]}
    return {
        "seed": str(record["seed"]),
        "training_data": data_name(config.data.train),
        "command": record["command"],
        **{name: json.dumps(table) for name, table in tables.items()},
    }


def resolved(config: Any, told: Callable[[Path], str]) -> Any:
    """A configuration as plain tables for JSON, every entry with its value, and of paths what is `told`."""
    if is_dataclass(config):
        return {entry.name: resolved(getattr(config, entry.name), told) for entry in fields(config)}
    if isinstance(config, Path):
        return told(config)
    return list(config) if isinstance(config, tuple) else config


def _paths(config: Any, prefix: str = "") -> dict[str, Path]:
    """The paths that a configuration names, by the entries' names."""
    paths: dict[str, Path] = {}
    for entry in fields(config):
        value = getattr(config, entry.name)
        if isinstance(value, Path):
            paths[f"{prefix}{entry.name}"] = value
        elif is_dataclass(value):
            paths |= _paths(value, f"{prefix}{entry.name}.")
    return paths


def _hashes(name: str, path: Path) -> dict[str, str]:
    """sha256 of what is read at a path: weights, or the list of the pictures, whose names and sizes are a fact."""
    if name.startswith(DATA):
        index = path / METADATA
        return {METADATA: sha256_of(index)} if index.is_file() else {}
    return sha256_of_models(path)
