"""`visual-insertion train`: train an embedding optimizer, and a UNet's cross-attention, from a configuration."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

OK, PROBLEM, MISSING = 0, 1, 2


def register(subparsers: Any) -> None:
    """Add `train`."""
    text = "train on triplets; started again, it goes on where it stopped"
    parser: ArgumentParser = subparsers.add_parser("train", help=text, description=text)
    parser.set_defaults(run=run)
    add = parser.add_argument
    add("config", type=Path, metavar="CONFIG", help="a YAML file, or the name of a shipped recipe")
    add("--set", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help="such as run.steps=100")
    add("--dry-run", action="store_true", help="parameters, memory, steps and hours by a short measurement")


def run(args: Namespace) -> int:
    """Train; 0 done, 1 unusable configuration, models or data, 2 a file or library is missing."""
    try:
        _train(args)
    except FileNotFoundError as error:
        return _say(str(error), MISSING)
    except ImportError as error:
        return _say(f"{error}. Install the pack with its 'train' extra.", MISSING)
    except (OSError, ValueError, RuntimeError, FloatingPointError) as error:
        return _say(str(error), PROBLEM)
    return OK


def _train(args: Namespace) -> None:
    from tqdm import tqdm

    from ..visual_insertion.training.config import read_config

    config = read_config(args.config, args.set)
    if args.dry_run:
        from ..visual_insertion.training.estimate import describe, estimate

        print(describe(estimate(config), config))
        return
    from ..visual_insertion.training.recipe import train

    first = os.environ.get("RANK", "0") == "0"  # of several processes
    made = train(config, tqdm.write, _Bars() if first else None)
    for what, path in made.items():
        print(f"{what}: {path}")


class _Bars:
    """A progress bar for every folder that is encoded."""

    def __init__(self):
        self.bar: Any = None

    def __call__(self, done: int, total: int) -> None:
        from tqdm import tqdm

        self.bar = self.bar or tqdm(desc="encode", unit="triplet", total=total)
        self.bar.update(done - self.bar.n)
        if done == total:
            self.bar.close()
            self.bar = None


def _say(text: str, code: int) -> int:
    print(text, file=sys.stderr)
    return code
