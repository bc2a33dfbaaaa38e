"""DreamEditBench's additions, arXiv 2306.12624, from the self-contained data set.

Columns: subject_names, subject_images_1 to _4, source_images, target_prompt, add_bounding_box, task_type. The boxes are
x0, y0, x1, y1 in a scene squashed to 512x512 px, as the authors' code has it. The target's caption has DreamBooth's
placeholder sks, which is left out. The spelling of task_type could not be checked here: whatever contains "add" counts.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..cases import Benchmark, Case
from .files import Rows, decode_rgb

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
    rows = Rows(
        folder / "data",
        "train-*.parquet",
        columns=("subject_names", VIEWS[0], "source_images", "add_bounding_box", "task_type"),
        optional=(*VIEWS[1:], "target_prompt"),
        source=SOURCE,
    )
    tasks = rows.column("task_type")
    chosen = [index for index, task in enumerate(tasks) if "add" in str(task).lower()]
    if not chosen:
        raise ValueError(f"{rows.paths[0]} has no addition; its task_type are {sorted(set(map(str, tasks)))}. {SOURCE}")
    subjects = rows.column("subject_names")
    counts = Counter()
    names = []
    for index in chosen:
        subject = re.sub(r"[^A-Za-z0-9]+", "_", str(subjects[index])).strip("_")
        names.append(f"{subject}_{counts[subject]:02d}")
        counts[subject] += 1

    def read(index: int) -> Case:
        row = rows[chosen[index]]
        where = rows.where(chosen[index])
        scene = decode_rgb(row, "source_images", where).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        mask = _box_mask(row["add_bounding_box"], where)
        views = tuple(decode_rgb(row, name, where) for name in VIEWS if row.get(name))
        caption = re.sub(r"\bsks\s+", "", row.get("target_prompt") or "")
        return Case(names[index], scene, views, mask=mask, caption=caption)

    return Benchmark("dreameditbench", ABOUT, tuple(names), read)


def _box_mask(box: Any, where: str) -> np.ndarray:
    """[SIDE,SIDE] bool, the corners rounded. Raises ValueError for anything but a box."""
    try:
        corners = [round(corner) for corner in box]
    except (TypeError, ValueError, OverflowError):  # no list, no number, not a number, infinity
        corners = []
    mask = np.zeros((SIDE, SIDE), bool)
    if len(corners) == 4 and min(corners) >= 0 and max(corners) <= SIDE:
        x0, y0, x1, y1 = corners
        mask[y0:y1, x0:x1] = True
    if not mask.any():
        raise ValueError(f"{where}, add_bounding_box is {box}; x0, y0, x1, y1 in 0..{SIDE} are needed. {SOURCE}")
    return mask
