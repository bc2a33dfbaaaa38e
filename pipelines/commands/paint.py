"""`visual-insertion paint`: Paint by Example without ComfyUI: a pictured object into a mask of a scene."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import _scenes, outcome

if TYPE_CHECKING:
    from torch import Tensor

# Spelt out again, so that --help does not load torch; a test compares them with the pipeline's.
SAMPLERS = ("plms", "ddim", "euler", "euler_ancestral")
LATENT_MASKS = ("rounded", "nearest", "touched", "soft")


def register(subparsers: Any) -> None:
    """Add `paint`."""
    text = "paint a pictured object into a mask or a box of a scene (Paint by Example)"
    parser: ArgumentParser = subparsers.add_parser("paint", help=text, description=text)
    parser.set_defaults(run=partial(outcome, paint))
    _scenes.add_scene(parser)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--mask", type=Path, metavar="FILE", help="white where the object goes, of the scene's size")
    where.add_argument(
        "--box", nargs=4, type=int, metavar=("X", "Y", "WIDTH", "HEIGHT"), help="where the object goes, px"
    )
    add = parser.add_argument
    add("--exemplar", type=Path, required=True, metavar="FILE", help="the object, large in the frame")
    add("--exemplar-mask", type=Path, metavar="FILE", help="white where the object is: the picture is cut to it")
    models = _scenes.PLAYROOM / "paint_by_example"
    add("--models", type=Path, default=models, metavar="FOLDER", help="a diffusers folder of Paint by Example")
    add("--similarity", type=float, default=5.0, help="guidance: how much like the exemplar (default %(default)s)")
    add("--mask-resize", choices=LATENT_MASKS, default=LATENT_MASKS[0], help="the mask in latent cells")
    add(
        "--whole",
        action="store_true",
        help="the whole scene through the model, as the original does, instead of the region around the mask",
    )
    _scenes.add_region(parser)
    _scenes.add_restoring(parser)
    _scenes.add_sampling(parser, 50, SAMPLERS)


def paint(args: Namespace) -> None:
    """Paint and write. Raises ValueError or FileNotFoundError for unusable pictures, models or output."""
    from ..pictures.files import mask_tensor, pil_pictures, save_picture
    from ..pictures.masks import box_mask
    from ..pictures.opening import open_picture
    from ..pictures.scene import with_alpha

    scene_picture, scene = _scenes.open_scene(args)
    exemplar, exemplar_mask = _scenes.open_object(args.exemplar, args.exemplar_mask)
    if args.mask:
        mask = mask_tensor(open_picture(args.mask))
    else:
        mask = box_mask(_scenes.box_of(args.box), *scene.shape[1:3])[None].float()

    from transformers.utils.logging import disable_progress_bar

    from ..local_region.edit import edit_region
    from ..paint_by_example.inpainting import binary_mask
    from ..paint_by_example.pipeline import PaintByExamplePipeline
    from ..progress import ProgressBar

    binary_mask(mask, scene)  # before gigabytes are read
    disable_progress_bar()
    pipeline = PaintByExamplePipeline.from_folder(args.models, *_scenes.device_of(args))
    bar = ProgressBar("painting", "step")

    def edit(part: Tensor, part_mask: Tensor) -> Tensor:
        made = pipeline(
            part,
            part_mask,
            exemplar,
            exemplar_mask,
            similarity=args.similarity,
            steps=args.steps,
            seed=args.seed,
            sampler=args.sampler,
            framing=args.framing,
            background=args.background,
            mask_resize=args.mask_resize,
            callback=bar,
        )
        return made.images if args.no_restore else _scenes.restored(part, made.images, pipeline.vae, mask=part_mask)

    with bar:
        if args.whole:
            images = with_alpha(edit(scene, mask), scene)
        else:
            size = args.working_size or pipeline.native_size
            images = edit_region(scene, edit, mask=mask, working_size=size, expansion=args.expansion, area="mask")
    save_picture(pil_pictures(images)[0], args.output, like=scene_picture)
    print(args.output)
