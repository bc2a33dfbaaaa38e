"""`visual-insertion evaluate`: score methods on a benchmark, all data and networks from this machine."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import MISSING, _scenes, outcome, say
from .insert import SAMPLERS

if TYPE_CHECKING:
    from PIL import Image

    from ..baselines.ip_adapter import AdapterPipeline
    from ..evaluation.cases import Benchmark, Case
    from ..evaluation.methods import Method
    from ..sampling.guidance import Guidance
    from ..sampling.pix2pix import GuidedPix2Pix
    from ..visual_insertion.pipeline import VisualInsertionPipeline

# Spelt out again, so that --help loads nothing; a test compares them with the evaluation's.
PLAYROOM = "playroom"
BENCHMARKS = ("pipe", "magicbrush-add", "opa", "dreameditbench", "anyinsertion")
TRIVIAL = ("unchanged", "perfect_copy", "copy_paste", "shuffled_object")
BACKBONES = {
    "clip_b32": "transformers folder of openai/clip-vit-base-patch32",
    "clip_l336": "transformers folder of openai/clip-vit-large-patch14-336",
    "dino": "transformers folder of facebook/dino-vits16",
    "dinov2": "transformers folder of facebook/dinov2-large",
    "lpips": "torch hub folder with torchvision's AlexNet",
    "dreamsim": "dreamsim's cache folder with its ensemble",
}


def register(subparsers: Any) -> None:
    """Add `evaluate`."""
    text = "score methods on a benchmark; started again, it goes on where it stopped"
    parser: ArgumentParser = subparsers.add_parser("evaluate", help=text, description=text)
    parser.set_defaults(run=run)
    add = parser.add_argument
    add("--benchmark", choices=(PLAYROOM, *BENCHMARKS), required=True)
    add("--data", type=Path, metavar="FOLDER", help="the benchmark's data; the playroom needs none")
    methods = (*TRIVIAL, *METHODS)
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
    add("--embedding-optimizer", type=Path, metavar="FILE", help="default: the one in the models' folder")
    add("--image-encoder", type=Path, metavar="FOLDER", help="CLIP vision; default: the one in the models' folder")
    add("--detail-encoder", type=Path, metavar="FOLDER", help="DINOv2; for optimizers trained with a second encoder")
    exemplar = "of paint-by-example-encoder: the published folder or checkpoint, or a folder of `train`"
    add("--paint-by-example", type=Path, metavar="PATH", help=exemplar)
    add("--ip-adapter", type=Path, metavar="FILE", help="of ip-adapter: ip-adapter_sd15.safetensors or its Plus")
    vision = "of the IP-Adapter; default: image_encoder beside its file"
    add("--ip-adapter-encoder", type=Path, metavar="FOLDER", help=vision)
    add("--object-scale", type=float, metavar="X", help="how strongly the object is wanted (default: the models')")
    add("--scene-scale", type=float, metavar="X", help="how strongly the scene is kept (default: the models')")
    _scenes.add_sampling(parser, 20, SAMPLERS)


def run(args: Namespace) -> int:
    """Evaluate; 0 done, 1 unusable data, results or models, 2 wrong use, or a file or library is missing."""
    if not args.method and not args.results:
        return say("Nothing to score: give --method NAME, --results NAME=FOLDER, or both.", MISSING)
    if args.benchmark != PLAYROOM and not args.data:
        return say(f"--data FOLDER is needed: where {args.benchmark} is on this machine.", MISSING)
    if absent := [option for name, option in NEEDS.items() if name in args.method and not getattr(args, option)]:
        return say(f"--{absent[0].replace('_', '-')} PATH is needed; see docs/evaluation.md, Baselines.", MISSING)
    if args.limit is not None and args.limit < 1:
        return say("--limit must be at least 1.", MISSING)
    needed = [
        "torchmetrics",
        "scipy",
        *(["pyarrow"] if args.benchmark in ("pipe", "dreameditbench", "anyinsertion") else []),
    ]
    if absent := [name for name in needed if find_spec(name) is None]:
        return say(f"{', '.join(absent)} not installed. Install the pack with its 'evaluation' extra.", MISSING)
    if args.dreamsim and find_spec("dreamsim") is None:
        return say("dreamsim is not installed, and no extra of the pack does it: pip install dreamsim.", MISSING)
    return outcome(evaluate, args)


def evaluate(args: Namespace) -> None:
    """Make the pictures, measure them, write the report. Raises ValueError, FileNotFoundError."""
    from tqdm import tqdm
    from transformers.utils.logging import disable_progress_bar, set_verbosity_error

    from ..evaluation.backbones import load_backbones
    from ..evaluation.methods import METHODS as TRIVIAL_METHODS
    from ..evaluation.protocol import find_results, make_results, measure, possible_metrics
    from ..evaluation.report import check_names, write_report
    from ..evaluation.vae_noise import load_restoration

    disable_progress_bar()
    set_verbosity_error()  # a CLIP folder has more in it than CMMD's half of CLIP

    def follow(indices, name):
        return tqdm(indices, desc=name, unit="case")

    args.base = args.base or args.models
    given = _named_folders(args.results, args.method)
    device = _scenes.device_of(args)[0]
    every = _benchmark(args)
    benchmark = every.first(args.limit)
    backbones = load_backbones({name: getattr(args, name) for name in BACKBONES}, device)
    vae = args.vae or (_scenes.PLAYROOM / "vae" if args.benchmark == PLAYROOM else None)
    restore = load_restoration(vae, device) if vae else None
    for folder in given.values():
        find_results(benchmark, folder)
    check_names((*args.method, *given), possible_metrics(benchmark, backbones), args.against, args.sort_by)
    folders: dict[str, Path] = {}
    depends: dict[str, dict[str, Any]] = {}
    for name in args.method:
        method, facts = (TRIVIAL_METHODS[name](every), {}) if name in TRIVIAL_METHODS else METHODS[name](args, every)
        depends |= {name: facts} if facts else {}
        facts = {"data": args.data and str(args.data.resolve()), **facts}
        folders[name] = make_results(benchmark, name, method, args.output / "results" / name, facts, follow)
    folders |= given
    table = measure(benchmark, folders, backbones, restore, follow)
    settings = {
        "benchmark": args.benchmark,
        "data": args.data,
        "limit": args.limit,
        "results": folders,
        "vae": vae,
        "backbones": backbones.folders,
        **depends,
    }
    print(write_report(table, benchmark, folders, args.output, settings, args.against, args.sort_by, restore))


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


# Methods of a system: from the arguments and the benchmark to a function of a case, and what its pictures depend on.


def _facts(args: Namespace, pipeline: GuidedPix2Pix, *paths: str) -> dict[str, Any]:
    """What a method's pictures depend on; `paths` are the options that name its networks."""
    from ..weights.reading import fingerprint

    given = {name: getattr(args, name) for name in paths}
    sampling = ("object_scale", "scene_scale", "steps", "seed", "sampler", "framing", "background")
    return {
        **{name: path and str(path.resolve()) for name, path in given.items()},
        "weights": fingerprint(pipeline.networks),
        "device": _scenes.device_of(args)[0].type,
        **{name: getattr(args, name) for name in sampling},
    }


