"""DreamEditBench's additions, arXiv 2306.12624, from the self-contained data set.

Columns: subject_names, subject_images_1 to _4, source_images, target_prompt, add_bounding_box, task_type. The boxes are
x0, y0, x1, y1 in a scene squashed to 512x512 px, as the authors' code has it. The spelling of task_type could not be
checked here: whatever contains "add" counts.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from ..cases import Benchmark, Case
from .files import Rows, decode

SIDE = 512  # px
SOURCE = (
    "Needed is the Hugging Face data set tianleliphoebe/DreamEditBench_SelfContained: a folder with "
    "data/train-*.parquet."
)
ABOUT = (
    "DreamEditBench's additions: DreamBooth's subjects, several pictures of each, other pictures than the scene. There "
    "is no target; the mask is a box drawn by the authors where the subject should go."
)
VIEWS = tuple(f"subject_images_{number}" for number in range(1, 5))


def read_dream_edit_bench(folder: Path) -> Benchmark:
    """The additions in a folder. Raises FileNotFoundError, ValueError."""
    needed = ("subject_names", VIEWS[0], "source_images", "add_bounding_box", "task_type")
    rows = Rows((folder / "data").glob("train-*.parquet"), needed, (*VIEWS[1:], "target_prompt"), SOURCE)
    tasks = rows.column("task_type")
    chosen = [index for index, task in enumerate(tasks) if "add" in str(task).lower()]
    if not chosen:
        raise ValueError(f"{rows.paths[0]} has no addition; its task_type are {sorted(set(map(str, tasks)))}. {SOURCE}")
    subjects, seen, names = rows.column("subject_names"), Counter(), []
    for index in chosen:
        subject = re.sub(r"[^A-Za-z0-9]+", "_", str(subjects[index])).strip("_")
        names.append(f"{subject}_{seen[subject]:02d}")
        seen[subject] += 1

    def read(index: int) -> Case:
        row, where = rows[chosen[index]], f"DreamEditBench, row {chosen[index]}"
        scene = decode(row["source_images"], f"{where}, source_images").convert("RGB")
        scene = scene.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        box = row["add_bounding_box"]
        if not box or len(box) != 4 or not (0 <= box[0] < box[2] <= SIDE and 0 <= box[1] < box[3] <= SIDE):
            raise ValueError(f"{where}, add_bounding_box is {box}; x0, y0, x1, y1 in 0..{SIDE} are needed. {SOURCE}")
        mask = np.zeros((SIDE, SIDE), bool)
        mask[box[1] : box[3], box[0] : box[2]] = True
        views = [decode(row[name], f"{where}, {name}").convert("RGB") for name in VIEWS if row.get(name)]
        return Case(names[index], scene, tuple(views), None, mask, (), row.get("target_prompt") or "")

    return Benchmark("dreameditbench", ABOUT, tuple(names), read)
