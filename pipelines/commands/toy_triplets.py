"""`visual-insertion toy-triplets`: a folder of triplets from the playroom, to try training on."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

OK, PROBLEM = 0, 1


def register(subparsers: Any) -> None:
    """Add `toy-triplets`."""
    text = "write a folder of toy triplets, to try training on"
    parser: ArgumentParser = subparsers.add_parser("toy-triplets", help=text, description=text)
    parser.set_defaults(run=run)
    add = parser.add_argument
    add("folder", type=Path, metavar="FOLDER", help="gets the folders train and validation")
    add("--count", type=int, default=1000, help="triplets for training (default %(default)s)")
    add("--validation", type=int, default=32, help="triplets held out (default %(default)s)")
    add("--views", type=int, default=2, help="pictures of each object (default %(default)s)")


def run(args: Namespace) -> int:
    """Write; 0 done, 1 a folder that cannot be written."""
    from ..playroom import dataset
    from ..playroom.folders import write_folder

    held = range(dataset.HELD_OUT_SEED, dataset.HELD_OUT_SEED + args.validation)
    try:
        for name, seeds in (("train", range(args.count)), ("validation", held)):
            print(write_folder(args.folder / name, seeds, args.views))
    except OSError as error:
        print(error, file=sys.stderr)
        return PROBLEM
    return OK