def _guidance(args: Namespace, pipeline: GuidedPix2Pix) -> Guidance:
    from dataclasses import replace

    scales = {"object_scale": args.object_scale, "scene_scale": args.scene_scale}
    return replace(pipeline.guidance, **{name: x for name, x in scales.items() if x is not None})


def _showing(args: Namespace, pipeline: VisualInsertionPipeline | AdapterPipeline) -> Method:
    """Shows a case's object pictures."""
    from PIL import Image

    guidance = _guidance(args, pipeline)

    def method(case: Case) -> Image.Image:
        result = pipeline(
            case.scene,
            list(case.objects),
            [Image.fromarray(mask) for mask in case.object_masks] or None,
            guidance,
            steps=args.steps,
            seed=args.seed,
            sampler=args.sampler,
            framing=args.framing,
            background=args.background,
        )
        return result.pictures()[0]

    return method


def _visual_insertion(args: Namespace, benchmark: Benchmark) -> tuple[Method, dict[str, Any]]:
    from ..visual_insertion.pipeline import VisualInsertionPipeline

    pipeline = VisualInsertionPipeline.from_folder(
        args.models, args.embedding_optimizer, args.image_encoder, *_scenes.device_of(args), args.detail_encoder
    )
    paths = ("models", "embedding_optimizer", "image_encoder", "detail_encoder")
    return _showing(args, pipeline), _facts(args, pipeline, *paths)


def _frozen_swap(args: Namespace, benchmark: Benchmark) -> tuple[Method, dict[str, Any]]:
    from ..baselines.frozen_swap import frozen_swap

    pipeline = frozen_swap(args.base, args.image_encoder, *_scenes.device_of(args))
    return _showing(args, pipeline), _facts(args, pipeline, "base", "image_encoder")


def _paint_by_example_encoder(args: Namespace, benchmark: Benchmark) -> tuple[Method, dict[str, Any]]:
    from ..baselines.exemplar_token import exemplar_in_front

    pipeline = exemplar_in_front(args.base, args.paint_by_example, args.image_encoder, *_scenes.device_of(args))
    return _showing(args, pipeline), _facts(args, pipeline, "base", "paint_by_example", "image_encoder")


def _ip_adapter(args: Namespace, benchmark: Benchmark) -> tuple[Method, dict[str, Any]]:
    from ..baselines.ip_adapter import AdapterPipeline

    pipeline = AdapterPipeline.from_folder(
        args.base, args.ip_adapter, args.ip_adapter_encoder, *_scenes.device_of(args)
    )
    return _showing(args, pipeline), _facts(args, pipeline, "base", "ip_adapter", "ip_adapter_encoder")


def _text(args: Namespace, benchmark: Benchmark) -> tuple[Method, dict[str, Any]]:
    from ..baselines.told_in_words import TextPipeline

    def instruction(case: Case) -> str:
        if not case.instruction:
            raise ValueError(
                f"Case {case.name} of {benchmark.name} has no instruction, so that text says nothing. Benchmarks with "
                "instructions: playroom, pipe, magicbrush-add, opa."
            )
        return case.instruction

    instruction(benchmark[0])  # before gigabytes are read
    pipeline = TextPipeline.from_folder(args.base, *_scenes.device_of(args))
    guidance = _guidance(args, pipeline)
    sampling: dict[str, Any] = {"steps": args.steps, "seed": args.seed, "sampler": args.sampler}

    def method(case: Case) -> Image.Image:
        return pipeline(case.scene, instruction(case), guidance, **sampling).pictures()[0]

    return method, _facts(args, pipeline, "base")


METHODS: dict[str, Callable[[Namespace, Benchmark], tuple[Method, dict[str, Any]]]] = {
    "visual-insertion": _visual_insertion,
    "text": _text,
    "frozen-swap": _frozen_swap,
    "paint-by-example-encoder": _paint_by_example_encoder,
    "ip-adapter": _ip_adapter,
}
NEEDS = {"paint-by-example-encoder": "paint_by_example", "ip-adapter": "ip_adapter"}  # method -> its own option
