"""`visual-insertion insert`: put a pictured object into a scene, without ComfyUI."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import _scenes, outcome, say

if TYPE_CHECKING:
    from torch import Tensor

# Spelt out again, so that --help does not load torch; a test compares them with the pipeline's.
SAMPLERS = ("euler_ancestral", "euler", "ddim", "dpmpp_2m")


def register(subparsers: Any) -> None:
    """Add `insert`."""
    text = "put a pictured object into a scene"
    parser: ArgumentParser = subparsers.add_parser("insert", help=text, description=text)
    parser.set_defaults(run=partial(outcome, insert))
    add = parser.add_argument
    _scenes.add_scene(parser)
    add("--object", type=Path, metavar="FILE", help="the object, large in the frame")
    add("--object-mask", type=Path, metavar="FILE", help="white where the object is, of the picture's size")
    learned = "an object that `learn` learned on these models, in the place of --object; strength 0 to 2"
    add("--learned", metavar="FILE[:STRENGTH]", help=learned)
    run = "a folder that `train` wrote: its optimizer and UNet patch, on the models that it was trained on"
    add("--run", type=Path, dest="trained", metavar="FOLDER", help=run)
    models = "a diffusers InstructPix2Pix folder (default: the playroom's, or those of --run)"
    add("--models", type=Path, metavar="FOLDER", help=models)
    add("--embedding-optimizer", type=Path, metavar="FILE", help="default: the one in the models' folder")
    patch = "what the UNet learned beside the optimizer, a file that `train` wrote; 'none' goes without"
    add("--unet-patch", type=Path, metavar="FILE", help=patch)
    add("--image-encoder", type=Path, metavar="FOLDER", help="CLIP vision; default: the one in the models' folder")
    add("--detail-encoder", type=Path, metavar="FOLDER", help="DINOv2; for optimizers trained with a second encoder")
    where = "white where the object may appear, of the scene's size; with --box, what lies in both; black is none"
    add("--mask", type=Path, metavar="FILE", help=where)
    add("--denoise", type=float, default=1.0, metavar="X", help="below 1 the run starts from the noised scene")
    add("--object-scale", type=float, metavar="X", help="how strongly the object is wanted (default: the models')")
    add("--scene-scale", type=float, metavar="X", help="how strongly the scene is kept (default: the models')")
    only = "only in this part of a large scene, px; all else stays as it is to the last bit"
    add("--box", nargs=4, type=int, metavar=("X", "Y", "WIDTH", "HEIGHT"), help=only)
    _scenes.add_region(parser)
    _scenes.add_restoring(parser)
    _scenes.add_record(parser)
    _scenes.add_sampling(parser, 20, SAMPLERS)


def insert(args: Namespace) -> None:
    """Insert and write. Raises ValueError or FileNotFoundError for unusable pictures, models or output."""
    from ..pictures.files import mask_tensor, pil_pictures, save_picture
    from ..pictures.masks import optional_mask
    from ..pictures.opening import open_picture
    from ..pictures.scene import with_alpha
    from ..whole_files import check_not_read

    learned_file = Path(args.learned) if args.learned else None
    check_not_read([args.output], [args.scene, args.object, args.object_mask, args.mask, learned_file])
    if bool(args.object) == bool(args.learned):
        raise ValueError("Say what to insert by --object, or by an object that was --learned: one of both.")
    scene_picture, scene = _scenes.open_scene(args)
    shown = _scenes.open_object(args.object, args.object_mask) if args.object else None
    mask = mask_tensor(open_picture(args.mask)) if args.mask else None
    mask = optional_mask(mask, *scene.shape[1:3])  # before gigabytes are read
    box = _scenes.box_of(args.box) if args.box else None

    from transformers.utils.logging import disable_progress_bar

    from ..evaluation.inserters import chosen_guidance, sampling_settings
    from ..local_region.edit import edit_region
    from ..object_representation.application import applied, contexts_of, read_applied
    from ..progress import ProgressBar
    from ..visual_insertion.pipeline import VisualInsertionPipeline
    from ..visual_insertion.trained_files import files_named

    learned = [read_applied(args.learned)] if args.learned else []
    disable_progress_bar()
    device, dtype = _scenes.device_of(args)
    files = files_named(args)
    pipeline = VisualInsertionPipeline.from_files(files, device, dtype, warn=say)
    guidance = chosen_guidance(args, pipeline.guidance)
    bar = ProgressBar("inserting", "step")
    pictures = {"scene": args.scene, "object": args.object, "object_mask": args.object_mask, "mask": args.mask}
    pictures["learned"] = learned[0].path if learned else None
    settings = sampling_settings(args) | {"denoise": args.denoise, "guidance": asdict(guidance), "box": args.box}

    if shown:
        contexts = pipeline.contexts(*shown, framing=args.framing, background=args.background)
    else:
        contexts = contexts_of(learned[0], pipeline.context_encoder.null)
        settings["learned_strength"] = learned[0].strength

    def edit(part: Tensor, part_mask: Tensor | None) -> Tensor:
        made = pipeline.sample(
            part,
            *contexts,
            guidance,
            steps=args.steps,
            seed=args.seed,
            sampler=args.sampler,
            mask=None if mask is None else part_mask,  # a box alone only says where to cut
            denoise=args.denoise,
            callback=bar,
        )
        if args.no_restore:
            return made.images
        limit = None if mask is None else part_mask
        return _scenes.restored(part, made.images, pipeline.pipeline.vae, mask=limit, relevance=made.relevance)

    record = _scenes.start_record(args, vars(files) | pictures, **settings)
    with bar, applied(pipeline.pipeline.unet, learned):
        if box:
            size = args.working_size or pipeline.native_size
            images = edit_region(scene, edit, mask=mask, box=box, working_size=size, expansion=args.expansion)
        else:
            images = with_alpha(edit(scene, mask), scene)
    save_picture(pil_pictures(images)[0], args.output, like=scene_picture, record=record.result())
    print(args.output)
