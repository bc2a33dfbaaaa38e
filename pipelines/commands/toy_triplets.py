"""`visual-insertion toy-triplets`: folders of pictures from the playroom, to try training on."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from functools import partial
from pathlib import Path
from typing import Any

from . import outcome


def register(subparsers: Any) -> None:
    """Add `toy-triplets`."""
    text = "write a folder of toy triplets, or of toy pictures with boxes, to try training on"
    parser: ArgumentParser = subparsers.add_parser("toy-triplets", help=text, description=text)
    parser.set_defaults(run=partial(outcome, write))
    add = parser.add_argument
    add("folder", type=Path, metavar="FOLDER", help="gets the folders train and validation")
    add("--count", type=int, default=1000, help="triplets for training (default %(default)s)")
    add("--validation", type=int, default=32, help="triplets held out (default %(default)s)")
    add("--views", type=int, default=2, help="pictures of each object (default %(default)s)")
    add("--boxes", action="store_true", help="pictures with boxes for Paint by Example, in place of triplets")


def write(args: Namespace) -> None:
    """Write both folders. Raises OSError for one that cannot be written."""
    from ..playroom.world import dataset
    from ..playroom.world.folders import write_box_folder, write_folder

    held = range(dataset.HELD_OUT_SEED, dataset.HELD_OUT_SEED + args.validation)
    for name, seeds in (("train", range(args.count)), ("validation", held)):
        folder = args.folder / name
        print(write_box_folder(folder, seeds) if args.boxes else write_folder(folder, seeds, args.views))
