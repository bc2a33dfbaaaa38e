"""Figures as files: docs/figures/<topic>.json holds {name: {value, unit, command, machine, commit}}."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..pipelines.whole_files import write_text

ROOT = Path(__file__).resolve().parents[1]


def _commit() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    changes = git("status", "--porcelain", "--untracked-files=no", "--", ":!docs")  # what benches write
    return git("rev-parse", "--short", "HEAD") + ("+changes" if changes else "")


def _machine() -> str:
    import torch

    where = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} CPU cores"
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"{platform.system()} {platform.machine()}, {where}, {versions}"


def joined(tables: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Tables with the same columns as one, row after row."""
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}


def source(command: str, commit: str = "") -> dict[str, str]:
    """Where figures come from; `commit` is said where the checkout has no history to ask."""
    return {"command": command, "machine": _machine(), "commit": commit or _commit()}


def record(
    topic: str, values: Mapping[str, tuple[float | None, str]], command: str, measured: dict[str, str] | None = None
) -> Path:
    """Merge {name: (value, unit)} measured by `command` into the topic's file and return its path.

    `measured` is the `source` of figures that another machine measured.
    """
    path = ROOT / "docs" / "figures" / f"{topic}.json"
    figures = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    told = measured or source(command)
    for name, (value, unit) in values.items():
        figures[name] = {"value": value, "unit": unit, **told}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(figures, indent=2, sort_keys=True) + "\n")
    return path
