"""What the commands share that make many pictures from a list of pairs: options, refusals, the run and its summary."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..bulk.pairs import Columns
from ..bulk.parquet import is_parquet
from ..bulk.picture_table import PictureTable
from ..bulk.tasks import Crew, Making, Task
from ..provenance import Origin, origin_of, sha256_of_all
from . import OK, PROBLEM, _scenes, say
from ._on_servers import OnServers, option

OF_MANY = ("workers", "ray", "servers", "workflow")  # options beside the folders
OUTPUT_HELP = "with --pairs a folder, of .png"
NO_SETTINGS = ("run", "default_of", "output", "pairs", "workers", "ray", "servers")  # on which no picture depends


def add_pairs(parser: ArgumentParser, columns: Columns, folders: Mapping[str, str]) -> None:
    """Add --pairs and the options that go with it; `folders` are those of files, by the columns of their names."""
    parser.set_defaults(default_of=parser.get_default)
    add = parser.add_argument_group("many pictures (docs/scale.md)").add_argument
    optional = ", ".join(name for name in columns.known if name not in columns.all_needed)
    pairs = f"CSV, JSON lines or Parquet with {', '.join(columns.all_needed)}, if wanted {optional}: a picture of each"
    add("--pairs", type=Path, metavar="FILE", help=pairs)
    for column, folder in folders.items():
        where = (
            f"where the list's {column} files are: a folder, or Parquet with name and image (default: beside the list)"
        )
        add(f"--{folder}", type=Path, metavar="FOLDER|PARQUET", help=where)
    workers = "processes that make pictures (default 1), each with models and one thread of its own; no picture changes"
    add("--workers", type=int, metavar="N", help=workers)
    ray = "make them with actors of Ray: one for each GPU or core of the cluster at ADDRESS, or of one started here"
    add("--ray", nargs="?", const="local", metavar="ADDRESS", help=ray)
    servers = "ComfyUI servers with this pack that make the pictures, such as http://gpu1:8188, in the place of workers"
    add("--servers", nargs="+", metavar="URL", help=servers)
    own = "with --servers: a workflow in API format in the place of the shipped one; its Load Image nodes have titles"
    add("--workflow", type=Path, metavar="FILE", help=own)


def lack(
    args: Namespace, of_one: Sequence[str], needed: Sequence[str], folders: Mapping[str, str], on_servers: OnServers
) -> str | None:
    """What must be given or left out first, in a line; None where one picture or many are asked for.

    `of_one` are the options that only one picture has, `needed` those of them that it cannot be made without.
    """
    if args.pairs:
        mixed = [name for name in of_one if getattr(args, name)]
        said = "--pairs names what many pictures are made of"
    else:
        mixed = [name for name in (*folders.values(), *OF_MANY) if getattr(args, name) is not None]
        said = "Without --pairs one picture is made"
    if mixed:
        return f"{said}: leave out {option(mixed[0])}."
    missing = [name for name in needed if not getattr(args, name)]
    if missing and not args.pairs:
        return f"{option(missing[0])} FILE is needed, or --pairs FILE for many pictures."
    if args.workers is not None and args.workers < 1:
        return "--workers must be at least 1."
    not_there = on_servers.lack(args)
    if not_there:
        return not_there
    paths = [args.pairs, *(getattr(args, name) for name in folders.values())]
    if any(path and is_parquet(path) for path in paths) and find_spec("pyarrow") is None:
        return "pyarrow is not installed, which reads Parquet. Install the pack with its 'data' extra."
    if args.ray and find_spec("ray") is None:
        return "ray is not installed. Install the pack with its 'ray' extra."
    return None


def make(
    args: Namespace,
    opening: Callable[[Namespace, Origin], Making],
    columns: Columns,
    folders: Mapping[str, str],
    files: Callable[[], Mapping[str, Path | None]],
    on_servers: OnServers,
) -> int:
    """Make a list's pictures, and say how many: by `opening(args, origin)` in processes or a cluster, or on servers.

    `files` gives weights. 1 where some failed. Raises what `check_list` and `make_many` do, and ValueError for a device
    that is not there.
    """
    from ..bulk.run import Many, check_list, make_many
    from ..progress import ProgressBar

    if args.ray:
        _seen_from_everywhere(args)
    places = {column: _place(getattr(args, folder) or args.pairs.parent) for column, folder in folders.items()}
    many = Many(args.pairs, columns, places, args.output, getattr(args, "seed", 0))
    content = check_list(many)
    with ProgressBar("pictures", "picture") as bar:
        if args.servers:
            crew, settings = on_servers.crew(args, settings_of(args), told=bar.write)
        else:
            crew, settings = _crew_with_models(args, opening, files())
        done = make_many(many, content, settings, crew, progress=bar, told=bar.write)
    there = f", {done.there:,} were there" if done.there else ""
    print(f"{done.made:,} pictures made in {args.output}{there}")
    if not done.failed:
        return OK
    return say(f"{done.failed:,} of {content.count:,} pairs failed; why is in {done.failures}", PROBLEM)


def _crew_with_models(
    args: Namespace, opening: Callable[[Namespace, Origin], Making], files: Mapping[str, Path | None]
) -> tuple[Crew, dict[str, Any]]:
    """Workers with the models that a command names, here or in a Ray cluster, and what pictures of theirs depend on."""
    from ..bulk.over_ray import RayActors
    from ..bulk.workers import processes

    named = {name: path for name, path in files.items() if path}
    origin = origin_of(named)
    settings = settings_of(args) | {
        "weights": origin.sha256,
        "configuration": {name: _configuration(path) for name, path in named.items() if path.is_dir()},
    }
    if "device" in args:
        if not args.ray or not args.device:  # of a cluster, the machine that starts it need not have one
            args.device = str(_scenes.device_of(args)[0])  # the workers' as well
        settings["device"] = args.device.partition(":")[0]
    args.run = args.default_of = None  # functions of the parser's, of no use to a worker
    if not args.ray:
        return processes(args.workers or 1, opening, args, origin), settings
    gpu = settings.get("device", "cpu") != "cpu"
    return RayActors(args.ray, args.workers, gpu, args.output, opening, args, origin), settings


def _seen_from_everywhere(args: Namespace) -> None:
    """Make paths absolute: another machine's processes are in another folder."""
    for name, value in vars(args).items():
        if isinstance(value, Path) and value.exists():
            setattr(args, name, value.absolute())
    args.output = args.output.absolute()


def _place(path: Path) -> Path | PictureTable:
    """What the files in a column are named from. Raises what reading a table does."""
    return PictureTable(path) if is_parquet(path) else path


def of_one(args: Namespace, task: Task) -> Namespace:
    """The options with which a command makes a task's picture alone."""
    return Namespace(**vars(args) | dict(task.files) | dict(task.texts) | {"seed": task.seed, "output": task.output})


def settings_of(args: Namespace) -> dict[str, Any]:
    """The options that pictures depend on, where they are given; paths are none, what lies there counts."""
    options = {name: value for name, value in vars(args).items() if name not in NO_SETTINGS and value is not None}
    return {name: value for name, value in options.items() if not isinstance(value, Path)}


def _configuration(folder: Path) -> str:
    """One sha256 of all small files of a folder of models that say how its weights are used."""
    return sha256_of_all(folder.rglob("*.json"))
