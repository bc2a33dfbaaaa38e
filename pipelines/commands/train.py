"""`visual-insertion train`: train a method's models from a configuration."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from functools import partial
from pathlib import Path
from typing import Any

from ..method import Training
from ..progress import ProgressBar
from ..systems import METHODS
from . import outcome


def register(subparsers: Any) -> None:
    """Add `train`."""
    text = "train on pictures in a folder; started again, it goes on where it stopped"
    parser: ArgumentParser = subparsers.add_parser("train", help=text, description=text)
    parser.set_defaults(run=partial(outcome, train))
    add = parser.add_argument
    add("config", type=Path, metavar="CONFIG", help="a YAML file, or the name of a shipped recipe")
    add("--set", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help="such as run.steps=100")
    add("--print-config", action="store_true", help="the whole configuration as YAML, and nothing else")
    add("--dry-run", action="store_true", help="parameters, memory, steps and hours by a short measurement")


def trainings() -> dict[str, Training]:
    """How each method that can be trained is trained, by the name that configurations have for it."""
    return {method.name: method.training for method in METHODS if method.training}


def read(path: Path, changes: list[str] | None = None) -> tuple[str, Any]:
    """The method, and the configuration of it in a YAML file or of a shipped recipe's name, with `changes`.

    Raises FileNotFoundError, or ValueError for anything a configuration does not know, naming it.
    """
    from ..training.config import find_config, read_config

    kinds = {name: training.config for name, training in trainings().items()}
    path = find_config(path, [training.recipes for training in trainings().values()])
    return read_config(path, kinds, changes or [])


def as_yaml(method: str, config: Any) -> str:
    """A configuration with every entry it has, as a YAML file that `read` takes."""
    import yaml

    from ..training.config import METHOD
    from ..training.run_record import resolved

    plain = {METHOD: method, **resolved(config, lambda path: path.as_posix())}
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)


def train(args: Namespace) -> None:
    """Train, estimate, or say what would be trained. Raises what the method's training raises."""
    from tqdm import tqdm

    name, config = read(args.config, args.set)
    if args.print_config:
        print(as_yaml(name, config), end="")
        return
    training = trainings()[name]
    if args.dry_run:
        print(training.estimate(config))
        return
    first = os.environ.get("RANK", "0") == "0"  # of several processes
    made = training.train(config, tqdm.write, ProgressBar("prepare", "row") if first else None)
    for what, path in made.items():
        print(f"{what}: {path}")
