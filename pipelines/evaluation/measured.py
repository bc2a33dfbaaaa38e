"""What was measured once is kept: values by what made them, so that a run goes on, and only what is new is measured.

A value's key is a hash of the case's pictures and words, of the result's file, of the networks that it needs, of the
libraries, and of this pack's own code that measures: whatever of them changes, it is measured again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..whole_files import write_text
from .cases import Case

MEASURERS = ("evaluation", "pictures", "restoration", "placement", "playroom/judging")  # rooms whose code counts
LIBRARIES = ("torch", "torchvision", "torchmetrics", "transformers", "scipy", "numpy", "pillow")
TRUTH = "the truth"  # stands for a method in what is measured of the case alone

Row = dict[str, Any]


def digest(*parts: object) -> str:
    """A hash of bytes, and of what is told by its text."""
    total = hashlib.sha256()
    for part in parts:
        one = part if isinstance(part, bytes) else repr(part).encode()
        total.update(len(one).to_bytes(8, "little") + one)
    return total.hexdigest()[:32]


@cache
def measurer() -> str:
    """A hash of the code that measures, and of the libraries under it."""
    pipelines = Path(__file__).resolve().parents[1]
    files = sorted(path for room in MEASURERS for path in (pipelines / room).glob("*.py"))
    return digest(*(path.read_bytes() for path in files), *(metadata.version(name) for name in LIBRARIES))


def picture_digest(picture: Image.Image | np.ndarray | None) -> str:
    """A hash of a picture or a mask; nothing for none."""
    if picture is None:
        return ""
    pixels = np.asarray(picture)
    return digest(pixels.shape, pixels.tobytes())


def case_digest(case: Case) -> str:
    """A hash of all that a case is."""
    pictures = [case.scene, case.target, case.mask, *case.objects, *case.object_masks, case.reference]
    words = (case.caption, case.scene_caption, case.subject, case.subject_count)
    return digest(case.name, len(case.objects), words, case.places, *map(picture_digest, pictures))


@dataclass
class CaseStore:
    """The values of one case: in a JSON file, or for as long as it lives where that is None.

    `results` are hashes of the methods' results; `made_by` is a hash of what all values depend on, None where that is
    not known: then nothing is kept.
    """

    file: Path | None = None
    made_by: str | None = None
    results: Mapping[str, str] = field(default_factory=dict)
    values: dict[str, Row] = field(default_factory=dict)
    changed: bool = False

    def __post_init__(self):
        if self.file and self.made_by and self.file.is_file():
            try:
                self.values = dict(json.loads(self.file.read_text(encoding="utf-8")))
            except (ValueError, TypeError):
                self.values = {}  # a damaged file is measured again

    def rows(
        self, unit: str, methods: Mapping[str, Any], compute: Callable[[dict[str, Any]], Mapping[str, Row]], *parts: str
    ) -> dict[str, Row]:
        """A unit of measurement for every method; `compute` is called with those that are not known yet.

        `parts` are hashes of what else the values depend on.
        """
        keys = {name: digest(unit, self.made_by, self.results.get(name, name), *parts) for name in methods}
        pending = {name: value for name, value in methods.items() if keys[name] not in self.values}
        if pending:
            computed = compute(pending)
            self.values |= {keys[name]: dict(computed.get(name, {})) for name in pending}
            self.changed = True
        return {name: self.values[key] for name, key in keys.items()}

    def save(self) -> None:
        """Write what is new, whole or not at all."""
        if self.file and self.made_by and self.changed:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_text(self.file, json.dumps(self.values))
            self.changed = False
