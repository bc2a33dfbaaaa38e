"""Emu Edit's additions, arXiv 2311.10089, as Add-it's table has them: the validation split's rows of the task add.

Columns: instruction, image, task, input_caption, output_caption, idx. Nothing says in a word what is added; it is read
off instructions such as "Add a fork to the plate", and subjects.json beside data/, {"<idx>": "fork"}, names it where an
instruction is of another form. The publishers' pages of this set and of its generations give the two splits each
other's number of rows; which of them Add-it's authors took could not be checked here.
"""

from __future__ import annotations

from pathlib import Path

from ..cases import Benchmark, Case
from ..subjects import subject_and_count, told_subject
from .files import Rows, decode_rgb, read_json

SUBJECTS = "subjects.json"
SOURCE = (
    "Needed is the Hugging Face data set facebook/emu_edit_test_set: a folder with data/validation-*.parquet; where "
    f'instructions do not name what is added, {SUBJECTS} beside data/ does by idx, such as {{"12": "fork"}}.'
)
ABOUT = (
    "Emu Edit's additions to real photographs. What is added is told in words; there is no picture of it, no target "
    "and no true place. Read the CLIP columns beside inclusion: doing nothing scores best on clip_im."
)


def read_emu_edit_add(folder: Path) -> Benchmark:
    """The additions in a folder. Raises FileNotFoundError, ValueError."""
    columns = ("instruction", "image", "task", "input_caption", "output_caption", "idx")
    rows = Rows(folder / "data", "validation-*.parquet", columns=columns, source=SOURCE)
    tasks = [str(task) for task in rows.column("task")]
    chosen = [index for index, task in enumerate(tasks) if task.lower() == "add"]
    if not chosen:
        raise ValueError(f"{rows.paths[0]} has no row of the task add; its tasks are {sorted(set(tasks))}. {SOURCE}")
    numbers = rows.column("idx")
    names = tuple(str(numbers[index]) for index in chosen)
    subjects = _subjects(folder / SUBJECTS, names)

    def read(index: int) -> Case:
        row = rows[chosen[index]]
        where = rows.where(chosen[index])
        instruction = row["instruction"] or ""
        if not instruction.strip():
            raise ValueError(f"{where}, instruction is empty. {SOURCE}")
        subject, count = subjects.get(names[index], (told_subject(instruction), None))
        return Case(
            names[index],
            decode_rgb(row, "image", where),
            instruction=instruction,
            caption=row["output_caption"] or "",
            scene_caption=row["input_caption"] or "",
            subject=subject,
            subject_count=count,
        )

    return Benchmark("emuedit-add", ABOUT, names, read)


def _subjects(path: Path, names: tuple[str, ...]) -> dict[str, tuple[str, int | None]]:
    """What is added and how many of it are looked for, by idx; nothing without the file. Raises ValueError."""
    if not path.is_file():
        return {}
    subjects: dict[str, tuple[str, int | None]] = {}
    for name, text in read_json(path, dict, SOURCE).items():
        if name not in names:
            raise ValueError(f"{path} names {name}, which is no idx of an addition. {SOURCE}")
        if not isinstance(text, str):
            raise ValueError(f"{path}, {name} is no text. {SOURCE}")
        subjects[name] = subject_and_count(text, f"{path}, {name}")
    return subjects
