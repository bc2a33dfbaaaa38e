"""`visual-insertion insert`: put a pictured object into a scene, without ComfyUI."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from functools import partial
from pathlib import Path
from typing import Any

from . import _scenes, outcome

# Spelt out again, so that --help does not load torch; a test compares them with the pipeline's.
SAMPLERS = ("euler_ancestral", "euler", "ddim", "dpmpp_2m")


def register(subparsers: Any) -> None:
    """Add `insert`."""
    text = "put a pictured object into a scene"
    parser: ArgumentParser = subparsers.add_parser("insert", help=text, description=text)
    parser.set_defaults(run=partial(outcome, insert))
    add = parser.add_argument
    _scenes.add_scene(parser)
    add("--object", type=Path, required=True, metavar="FILE", help="the object, large in the frame")
    add("--object-mask", type=Path, metavar="FILE", help="white where the object is, of the picture's size")
    add("--models", type=Path, default=_scenes.PLAYROOM, metavar="FOLDER", help="a diffusers InstructPix2Pix folder")
    add("--embedding-optimizer", type=Path, metavar="FILE", help="default: the one in the models' folder")
    add("--image-encoder", type=Path, metavar="FOLDER", help="CLIP vision; default: the one in the models' folder")
    add("--detail-encoder", type=Path, metavar="FOLDER", help="DINOv2; for optimizers trained with a second encoder")
    add("--object-scale", type=float, metavar="X", help="how strongly the object is wanted (default: the models')")
    add("--scene-scale", type=float, metavar="X", help="how strongly the scene is kept (default: the models')")
    only = "only in this part of a large scene, px; all else stays as it is to the last bit"
    add("--box", nargs=4, type=int, metavar=("X", "Y", "WIDTH", "HEIGHT"), help=only)
    _scenes.add_region(parser)
    _scenes.add_sampling(parser, 20, SAMPLERS)


def insert(args: Namespace) -> None:
    """Insert and write. Raises ValueError or FileNotFoundError for unusable pictures, models or output."""
    from ..pictures.files import check_output, open_picture, picture_tensor, pil_pictures, save_picture
    from ..pictures.scene import check_scene

    scene, pictured = check_scene(picture_tensor(open_picture(args.scene))), open_picture(args.object)
    mask = open_picture(args.object_mask) if args.object_mask else None
    check_output(args.output)
    box = _scenes.corners(args.box) if args.box else None

    from dataclasses import replace

    from transformers.utils.logging import disable_progress_bar

    from ..visual_insertion.pipeline import VisualInsertionPipeline

    disable_progress_bar()
    pipeline = VisualInsertionPipeline.from_folder(
        args.models, args.embedding_optimizer, args.image_encoder, *_scenes.device_of(args), args.detail_encoder
    )
    scales = {"object_scale": args.object_scale, "scene_scale": args.scene_scale}
    guidance = replace(pipeline.guidance, **{name: x for name, x in scales.items() if x is not None})
    bar, callback = _scenes.steps_bar(args, "inserting")

    def edit(part, _=None):
        return pipeline(
            part,
            pictured,
            mask,
            guidance,
            steps=args.steps,
            seed=args.seed,
            sampler=args.sampler,
            framing=args.framing,
            background=args.background,
            callback=callback,
        ).images

    with bar:
        if box:
            images = _scenes.edit_region(args, scene, None, box, pipeline.native_size, "changes", edit)
        else:
            images = edit(scene)
    save_picture(pil_pictures(images)[0], args.output)
    print(args.output)
