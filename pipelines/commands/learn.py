"""`visual-insertion learn`: a few pictures of one object as a small file, without ComfyUI."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import PROBLEM, _scenes, outcome, say

if TYPE_CHECKING:
    from ..object_representation.training.learn import Look
    from ..paint_by_example.pipeline import PaintByExamplePipeline
    from ..visual_insertion.pipeline import VisualInsertionPipeline

# Spelt out again, so that --help does not load torch; a test compares them with the room's.
TRAINED = ("tokens", "low-rank", "kv", "attn2", "views")
SUFFIX = ".safetensors"
CHANNELS = 4  # of latents: an InstructPix2Pix UNet sees the scene's beside the noise


def register(subparsers: Any) -> None:
    """Add `learn`."""
    text = "learn one object from a few pictures of it, into a small file for `paint --learned` or `insert --learned`"
    parser: ArgumentParser = subparsers.add_parser("learn", help=text, description=text)
    parser.set_defaults(run=partial(outcome, learn_object))
    add = parser.add_argument
    boxes = "three to five pictures of the object: cut-outs, or with boxes in metadata.jsonl or NAME.txt"
    add("folder", type=Path, metavar="FOLDER", help=boxes)
    add("--output", type=Path, required=True, metavar="FILE", help=f"the learned object, {SUFFIX}")
    base = _scenes.PLAYROOM / "paint_by_example"
    add(
        "--base",
        type=Path,
        default=base,
        metavar="FOLDER",
        help="a diffusers folder: of Paint by Example, "
        "which paints the object under a mask, or of an InstructPix2Pix model, which inserts it without one",
    )
    add("--embedding-optimizer", type=Path, metavar="FILE", help="of an InstructPix2Pix base; default: the folder's")
    add(
        "--train",
        choices=TRAINED,
        default=TRAINED[0],
        help="what is learned: the tokens that the pictures are shown as (default), or beside them a low-rank change "
        "of attention's keys and values, whole keys and values or attention as published, or nothing",
    )
    add("--steps", type=int, metavar="N", help="of training (default: 150)")
    add("--rank", type=int, metavar="N", help="of low-rank (default: 8); of kv and attn2: what they are shrunk to")
    add("--batch", type=int, metavar="N", help="pictures in a step (default: 8 of up to 256 px, 2 of 512)")
    add("--size", type=int, metavar="PX", help="of the pictures in training (default: the model's own)")
    add("--own-tokens", action="store_true", help="learn the tokens beside a change of attention as well")
    alone = "keys and values learn from the object's own tokens alone, not from the exemplar's, as published"
    add("--detach-exemplar", action="store_true", help=alone)
    add("--others", type=Path, metavar="FOLDER", help="pictures of the same kind of thing, mixed in half and half")
    add("--minutes", type=float, default=0.0, metavar="X", help="stop after this long, and keep the best so far")
    add("--seed", type=int, default=0, help="another seed, another result (default %(default)s)")
    add("--licence", default="not stated", metavar="TEXT", help="of the learned object, for the file's metadata")
    add("--curve", type=Path, metavar="FILE", help="a picture of the losses")
    add("--device", help="such as cpu or cuda:0 (default: a GPU if there is one)")


def learn_object(args: Namespace) -> int | None:
    """Learn and write. Raises ValueError or FileNotFoundError for unusable pictures, models, settings or output."""
    from PIL import Image

    from ..pictures.files import check_output, save_picture
    from ..whole_files import check_not_read

    if args.output.suffix.lower() != SUFFIX:
        raise ValueError(f"{args.output} must end in {SUFFIX}: that is what a learned object is kept in.")
    if not args.output.absolute().parent.is_dir():
        raise FileNotFoundError(f"{args.output.parent} is no folder; make it first, or name another --output.")
    if args.output.is_dir():
        raise ValueError(f"{args.output} is a folder; name a file in it.")
    if args.curve:
        check_output(args.curve, Image.new("RGB", (1, 1)), "the curve")

    from transformers.utils.logging import disable_progress_bar

    from ..object_representation import learned_object
    from ..object_representation.training.facts import facts_of
    from ..object_representation.training.learn import LearningSettings, learn
    from ..object_representation.training.loss_curve import draw_curve
    from ..object_representation.training.of_pipeline import learning_model
    from ..object_representation.training.views_folder import read_views
    from ..progress import ProgressBar

    asked = {"steps": args.steps, "rank": args.rank, "batch": args.batch, "size": args.size}
    settings = LearningSettings(
        train=args.train,
        seed=args.seed,
        minutes=args.minutes,
        own_tokens=args.own_tokens,
        detach_exemplar=args.detach_exemplar,
        **{name: value for name, value in asked.items() if value is not None},
    )
    pictures = read_views(args.folder)
    others = read_views(args.others) if args.others else None
    sources = [*pictures.paths, *(others.paths if others else [])]
    read = [*sources, args.base, args.embedding_optimizer]
    check_not_read([path for path in (args.output, args.curve) if path], read)
    disable_progress_bar()
    device, _ = _scenes.device_of(args)
    model = learning_model(_pipeline(args, device))

    def look(look: Look) -> None:
        bar.write(f"step {look.step}: loss {look.loss:.4f}{', the best so far' if look.best else ''}")

    with ProgressBar("learning", "step") as bar:
        learning = learn(
            model,
            pictures.views,
            settings,
            others=others.views if others else (),
            facts=facts_of(settings, sources, base_name=args.base.name, licence=args.licence),
            progress=bar,
            look=look,
        )
    learned = learning.learned
    if args.rank and args.train in ("kv", "attn2"):
        learned, kept = learned_object.of_rank(learned, model.layers, args.rank)
        print(f"rank {args.rank} keeps {kept:.1%} of the change, by its norm")
    learned_object.save(learned, args.output)
    if args.curve:
        save_picture(draw_curve(learning.losses, learning.looks), args.curve)
    print(args.output)
    if learning.diverged:
        made = f"after {len(learning.losses)} of {settings.steps} steps; the best so far was kept"
        return say(f"The gradients were not finite any more {made}. A larger --batch or another --seed helps.", PROBLEM)
    if learning.stopped and not learning.late:
        return say(
            f"Stopped after {len(learning.losses)} of {settings.steps} steps; the best so far was kept.", PROBLEM
        )
    return None


def _pipeline(args: Namespace, device: Any) -> PaintByExamplePipeline | VisualInsertionPipeline:
    """The base by its UNet's channels. Raises what the pipelines' `from_folder` do, ValueError for an option unused."""
    from ..paint_by_example.pipeline import PaintByExamplePipeline
    from ..visual_insertion.pipeline import VisualInsertionPipeline
    from ..weights.configs import read_json

    config = args.base / "unet" / "config.json"
    if config.is_file() and read_json(config).get("in_channels") == 2 * CHANNELS:
        return VisualInsertionPipeline.from_folder(args.base, args.embedding_optimizer, device=device)
    if args.embedding_optimizer:
        raise ValueError("--embedding-optimizer goes with an InstructPix2Pix --base; Paint by Example has none.")
    return PaintByExamplePipeline.from_folder(args.base, device)
