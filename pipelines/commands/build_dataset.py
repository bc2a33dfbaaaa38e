"""`visual-insertion build-dataset`: triplets from PIPE and PIPE_Masks, or from a released triplet set, as shards."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from . import MISSING, outcome, say

# Spelt out again, so that --help loads nothing; a test compares it with the builder's.
BACKGROUNDS = ("mask", "white", "keep")


def register(subparsers: Any) -> None:
    """Add `build-dataset`."""
    text = "build a data set of triplets to train on; started again, it goes on where it stopped"
    parser: ArgumentParser = subparsers.add_parser("build-dataset", help=text, description=text)
    parser.set_defaults(run=run)
    add = parser.add_argument
    source = "a folder of parquet files, one file, or a Hugging Face name such as paint-by-inpaint/PIPE"
    add("rows", metavar="ROWS", help=f"PIPE, or a released triplet set: {source}")
    add("folder", type=Path, metavar="FOLDER", help="gets train, validation, statistics.json and the rest")
    add("--masks", metavar="MASKS", help="PIPE_Masks, in the same forms; needed with PIPE")
    add("--split", default="train", help="of the sources (default %(default)s)")
    add("--background", choices=BACKGROUNDS, default="mask", help="around the object: nothing, white, or the scene")
    add("--margin", type=float, default=0.1, metavar="X", help="around the object, in its sides (default %(default)s)")
    add("--min-side", type=int, default=16, metavar="PX", help="of the object's box (default %(default)s)")
    add("--min-area", type=float, default=0.001, metavar="X", help="its share of the picture (default %(default)s)")
    add("--max-area", type=float, default=0.8, metavar="X", help="the same, at most (default %(default)s)")
    add("--validation", type=float, default=0.01, metavar="X", help="share of pictures held out (default %(default)s)")
    add("--limit", type=int, metavar="N", help="read the first N rows only")
    add("--workers", type=int, metavar="N", help="units at once (default: one per core)")
    add("--ray", nargs="?", const="local", metavar="ADDRESS", help="run on a Ray cluster, or one started here")


def run(args: Namespace) -> int:
    """Build; 0 done, 1 unusable sources, folder or settings, 2 wrong use, or a file or library is missing."""
    if args.workers is not None and args.workers < 1:
        return say("--workers must be at least 1.", MISSING)
    for library, extra in {"datasets": "data", "pyarrow": "data", **({"ray": "ray"} if args.ray else {})}.items():
        if find_spec(library) is None:
            return say(f"{library} is not installed. Install the pack with its '{extra}' extra.", MISSING)
    return outcome(_build, args)


def _build(args: Namespace) -> None:
    from ..progress import ProgressBar
    from ..triplets.build import build
    from ..triplets.over_ray import OverRay
    from ..triplets.settings import BuildSettings
    from ..triplets.threads import Threads

    settings = BuildSettings(
        background=args.background,
        margin=args.margin,
        min_side=args.min_side,
        min_area=args.min_area,
        max_area=args.max_area,
        validation=args.validation,
        limit=args.limit,
    )
    runner = OverRay(args.ray, args.workers) if args.ray else Threads(args.workers or os.cpu_count() or 1)
    with ProgressBar("build", "row") as progress:
        statistics = build(args.rows, args.masks, args.folder, settings, runner, split=args.split, progress=progress)
    kept = ", ".join(f"{count:,} for {split}" for split, count in statistics["kept"].items()) or "none"
    print(f"{statistics['rows']:,} rows read; kept: {kept}")
    for reason, count in {**statistics["dropped"], **statistics["masks"]}.items():
        print(f"{count:,} {reason}")
    print(f"names of these: {args.folder / 'bad_rows.jsonl'}; to look at: {args.folder / 'contact_sheet.jpg'}")
    if not any(statistics["kept"].values()):
        raise ValueError(f"No row could be used, so {args.folder} holds no triplets; the reasons are above.")
