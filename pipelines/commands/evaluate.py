"""`visual-insertion evaluate`: score methods on a benchmark, all data and networks from this machine."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..evaluation.metrics import BACKBONES
from ..method import Method, Option
from ..systems import METHODS
from . import MISSING, _scenes, outcome, say

if TYPE_CHECKING:
    from ..evaluation.cases import Benchmark

# Spelt out again, so that --help loads nothing; a test compares them with the evaluation's.
PLAYROOMS = ("playroom", "playroom-objects")  # need no data
TOLD_IN_WORDS = ("additing", "additing-affordance", "emuedit-add")
BENCHMARKS = ("pipe", "magicbrush-add", "opa", "dreameditbench", "insert-set", "anyinsertion", *TOLD_IN_WORDS)
IN_PARQUET = ("pipe", "dreameditbench", "anyinsertion", "emuedit-add")
TRIVIAL = ("unchanged", "perfect_copy", "copy_paste", "placed_object", "shuffled_object")
SAMPLERS = ("euler_ancestral", "euler", "ddim", "dpmpp_2m", "plms")  # of all methods


def register(subparsers: Any) -> None:
    """Add `evaluate`."""
    text = "score methods on a benchmark; started again, it goes on where it stopped"
    parser: ArgumentParser = subparsers.add_parser("evaluate", help=text, description=text)
    parser.set_defaults(run=run)
    add = parser.add_argument
    told = f"{', '.join(TOLD_IN_WORDS)} show no object and have no target: what is added is told in words"
    add("--benchmark", choices=(*PLAYROOMS, *BENCHMARKS), required=True, help=told)
    add("--data", type=Path, metavar="FOLDER", help="the benchmark's data; the playroom's need none")
    methods = (*TRIVIAL, *methods_by_name())
    add("--method", nargs="+", action="extend", default=[], choices=methods, metavar="NAME", help=", ".join(methods))
    pictures = "pictures of any other method, one per case, named like it"
    add("--results", nargs="+", action="extend", default=[], metavar="NAME=FOLDER", help=pictures)
    function = "a function of a case, evaluation.cases.Case, that gives a PIL picture, in a Python file of yours"
    add("--function", nargs="+", action="extend", default=[], metavar="NAME=FILE.py:FUNCTION", help=function)
    add("--output", type=Path, required=True, metavar="FOLDER", help="gets the methods' pictures and the report")
    add("--limit", type=int, metavar="N", help="the first N cases only")
    workers = "processes that measure pixels (default: as many as the machine has processors, at most 8)"
    add("--workers", type=int, metavar="N", default=min(8, os.cpu_count() or 1), help=workers)
    add("--against", metavar="NAME", help="the method that the others are compared with (default: the first)")
    add("--sort-by", metavar="METRIC", help="what chooses the best, median and worst cases")
    add("--vae", type=Path, metavar="FOLDER", help="a diffusers VAE: what it does to a scene is no change")
    for name, what in BACKBONES.items():
        add(
            f"--{name.replace('_', '-')}",
            type=Path,
            metavar="FOLDER",
            help=f"{what}; without it its metrics are missing",
        )
    add("--models", type=Path, metavar="FOLDER", help="of visual-insertion, as in `insert`")
    add("--base", type=Path, metavar="FOLDER", help="the same of the baselines (default: that of --models)")
    add("--image-encoder", type=Path, metavar="FOLDER", help="CLIP vision; default: the one in the models' folder")
    for option in options_of_methods():
        option.add_to(parser)
    add("--object-scale", type=float, metavar="X", help="how strongly the object is wanted (default: the models')")
    add("--scene-scale", type=float, metavar="X", help="how strongly the scene is kept (default: the models')")
    _scenes.add_sampling(parser, None, SAMPLERS)
    seeds = "runs of each method, with the seeds from --seed on: mean and spread over seeds, paired tests"
    add("--seeds", type=int, metavar="N", default=1, help=seeds)
    together = "cases that a method inserts at once, if it can (default %(default)s); faster on a GPU"
    add("--batch", type=int, metavar="N", default=1, help=together)
    add("--columns", nargs="+", metavar="METRIC", help="of table.csv, table.md and table.tex, in this order")


def methods_by_name() -> dict[str, Method]:
    """The methods that make pictures, by the name that --method has for them."""
    return {method.name.replace("_", "-"): method for method in METHODS}


def options_of_methods() -> list[Option]:
    """What only some methods read, each once."""
    options: dict[str, Option] = {}
    for method in METHODS:
        options |= {option.flag: option for option in method.options}
    return list(options.values())


def run(args: Namespace) -> int:
    """Evaluate; 0 done, 1 unusable data, results or models, 2 wrong use, or a file or library is missing."""
    lack = missing_option(args) or missing_library(args)
    return say(lack, MISSING) if lack else outcome(evaluate, args)


def missing_option(args: Namespace) -> str | None:
    """What must be given first, in a line; None where all is there."""
    if not args.method and not args.results and not args.function:
        return "Nothing to score: give --method NAME, --results NAME=FOLDER or --function NAME=FILE.py:FUNCTION."
    if twice := [name for name in args.method if args.method.count(name) > 1]:
        return f"--method has {twice[0]} twice; give each method once."
    if args.benchmark not in PLAYROOMS and not args.data:
        return f"--data FOLDER is needed: where {args.benchmark} is on this machine."
    for name, method in methods_by_name().items():
        for option in method.options:
            if name in args.method and option.needed and not getattr(args, option.name):
                return f"{option.flag} PATH is needed; see docs/evaluation.md, Baselines."
    if args.limit is not None and args.limit < 1:
        return "--limit must be at least 1."
    if args.seeds < 1:
        return "--seeds must be at least 1."
    if args.batch < 1:
        return "--batch must be at least 1."
    if args.workers < 1:
        return "--workers must be at least 1."
    return None


def missing_library(args: Namespace) -> str | None:
    """What must be installed first, in a line; None where all is there."""
    libraries = ["torchmetrics", "scipy"]
    if args.benchmark in IN_PARQUET:
        libraries.append("pyarrow")
    absent = [name for name in libraries if find_spec(name) is None]
    if absent:
        return f"{', '.join(absent)} not installed. Install the pack with its 'evaluation' extra."
    if args.dreamsim and find_spec("dreamsim") is None:
        return "dreamsim is not installed, and no extra of the pack does it: pip install dreamsim."
    return None


def evaluate(args: Namespace) -> None:
    """Make the pictures, measure them, write the report. Raises ValueError, FileNotFoundError."""
    from tqdm import tqdm
    from transformers.utils.logging import disable_progress_bar, set_verbosity_error

    from ..evaluation.backbones import load_backbones
    from ..evaluation.cases import fingerprint_of
    from ..evaluation.protocol import find_results, make_results, measure, possible_metrics
    from ..evaluation.report import check_names, claim_folder, write_report
    from ..evaluation.trivial import TRIVIAL_METHODS
    from ..evaluation.user_functions import read_functions
    from ..evaluation.vae_noise import load_round_trip
    from ..provenance import data_name, made_by, sha256_of_all, sha256_of_models
    from ..visual_insertion.trained_files import files_named

    disable_progress_bar()
    set_verbosity_error()  # a CLIP folder has more in it than CMMD's half of CLIP

    def follow(indices, name):
        return tqdm(indices, desc=name, unit="case")

    args.warn = say
    trained = args.trained or [None]
    args.trained = trained[0]
    args.base = args.base or files_named(args).models
    args.device, args.dtype = _scenes.device_of(args)
    functions = read_functions(args.function, args.method)
    others = _named_folders(args.results, [*args.method, *functions])
    every = _benchmark(args)
    benchmark = every.first(args.limit)
    backbones = load_backbones({name: getattr(args, name) for name in BACKBONES}, args.device)
    vae = args.vae or (_scenes.PLAYROOM / "vae" if args.benchmark in PLAYROOMS else None)
    round_trip = load_round_trip(vae, args.device) if vae else None
    for folder in others.values():
        find_results(benchmark, folder)
    possible = possible_metrics(benchmark, backbones)
    check_names((*args.method, *functions, *others), possible, args.against, args.sort_by)
    for column in args.columns or ():
        if column not in (*possible, "cmmd"):
            raise ValueError(f"There is no metric {column} for --columns; there are {', '.join(possible)}.")
    claim_folder(args.output, others)
    cases = fingerprint_of(every)
    folders: dict[str, Path] = {}
    facts: dict[str, dict[str, Any]] = {}  # what the pictures depend on, by method
    runs: dict[str, list[str]] = {}  # of each method, by the names of their results
    seeds = range(args.seed, args.seed + args.seeds)
    for name in (*args.method, *functions):
        draws = name not in TRIVIAL_METHODS and name not in functions
        several = trained if draws and any(option.several for option in methods_by_name()[name].options) else [None]
        for number, seed in product(range(len(several)), seeds if draws else seeds[:1]):
            run_name = name + (f"_run{number + 1}" if number else "") + (f"_seed{seed}" if seed != seeds[0] else "")
            args.trained = several[number]
            args.seed = seed
            if name in functions:
                insert, facts[run_name] = functions[name]
            elif name in TRIVIAL_METHODS:
                insert = TRIVIAL_METHODS[name](every)
            else:
                insert, facts[run_name] = methods_by_name()[name].inserter(args, every)
            made_with = {"cases": cases, **facts.get(run_name, {})}
            folder = args.output / "results" / run_name
            folders[run_name] = make_results(
                benchmark, name, insert, folder, made_with, follow=follow, batch=args.batch
            )
            runs.setdefault(name, []).append(run_name)
    folders |= others
    runs |= {name: [name] for name in others}
    table = measure(
        benchmark,
        folders,
        backbones,
        round_trip=round_trip,
        follow=follow,
        store=args.output / "measured",
        workers=args.workers,
    )
    settings = made_by(
        benchmark=args.benchmark,
        data=args.data and {"name": data_name(args.data), "path": args.data},
        cases=cases,
        limit=args.limit,
        results={
            name: {"path": folder, "sha256": sha256_of_all(find_results(benchmark, folder))}
            for name, folder in folders.items()
        },
        runs=runs,
        vae=vae and {"path": vae, "sha256": sha256_of_models(vae)},
        backbones={
            name: {"path": path, "sha256": sha256_of_models(Path(path))} for name, path in backbones.folders.items()
        },
        **facts,
    )
    page = write_report(
        table,
        benchmark,
        results=folders,
        folder=args.output,
        settings=settings,
        against=args.against,
        sort_by=args.sort_by,
        round_trip=round_trip,
        runs=runs,
        columns=args.columns,
    )
    print(page)


def _benchmark(args: Namespace) -> Benchmark:
    from ..evaluation.benchmarks import READERS
    from ..playroom.judging.benchmarks import PLAYROOM_READERS

    if args.benchmark in PLAYROOMS:
        return PLAYROOM_READERS[args.benchmark](_scenes.PLAYROOM / "judge.safetensors")
    return READERS[args.benchmark](args.data)


def _named_folders(results: list[str], methods: list[str]) -> dict[str, Path]:
    """NAME=FOLDER as a table. Raises ValueError for another form or a name twice, FileNotFoundError."""
    from ..evaluation.cases import FILE_SAFE

    folders: dict[str, Path] = {}
    for text in results:
        name, _, folder = text.partition("=")
        if not folder or not FILE_SAFE.fullmatch(name) or name in (*folders, *methods):
            raise ValueError(f"--results {text}: NAME=FOLDER is needed, each name once, of letters, digits, - and _.")
        if not Path(folder).is_dir():
            raise FileNotFoundError(f"{folder} is not a folder.")
        folders[name] = Path(folder)
    return folders
