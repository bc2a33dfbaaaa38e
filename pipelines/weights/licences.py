"""Under which licences weights are: by the manifest of known files, by what a file says of itself, or by its card."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from .manifest import load_manifest

NOT_STATED = "not stated"
CARD = "README.md"  # of a model's folder; its head names the licence, as Hugging Face's do
CARD_LICENCE = re.compile(r"\A---\n(?:.*\n)*?license:\s*(\S+)\s*\n(?:.*\n)*?---", re.MULTILINE)


def licences_of(files: Mapping[str, Path | None], hashes: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """The licence of each of `files`, several with commas; `hashes` are those of the weights in it, by their names.

    Raises OSError for what cannot be read.
    """
    known = {weight.sha256: weight.licence for weight in load_manifest().values() if weight.sha256}
    licences = {}
    for name, path in files.items():
        if not path:
            continue
        folder = path if path.is_dir() else path.parent
        found = {
            known.get(sha256) or _own(folder / file) or _card(folder) or NOT_STATED
            for file, sha256 in hashes.get(name, {}).items()
        }
        licences[name] = ", ".join(sorted(found)) or NOT_STATED
    return licences


def _own(path: Path) -> str | None:
    """What a file says of its licence."""
    from .reading import metadata_of  # which loads torch

    try:
        return metadata_of(path).get("licence") if path.is_file() else None
    except ValueError:  # whoever reads its tensors tells what is wrong with it
        return None


def _card(folder: Path) -> str | None:
    """What the card of a folder, or of the one around it, says."""
    for card in (folder / CARD, folder.parent / CARD):
        if card.is_file():
            named = CARD_LICENCE.match(card.read_text(encoding="utf-8", errors="replace"))
            if named:
                return named[1]
    return None
