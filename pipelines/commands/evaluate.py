"""`visual-insertion evaluate`: score methods on a benchmark, all data and networks from this machine."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..evaluation.metrics import BACKBONES
from ..method import Method, Option
from ..systems import METHODS
from . import MISSING, _scenes, outcome, say

if TYPE_CHECKING:
    from ..evaluation.cases import Benchmark

# Spelt out again, so that --help loads nothing; a test compares them with the evaluation's.
PLAYROOM = "playroom"
BENCHMARKS = ("pipe", "magicbrush-add", "opa", "dreameditbench", "anyinsertion")
IN_PARQUET = ("pipe", "dreameditbench", "anyinsertion")
TRIVIAL = ("unchanged", "perfect_copy", "copy_paste", "placed_object", "shuffled_object")
SAMPLERS = ("euler_ancestral", "euler", "ddim", "dpmpp_2m", "plms")  # of all methods


def register(subparsers: Any) -> None:
    """Add `evaluate`."""
    text = "score methods on a benchmark; started again, it goes on where it stopped"
    parser: ArgumentParser = subparsers.add_parser("evaluate", help=text, description=text)
    parser.set_defaults(run=run)
    add = parser.add_argument
    add("--benchmark", choices=(PLAYROOM, *BENCHMARKS), required=True)
    add("--data", type=Path, metavar="FOLDER", help="the benchmark's data; the playroom needs none")
    methods = (*TRIVIAL, *methods_by_name())
    add("--method", nargs="+", action="extend", default=[], choices=methods, metavar="NAME", help=", ".join(methods))
    pictures = "pictures of any other method, one per case, named like it"
    add("--results", nargs="+", action="extend", default=[], metavar="NAME=FOLDER", help=pictures)
    add("--output", type=Path, required=True, metavar="FOLDER", help="gets the methods' pictures and the report")
    add("--limit", type=int, metavar="N", help="the first N cases only")
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
    add("--models", type=Path, default=_scenes.PLAYROOM, metavar="FOLDER", help="of visual-insertion, as in `insert`")
    add("--base", type=Path, metavar="FOLDER", help="the same of the baselines (default: that of --models)")
    add("--image-encoder", type=Path, metavar="FOLDER", help="CLIP vision; default: the one in the models' folder")
    for option in options_of_methods():
        option.add_to(parser)
    add("--object-scale", type=float, metavar="X", help="how strongly the object is wanted (default: the models')")
    add("--scene-scale", type=float, metavar="X", help="how strongly the scene is kept (default: the models')")
    _scenes.add_sampling(parser, None, SAMPLERS)


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
    if not args.method and not args.results:
        return "Nothing to score: give --method NAME, --results NAME=FOLDER, or both."
    if args.benchmark != PLAYROOM and not args.data:
        return f"--data FOLDER is needed: where {args.benchmark} is on this machine."
    for name, method in methods_by_name().items():
        for option in method.options:
            if name in args.method and option.needed and not getattr(args, option.name):
                return f"{option.flag} PATH is needed; see docs/evaluation.md, Baselines."
    if args.limit is not None and args.limit < 1:
        return "--limit must be at least 1."
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
    from ..evaluation.protocol import find_results, make_results, measure, possible_metrics
    from ..evaluation.report import check_names, claim_folder, write_report
    from ..evaluation.trivial import TRIVIAL_METHODS
    from ..evaluation.vae_noise import load_round_trip

    disable_progress_bar()
    set_verbosity_error()  # a CLIP folder has more in it than CMMD's half of CLIP

    def follow(indices, name):
        return tqdm(indices, desc=name, unit="case")

    args.base = args.base or args.models
    args.device, args.dtype = _scenes.device_of(args)
    others = _named_folders(args.results, args.method)
    every = _benchmark(args)
    benchmark = every.first(args.limit)
    backbones = load_backbones({name: getattr(args, name) for name in BACKBONES}, args.device)
    vae = args.vae or (_scenes.PLAYROOM / "vae" if args.benchmark == PLAYROOM else None)
    round_trip = load_round_trip(vae, args.device) if vae else None
    for folder in others.values():
        find_results(benchmark, folder)
    check_names((*args.method, *others), possible_metrics(benchmark, backbones), args.against, args.sort_by)
    claim_folder(args.output, others)
    folders: dict[str, Path] = {}
    facts: dict[str, dict[str, Any]] = {}  # what the pictures depend on, by method
    for name in args.method:
        if name in TRIVIAL_METHODS:
            insert = TRIVIAL_METHODS[name](every)
        else:
            insert, facts[name] = methods_by_name()[name].inserter(args, every)
        made_with = {"data": args.data and str(args.data.resolve()), **facts.get(name, {})}
        folder = args.output / "results" / name
        folders[name] = make_results(benchmark, name, insert, folder, made_with, follow=follow)
    folders |= others
    table = measure(benchmark, folders, backbones, round_trip=round_trip, follow=follow)
    settings = {
        "benchmark": args.benchmark,
        "data": args.data,
        "limit": args.limit,
        "results": folders,
        "vae": vae,
        "backbones": backbones.folders,
        **facts,
    }
    page = write_report(
        table,
        benchmark,
        results=folders,
        folder=args.output,
        settings=settings,
        against=args.against,
        sort_by=args.sort_by,
        round_trip=round_trip,
    )
    print(page)


def _benchmark(args: Namespace) -> Benchmark:
    from ..evaluation.benchmarks import READERS
    from ..playroom.judging.benchmark import playroom

    if args.benchmark == PLAYROOM:
        return playroom(_scenes.PLAYROOM / "judge.safetensors")
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
