"""Add-it's benchmark of generated scenes, arXiv 2411.07232: what is added is told in words, and there is no target.

The authors have published neither lists nor pictures. An entry is as the paper's figure 18 prints it, with src_prompt,
tgt_prompt, subject_token and instruction, and an index. Where things lie is this pack's choice: a folder with
sets.json, a list of such entries, and the scenes as images/<index>.png (.jpg, .jpeg, .webp).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..cases import Benchmark, Case, Place, picture_file
from ..subjects import subject_and_count
from .files import read_json, read_picture

LIST = "sets.json"
SCENES = "images"
SOURCE = (
    f"Needed is a folder with {LIST}, a list of entries with index, src_prompt, tgt_prompt, subject_token and "
    f"instruction (arXiv 2411.07232, figure 18), and the scenes as {SCENES}/<index>.png. The authors have not "
    "published theirs."
)
ABOUT = (
    "Add-it's benchmark of generated scenes. What is added is told in words; there is no picture of it, no target and "
    "no true place. Read the CLIP columns beside inclusion: doing nothing scores best on clip_im."
)
NEEDED = ("src_prompt", "tgt_prompt", "subject_token", "instruction")


@dataclass(frozen=True)
class PromptSet:
    """An entry of the list, its scene's file, and where it was found, for errors."""

    index: str
    scene: Path
    entry: dict[str, Any]
    subject: str
    subject_count: int | None
    where: str

    def case(self, places: Sequence[Place] = ()) -> Case:
        """The insertion to make. Raises ValueError for what is no picture."""
        return Case(
            self.index,
            read_picture(self.scene, SOURCE).convert("RGB"),
            instruction=self.entry["instruction"],
            caption=self.entry["tgt_prompt"],
            scene_caption=self.entry["src_prompt"],
            subject=self.subject,
            subject_count=self.subject_count,
            places=tuple(places),
        )


def read_additing(folder: Path) -> Benchmark:
    """The sets in a folder. Raises FileNotFoundError, ValueError."""
    sets = read_sets(folder)
    return Benchmark("additing", ABOUT, tuple(one.index for one in sets), lambda index: sets[index].case())


def read_sets(folder: Path) -> list[PromptSet]:
    """The entries of a folder's list. Raises FileNotFoundError for a missing file, ValueError for a malformed entry."""
    path = folder / LIST
    entries = read_json(path, list, SOURCE)
    if not entries:
        raise ValueError(f"{path} is empty. {SOURCE}")
    scenes = folder / SCENES
    sets: list[PromptSet] = []
    for number, entry in enumerate(entries):
        where = f"{path}, entry {number}"
        fields = entry if isinstance(entry, dict) else {}
        absent = [name for name in NEEDED if not isinstance(fields.get(name), str) or not fields[name].strip()]
        if absent:
            raise ValueError(f"{where} lacks {', '.join(absent)}; words are needed. {SOURCE}")
        index = str(fields.get("index", number))
        subject, count = subject_and_count(fields["subject_token"], f"{where}, subject_token")
        scene = picture_file(scenes, index) or scenes / f"{index}.png"
        sets.append(PromptSet(index, scene, fields, subject=subject, subject_count=count, where=where))
    indices = [one.index for one in sets]
    twice = [index for index in indices if indices.count(index) > 1]
    if twice:
        raise ValueError(f"{path} has the index {twice[0]} twice. {SOURCE}")
    absent = [one.scene for one in sets if not one.scene.is_file()]
    if absent:
        raise FileNotFoundError(
            f"{scenes} lacks {len(absent)} of {len(sets)} scenes, such as {absent[0].name}. {SOURCE}"
        )
    return sets
