"""`visual-insertion cache`: what training has encoded, how large it is, and how to be rid of it."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from functools import partial
from pathlib import Path
from typing import Any

from . import outcome


def register(subparsers: Any) -> None:
    """Add `cache`."""
    text = "list the encodings that training keeps, with their sizes, or remove them"
    parser: ArgumentParser = subparsers.add_parser("cache", help=text, description=text)
    parser.set_defaults(run=partial(outcome, cache))
    where = "default: $VISUAL_INSERTION_CACHE, or a folder of the system's for what can be made again"
    parser.add_argument("folder", type=Path, nargs="?", metavar="FOLDER", help=where)
    parser.add_argument("--clean", action="store_true", help="remove them; a run that needs them makes them anew")
    unused = "only what no run has asked for in so many days"
    parser.add_argument("--older-than", type=float, default=0.0, metavar="DAYS", help=unused)


def cache(args: Namespace) -> None:
    """List or remove. Raises ValueError for a negative age, OSError for what cannot be removed."""
    from ..training.encodings import kept, remove, shared_cache

    if not args.older_than >= 0:
        raise ValueError(f"--older-than must be 0 days or more, not {args.older_than:g}.")
    folder = args.folder or shared_cache()
    chosen = [encodings for encodings in kept(folder) if encodings.days >= args.older_than]
    for encodings in chosen:
        if args.clean:
            remove(encodings)
        print(
            f"{encodings.size / 1e6:10,.1f} MB  {encodings.examples:9,} of {encodings.data}, "
            f"used {encodings.days:.0f} days ago: {encodings.folder}"
        )
    total = sum(encodings.size for encodings in chosen)
    print(f"{total / 1e6:10,.1f} MB  {'removed from' if args.clean else 'in'} {folder}")
