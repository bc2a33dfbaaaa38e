"""`visual-insertion convert`: weight files into the forms that other programs load."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import _scenes, outcome

if TYPE_CHECKING:
    from torch import Tensor

    from ..weights.unets import UNetFiles

# Spelt out, so that --help does not load torch; tests compare them with the rooms'.
RELEASED_NULLS = ("zeros", "blank-picture", "empty-prompt")
PRIOR_PIXELS = ("published", "normalised")


def register(subparsers: Any) -> None:
    """Add `convert`, whose actions each have a function here that adds their parser and sets `run`."""
    text = "convert weight files"
    actions = subparsers.add_parser("convert", help=text, description=text).add_subparsers(
        metavar="ACTION", required=True
    )
    _add_unet_patch(actions)
    _add_diffusers_lora(actions)
    _add_optimizer(actions)
    _add_learned_object(actions)


def _add_unet_patch(actions: Any) -> None:
    text = "a fine-tuned UNet's cross-attention as a small patch file that LoRA loaders accept"
    parser: ArgumentParser = actions.add_parser("unet-patch", help=text, description=text)
    parser.set_defaults(run=partial(outcome, unet_patch))
    add = parser.add_argument
    kinds = "a UNet file or diffusers folder"
    add("--tuned", type=Path, required=True, metavar="PATH", help=f"what was fine-tuned: {kinds}")
    add("--base", type=Path, required=True, metavar="PATH", help=f"what it was tuned from: {kinds}")
    add("output", type=Path, metavar="OUTPUT.safetensors", help="the patch; put it into models/loras")
    add("--parts", choices=("attn2", "kv"), default="attn2", help="all cross-attention (default), or keys and values")
    add("--rank", type=_rank, metavar="N", help="a low-rank patch, smaller and less exact (default: the full one)")
    add("--dtype", choices=("fp16", "fp32"), default="fp16", help="default %(default)s")


def unet_patch(args: Namespace) -> None:
    """Extract the patch. Raises ValueError for files that do not belong together, or are equal."""
    _check_output(args.output)

    from ..weights import unet_patch as patches
    from ..weights.layouts import to_diffusers
    from ..weights.unets import open_unet, unet_folder
    from ..whole_files import check_not_read

    def opened(path: Path) -> UNetFiles:
        return open_unet(unet_folder(path) if path.is_dir() else path)

    tuned = opened(args.tuned)
    base = opened(args.base)
    check_not_read([args.output], [*tuned.files, *base.files])
    _check_same_shape(tuned, base)
    chosen = patches.cross_attention_parameters(tuned.stored, args.parts)
    if not chosen:
        raise ValueError(f"{tuned.where} holds no cross-attention: neither text nor object steers its UNet.")
    differences = {name: change for name, change in _changes(tuned, base, chosen) if change.any()}
    parameters = sum(tuned.stored[name].parameters for name in chosen)
    selection = f"{len(chosen)} cross-attention tensors ({args.parts}, {parameters:,} parameters)"
    if not differences:
        raise ValueError(
            f"{args.tuned} and {args.base} are equal in all {selection}: there is nothing to extract. Cross-attention "
            "was not trained. A training script whose name filter matches nothing does this and says nothing; "
            "diffusers calls these layers attn2."
        )
    others = [name for name in tuned.stored if name not in set(chosen)]
    unlike = sum(bool(change.any()) for _, change in _changes(tuned, base, others))
    names = to_diffusers(tuned.stored)
    facts = {"parts": args.parts, "dtype": args.dtype, **_origin(args.base, base)}
    renamed = {names[name]: change for name, change in differences.items()}
    saved = patches.save_patch(args.output, renamed, rank=args.rank, dtype=patches.DTYPES[args.dtype], metadata=facts)
    print(f"{selection}; {saved.tensors} differ ({saved.parameters:,} parameters)")
    if args.rank:
        print(f"rank {args.rank} holds {saved.kept:.1%} of the difference")
    if unlike:
        print(f"Not in the patch: {unlike} tensors outside of these parts differ as well.", file=sys.stderr)
    print(f"{args.output} ({saved.bytes / 1e6:.1f} MB)")


def _add_diffusers_lora(actions: Any) -> None:
    text = "a UNet patch in the layout that diffusers' load_lora_weights takes (with the package peft)"
    parser: ArgumentParser = actions.add_parser("diffusers-lora", help=text, description=text)
    parser.set_defaults(run=partial(outcome, diffusers_lora))
    add = parser.add_argument
    add(
        "patch",
        type=Path,
        metavar="FILE",
        help="a file that `train` or `convert unet-patch` wrote, or a LoRA of a UNet",
    )
    add("output", type=Path, metavar="OUTPUT.safetensors", help="for diffusers alone")
    add("--base", type=Path, required=True, metavar="PATH", help="its UNet: a UNet file or diffusers folder")
    add("--rank", type=_rank, metavar="N", help="a low rank, smaller and less exact (default: the full one)")
    add("--dtype", choices=("fp16", "fp32"), default="fp16", help="default %(default)s")


def diffusers_lora(args: Namespace) -> None:
    """Convert a patch. Raises ValueError for a file that is none, or one of another UNet."""
    _check_output(args.output)

    from ..weights import unet_patch as patches
    from ..weights.layouts import to_diffusers
    from ..weights.manifest import sha256_of
    from ..weights.reading import metadata_of
    from ..weights.unet_patch_reading import read_patch
    from ..weights.unets import open_unet, unet_folder
    from ..whole_files import check_not_read

    base = open_unet(unet_folder(args.base) if args.base.is_dir() else args.base)
    check_not_read([args.output], [args.patch, *base.files])
    names = to_diffusers(base.stored)
    differences = read_patch(args.patch, {names[name]: tuple(shape) for name, shape in base.shapes.items()})
    facts = metadata_of(args.patch) | {patches.MADE_FROM: sha256_of(args.patch)}
    saved = patches.save_patch(
        args.output,
        differences,
        rank=args.rank,
        dtype=patches.DTYPES[args.dtype],
        metadata=facts,
        for_diffusers=True,
    )
    if args.rank:
        print(f"rank {args.rank} holds {saved.kept:.1%} of the difference")
    print(f"{args.output} ({saved.bytes / 1e6:.1f} MB)")


def _check_same_shape(tuned: UNetFiles, base: UNetFiles) -> None:
    """Raise ValueError unless both hold the same tensors."""
    ours, theirs = tuned.shapes, base.shapes
    if wrong := [name for name in sorted(ours.keys() | theirs.keys()) if ours.get(name) != theirs.get(name)]:
        raise ValueError(
            f"{tuned.where} was not tuned from {base.where}: {len(wrong)} tensors are missing in one of them or differ "
            f"in shape (such as {wrong[0]}: {ours.get(wrong[0])} and {theirs.get(wrong[0])})."
        )


def _changes(tuned: UNetFiles, base: UNetFiles, names: list[str]) -> Any:
    """(LDM name, tuned - base [..] in float32) of each."""
    from ..weights.unet_patch import difference

    ours: Tensor
    theirs: Tensor
    for (name, ours), (_, theirs) in zip(tuned.read(names), base.read(names), strict=True):
        yield name, difference(ours, theirs)


def _origin(path: Path, base: UNetFiles) -> dict[str, str]:
    """What the metadata says about the base: its name, and its sha256 where it is one file."""
    from ..weights.manifest import sha256_of

    files = {entry.file for entry in base.stored.values()}
    return {"base": path.resolve().name, **({"base_sha256": sha256_of(files.pop())} if len(files) == 1 else {})}


def _add_optimizer(actions: Any) -> None:
    text = "the authors' emb_opt.pt as safetensors, its random queries and its null chosen once"
    parser: ArgumentParser = actions.add_parser("optimizer", help=text, description=text)
    parser.set_defaults(run=partial(outcome, optimizer))
    add = parser.add_argument
    add("file", type=Path, metavar="FILE", help="a released embedding optimizer; it is read as tensors, never run")
    add("output", type=Path, metavar="OUTPUT.safetensors", help="put it into models/embedding_optimizers")
    add("--queries-seed", type=int, default=0, metavar="N", help="draws the queries the file lacks (default 0)")
    add("--null", type=_hyphened, choices=RELEASED_NULLS, default="zeros", help="no object (default %(default)s)")
    add("--image-encoder", type=Path, metavar="FOLDER", help="CLIP vision, for 'blank picture'")
    add("--text-encoder", type=Path, metavar="FOLDER", help="CLIP text with its tokenizer, for 'empty prompt'")
    add("--nan-to-zero", action="store_true", help="zeros for NaN, as the authors' own loader does without a word")
    add("--licence", default="none stated", metavar="TEXT", help="kept in the file (default: %(default)s)")


def optimizer(args: Namespace) -> None:
    """Convert a released embedding optimizer. Raises ValueError for a file that is none."""
    _check_output(args.output)

    from ..visual_insertion.optimizer_conversion import convert
    from ..whole_files import check_not_read

    check_not_read([args.output], [args.file])
    null = args.null.replace("-", " ")
    converted = convert(
        args.file,
        args.output,
        null=null,
        queries_seed=args.queries_seed,
        nan_to_zero=args.nan_to_zero,
        image_encoder=args.image_encoder,
        text_encoder=args.text_encoder,
        licence=args.licence,
    )
    if converted.replaced:
        print(f"zeros in the place of values that were not finite: {converted.replaced}", file=sys.stderr)
    settings = converted.settings
    print(
        f"{settings.variant}, {converted.parameters:,} parameters: vision tokens of width {settings.encoder_width} to "
        f"{settings.context_tokens} tokens of width {settings.context_width}, null: {null}"
    )
    print(args.output)


def _hyphened(text: str) -> str:
    return text.replace(" ", "-")


def _add_learned_object(actions: Any) -> None:
    text = "a published object (delta_last.ckpt) as a learned object for `paint --learned` and Apply Object"
    parser: ArgumentParser = actions.add_parser("learned-object", help=text, description=text)
    parser.set_defaults(run=partial(outcome, learned_object))
    add = parser.add_argument
    add("file", type=Path, metavar="FILE", help="the published weights; they are read as tensors, never run")
    add("output", type=Path, metavar="OUTPUT.safetensors", help="the learned object")
    base = "the Paint by Example that it was trained from: model.ckpt, or the diffusers folder"
    add("--base", type=Path, required=True, metavar="PATH", help=base)
    pictures = "the pictures that it was trained with, their boxes in NAME.txt, bbox/ or metadata.jsonl"
    add("--pictures", type=Path, required=True, metavar="FOLDER", help=pictures)
    reference = "the exemplar to paint, the published test.jpg (default: the first of the pictures, cut to its box)"
    add("--reference", type=Path, metavar="FILE", help=reference)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--rank", type=_rank, metavar="N", help="a low rank, smaller and less exact (default: whole)")
    form.add_argument("--set", action="store_true", help="whole weights in the place of differences from the base")
    pixels = (
        "what the vision encoder is shown for the prior: 0 to 255 and transposed, as published (default), or as it "
    )
    add("--prior-pixels", choices=PRIOR_PIXELS, default=PRIOR_PIXELS[0], help=pixels + "was made for")
    add("--licence", default="not stated", metavar="TEXT", help="kept in the file (default: %(default)s)")


def learned_object(args: Namespace) -> None:
    """Convert a published object. Raises ValueError or FileNotFoundError for files that do not belong together."""
    _check_output(args.output)

    from ..object_representation import learned_object as objects
    from ..object_representation.published_conversion import Conversion, convert
    from ..object_representation.published_files import open_published
    from ..object_representation.training.facts import facts_of
    from ..object_representation.training.views_folder import read_views
    from ..paint_by_example.checkpoints import open_paint_by_example
    from ..paint_by_example.exemplar_picture import exemplar_pictures
    from ..pictures.files import picture_tensor
    from ..whole_files import check_not_read

    pictures = read_views(args.pictures, truncated=True)
    sources = [*pictures.paths, *([args.reference] if args.reference else [])]
    check_not_read([args.output], [args.file, args.base, *sources])
    published = open_published(args.file)
    base = open_paint_by_example(args.base)
    reference = None
    if args.reference:
        picture, _ = _scenes.open_object(args.reference, None)
        (reference,) = exemplar_pictures(picture_tensor(picture), None)
    settings = Conversion(args.prior_pixels)
    facts = facts_of(settings, [args.file, *sources], base_name=args.base.name, licence=args.licence)
    converted = convert(published, base, pictures.views, reference, settings=settings, facts=facts)
    learned = converted.learned
    print(
        f"{len(learned.tokens)} tokens; {len(learned.patch)} of {len(published.attention)} cross-attention tensors "
        f"differ from the base, by {converted.share:.2%} of its size"
    )
    if args.rank:
        learned, kept = objects.of_rank(learned, converted.layers, args.rank)
        print(f"rank {args.rank} keeps {kept:.1%} of the change, by its norm")
    elif args.set:
        learned = objects.as_set(learned, converted.layers)
    objects.save(learned, args.output)
    print(f"{args.output} ({args.output.stat().st_size / 1e6:.1f} MB)")


def _check_output(path: Path) -> None:
    if path.suffix != ".safetensors":
        raise ValueError(f"{path} must end in .safetensors.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"The folder of {path} does not exist.")


def _rank(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise ArgumentTypeError("must be a whole number above 0")
    return int(text)
