"""Empty rooms that get three toys, one after the other, each result restored from the scene before or not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..pipelines.playroom.add_it import detector as judging
from ..pipelines.playroom.add_it.additions import AdditionCase, make_stages, pictures_as_detected, psnr
from ..pipelines.playroom.add_it.scenes import TEST_SEEDS
from ..pipelines.restoration.restore import restore
from ..pipelines.whole_files import write_text
from .add_it_arms import MAIN, Workshop

ARM = MAIN["Add-it, blended"]
TOYS = 3
BATCH = 8
MARGIN = 12  # px around the toys
SHEET = 8  # rooms whose pictures are kept
Rooms = dict[str, list[dict[str, Any]]]


def measure(workshop: Workshop, output: Path, rooms: int) -> None:
    """Make and judge the rooms that are not there yet."""
    for start in range(0, rooms, BATCH):
        for name in ("restored", "not restored"):
            path = output / f"rooms-{name.replace(' ', '_')}-{start:04}.json"
            if path.is_file():
                continue
            stages = [make_stages(seed, TOYS) for seed in TEST_SEEDS[start : min(rooms, start + BATCH)]]
            rows, pictures = build(workshop, stages, restored=name == "restored")
            if start < SHEET:
                np.savez_compressed(path.with_suffix(".npz"), pictures=pictures)
            write_text(path, json.dumps(rows) + "\n")


def build(
    workshop: Workshop, stages: Sequence[Sequence[AdditionCase]], *, restored: bool
) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Rows for each room, and the pictures [T+1,B,128,128,3] of all stages."""
    pictures = np.stack([of_room[0].scene for of_room in stages])
    path = [pictures]
    for number in range(TOYS):
        cases = [of_room[number] for of_room in stages]
        scenes = workshop.scenes(pictures)
        addition = workshop.run(cases, ARM, number, scenes)
        edited = workshop.pictures(addition.latents)
        pictures = restore_all(pictures, edited, workshop.pictures(scenes)) if restored else edited
        path.append(pictures)
    finds = workshop.detector.find(pictures_as_detected(pictures))
    rows = []
    for row, of_room in enumerate(stages):
        first = path[0][row]
        outside = np.ones(first.shape[:2], bool)
        for find in finds[row]:
            x0, y0, x1, y1 = (round(side) for side in find.box)
            outside[max(0, y0 - MARGIN) : max(0, y1 + MARGIN), max(0, x0 - MARGIN) : max(0, x1 + MARGIN)] = False
        matches = judging.matches(finds[row], of_room[-1].labels)
        same = (pictures[row] == first).all(-1)
        rows.append(
            {
                "seed": of_room[0].seed,
                "toys": float(np.mean([match[0] and match[1] for match in matches])),
                "shapes": float(np.mean([match[2] for match in matches])),
                "finds": len(finds[row]),
                "background": psnr(pictures[row], first, outside),
                "same": float(same[outside].mean()) if outside.any() else float("nan"),
            }
        )
    return rows, np.stack(path)


def restore_all(scenes: np.ndarray, edited: np.ndarray, round_trips: np.ndarray) -> np.ndarray:
    """Edits with all that did not change given back, [B,128,128,3] uint8 like all."""
    planes = [torch.from_numpy(each).float() / 255 for each in (scenes, edited, round_trips)]
    images = restore(planes[0], planes[1], align_geometry=False, round_trip=planes[2]).images
    return (images[..., :3] * 255).round().byte().numpy()


def read(output: Path) -> Rooms:
    """The rows of both ways, as far as they are there."""
    rooms: Rooms = {}
    for name in ("restored", "not restored"):
        for path in sorted(output.glob(f"rooms-{name.replace(' ', '_')}-*.json")):
            rooms.setdefault(name, []).extend(json.loads(path.read_text(encoding="utf-8")))
    return rooms
