"""What the commands share that make many pictures from a list of pairs: options, refusals, the run and its summary."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..bulk.tasks import Making
from ..provenance import Origin, origin_of, sha256_of_all
from . import OK, PROBLEM, _scenes, say

OF_MANY = ("scenes", "objects", "workers")
NO_SETTINGS = ("run", "output", "pairs", *OF_MANY)  # on which no picture depends


def add_pairs(parser: ArgumentParser) -> None:
    """Add --pairs and the options that go with it."""
    add = parser.add_argument_group("many pictures (docs/scale.md)").add_argument
    pairs = "CSV or JSON lines with scene, object and, if wanted, seed and name: a picture of each, in place of --scene"
    add("--pairs", type=Path, metavar="FILE", help=pairs)
    add("--scenes", type=Path, metavar="FOLDER", help="of which the list's scenes are named (default: the list's own)")
    add("--objects", type=Path, metavar="FOLDER", help="the same of its objects")
    workers = "processes that make pictures (default 1), each with models and one thread of its own; no picture changes"
    add("--workers", type=int, metavar="N", help=workers)


def lack(args: Namespace, of_one: Sequence[str], needed: Sequence[str]) -> str | None:
    """What must be given or left out first, in a line; None where one picture or many are asked for.

    `of_one` are the options that only one picture has, `needed` those of them that it cannot be made without.
    """
    if args.pairs:
        mixed = [name for name in of_one if getattr(args, name)]
        said = "--pairs names what many pictures are made of"
    else:
        mixed = [name for name in OF_MANY if getattr(args, name) is not None]
        said = "Without --pairs one picture is made"
    if mixed:
        return f"{said}: leave out {_option(mixed[0])}."
    missing = [name for name in needed if not getattr(args, name)]
    if missing and not args.pairs:
        return f"{_option(missing[0])} FILE is needed, or --pairs FILE for many pictures."
    if args.workers is not None and args.workers < 1:
        return "--workers must be at least 1."
    return None


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def make(args: Namespace, files: Mapping[str, Path | None], opening: Callable[[Namespace, Origin], Making]) -> int:
    """Make a list's pictures by `opening(args, origin)` in worker processes, with weights in `files`, and say how many.

    1 where some failed. Raises what `check_list` and `make_many` do, and ValueError for a device that is not there.
    """
    from ..bulk.run import Many, check_list, make_many
    from ..progress import ProgressBar

    beside = args.pairs.parent
    many = Many(args.pairs, args.scenes or beside, args.objects or beside, args.output, args.seed)
    content = check_list(many)
    device, _ = _scenes.device_of(args)
    args.device = str(device)  # the workers' as well
    origin = origin_of(files)
    settings = settings_of(args) | {
        "device": device.type,
        "weights": origin.sha256,
        "configuration": {name: _configuration(path) for name, path in files.items() if path and path.is_dir()},
    }
    args.run = None  # a function of the parser's, of no use to a worker
    with ProgressBar("pictures", "picture") as bar:
        done = make_many(
            many, content, settings, opening, args, origin, workers=args.workers or 1, progress=bar, told=bar.write
        )
    there = f", {done.there:,} were there" if done.there else ""
    print(f"{done.made:,} pictures made in {args.output}{there}")
    if not done.failed:
        return OK
    return say(f"{done.failed:,} of {content.count:,} pairs failed; why is in {done.failures}", PROBLEM)


def settings_of(args: Namespace) -> dict[str, Any]:
    """The options that pictures depend on, where they are given; paths are none, what lies there counts."""
    options = {name: value for name, value in vars(args).items() if name not in NO_SETTINGS and value is not None}
    return {name: value for name, value in options.items() if not isinstance(value, Path)}


def _configuration(folder: Path) -> str:
    """One sha256 of all small files of a folder of models that say how its weights are used."""
    return sha256_of_all(folder.rglob("*.json"))
