"""The data set builder on synthetic PIPE: same bytes for any number of workers and after kills, and its speed.

Every build is a process of its own, as a user starts it. Sources have PIPE's columns and real JPEGs and PNGs.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from .figures import ROOT, record

KILLS = 3
GROUP = 100  # rows of a row group of the sources
CLASSES = ("a dog", "a red chair", "a kite")


def stored(pixels: np.ndarray, kind: str) -> dict[str, Any]:
    """A picture as data sets store it."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return {"bytes": buffer.getvalue(), "path": f"picture.{kind.lower()}"}


def make_row(number: int, size: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Row and mask `number`: a rectangle of its own colour on noise; the mask is larger, and not square."""
    rng = np.random.default_rng(number)
    scene = rng.integers(0, 255, (size // 8, size // 8, 3), np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    left, top = rng.integers(0, size // 2, 2)
    width, height = rng.integers(size // 4, size // 2, 2)
    target = scene.copy()
    target[top : top + height, left : left + width] = rng.integers(0, 255, 3)
    mask = np.zeros((size, 2 * size), np.uint8)
    mask[top : top + height, 2 * left : 2 * (left + width)] = 255
    key = {
        "target_img_dataset": ("COCO", "OpenImages")[number % 2],
        "img_id": f"{number // 2:08}",
        "ann_id": f"{number}",
    }
    texts = {"Instruction_VLM-LLM": "", "Instruction_Class": f"add {CLASSES[number % 3]}", "object_location": "left"}
    pictures = {"source_img": stored(scene, "JPEG"), "target_img": stored(target, "JPEG")}
    return {**pictures, **texts, "Instruction_Ref_Dataset": None, **key}, {"mask": stored(mask, "PNG"), **key}


def write_parquet(path: Path, rows: list[dict[str, Any]], group: int = GROUP) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=group)


def make_sources(folder: Path, rows: int, size: int, files: int = 2) -> tuple[Path, Path]:
    """Folders of PIPE and PIPE_Masks with their usual file names; a row has the img_id of its neighbour."""
    per_file = -(-rows // files)
    for file in range(files):
        numbers = range(file * per_file, min((file + 1) * per_file, rows))
        sides = zip(*(make_row(number, size) for number in numbers), strict=True)
        for name, side in zip(("PIPE", "PIPE_Masks"), sides, strict=True):
            write_parquet(folder / name / "data" / f"train-{file:05}-of-{files:05}.parquet", list(side))
    return folder / "PIPE", folder / "PIPE_Masks"


def start(sources: tuple[Path, Path], folder: Path, *options: str, **variables: str) -> subprocess.Popen:
    """The command in a process of its own; what it prints goes to a file beside the folder."""
    command = [sys.executable, ROOT / "pipelines", "build-dataset", sources[0], folder, "--masks", sources[1], *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    with open(folder.with_suffix(".txt"), "ab") as output:
        return subprocess.Popen(
            [str(word) for word in command], env=environment, stdout=output, stderr=subprocess.STDOUT
        )


def finish(process: subprocess.Popen, folder: Path) -> None:
    """Wait for its end. Raises RuntimeError with what it printed when it failed."""
    code = process.wait(1800)
    if code:
        printed = folder.with_suffix(".txt").read_text(encoding="utf-8", errors="replace")
        raise RuntimeError(f"The build of {folder} ended with {code}:\n{printed[-4000:]}")


def units(folder: Path) -> int:
    """How many are done."""
    return len(list((folder / "units").glob("*.json")))


def kill_at(process: subprocess.Popen, folder: Path, done: int) -> bool:
    """Kill a build (SIGKILL; on Windows its like) when so many units are done; False if it ended before."""
    while units(folder) < done and process.poll() is None:
        time.sleep(0.005)
    ended = process.poll() is not None
    process.kill()
    process.wait()
    return not ended


def computed() -> float:
    """Seconds of computing by the processes that ended, which other work on a machine lengthens less."""
    times = os.times()
    return times.children_user + times.children_system


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a data set but the lock."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1600)
    parser.add_argument("--size", type=int, default=512, help="px, of scene and target")
    parser.add_argument("--dry", action="store_true", help="print the figures, write no file")
    options = parser.parse_args()
    with TemporaryDirectory() as temporary:
        work = Path(temporary)
        sources = make_sources(work / "sources", options.rows, options.size)
        seconds = 0.0
        ways = {"1": ("--workers", "1"), "3": ("--workers", "3"), "ray": ("--workers", "3", "--ray")}
        for name, arguments in ways.items():
            finish(start(sources, work / name, *arguments), work / name)
            if name == "1":
                seconds = computed()
            print(f"built, workers: {name}", flush=True)
        whole = contents(work / "1")
        total = units(work / "1")
        killed = work / "killed"
        kills = 0
        for kill in range(KILLS):
            kills += kill_at(start(sources, killed, "--workers", "2"), killed, (kill + 1) * total // (KILLS + 1))
        finish(start(sources, killed, "--workers", "2"), killed)
        same = {name: contents(work / name) == whole for name in ("3", "ray", "killed")}
    print(f"{same}, {kills} kills")
    where = f"{options.rows} rows of {options.size} px"
    figures: dict[str, tuple[float, str]] = {
        "builder_workers_equal": (int(same["3"] and same["ray"]), "1: same bytes by 1, 3 and 3 Ray workers"),
        "builder_resume_equal": (int(same["killed"] and kills > 0), f"1: same bytes after {kills} kills"),
    }
    if seconds:  # not known on Windows
        figures["builder_rows_per_second"] = (round(options.rows / seconds, 1), f"rows per s of one core, {where}")
    for name, (value, unit) in figures.items():
        print(f"{name:28}{value:9.1f}  {unit}")
    if not options.dry:
        print(record("evaluation", figures, "python dev.py bench builder"))


if __name__ == "__main__":
    main()
