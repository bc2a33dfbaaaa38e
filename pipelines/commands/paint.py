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
VIEWS = ("concatenate", "average")


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
    add(
        "--exemplar", type=Path, nargs="+", metavar="FILE", help="the object, large in the frame; several are its views"
    )
    add(
        "--exemplar-mask",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="white where the object is: the picture is cut to it; one for each exemplar",
    )
    joined = "several exemplars as one object: tokens side by side, or their mean (default %(default)s)"
    add("--views", choices=VIEWS, default=VIEWS[0], help=joined)
    add(
        "--learned",
        action="append",
        metavar="FILE[:STRENGTH]",
        help="an object that `learn` learned, with or without an exemplar; strength 0 to 2. Again for objects that are "
        "in the scene already: the first one is painted",
    )
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
    _scenes.add_record(parser)
    _scenes.add_sampling(parser, 50, SAMPLERS)


def paint(args: Namespace) -> None:
    """Paint and write. Raises ValueError or FileNotFoundError for unusable pictures, models or output."""
    from ..pictures.files import mask_tensor, pil_pictures, save_picture
    from ..pictures.masks import box_mask
    from ..pictures.opening import open_picture
    from ..pictures.scene import with_alpha
    from ..whole_files import check_not_read

    exemplar_files = args.exemplar or []
    mask_files = args.exemplar_mask or []
    learned_files = [Path(text) for text in args.learned or []]
    check_not_read([args.output], [args.scene, *exemplar_files, *mask_files, args.mask, *learned_files])
    if not exemplar_files and not learned_files:
        raise ValueError("Nothing says what to paint: give an --exemplar, or an object that was --learned.")
    if mask_files and len(mask_files) != len(exemplar_files):
        raise ValueError(f"{len(exemplar_files)} --exemplar need as many --exemplar-mask; got {len(mask_files)}.")
    scene_picture, scene = _scenes.open_scene(args)
    views = []
    for number, path in enumerate(exemplar_files):
        views.append(_scenes.open_object(path, mask_files[number] if mask_files else None))
    if args.mask:
        mask = mask_tensor(open_picture(args.mask))
    else:
        mask = box_mask(_scenes.box_of(args.box), *scene.shape[1:3])[None].float()

    from transformers.utils.logging import disable_progress_bar

    from ..evaluation.inserters import sampling_settings
    from ..local_region.edit import edit_region
    from ..object_representation.application import applied, contexts_of, read_applied
    from ..paint_by_example.checkpoints import model_folder
    from ..paint_by_example.inpainting import binary_mask
    from ..paint_by_example.pipeline import PaintByExamplePipeline
    from ..progress import ProgressBar

    binary_mask(mask, scene)  # before gigabytes are read
    learned = [read_applied(text) for text in args.learned or []]
    disable_progress_bar()
    pipeline = PaintByExamplePipeline.from_folder(args.models, *_scenes.device_of(args))
    bar = ProgressBar("painting", "step")
    contexts = None
    if views:
        frame = dict(framing=args.framing, background=args.background)
        joined = args.views if len(views) > 1 else "separate"
        pictures, masks = zip(*views, strict=True)
        contexts = pipeline.contexts(pictures, masks, **frame, views=joined)
    if learned:
        contexts = contexts_of(learned[0], pipeline.exemplar_encoder.null[0], contexts and contexts[0])
    files = {"scene": args.scene, "mask": args.mask}
    files |= _numbered("exemplar", exemplar_files) | _numbered("exemplar_mask", mask_files)
    files |= _numbered("learned", [one.path for one in learned])
    settings = sampling_settings(args) | {"similarity": args.similarity, "mask_resize": args.mask_resize}
    settings |= {"box": args.box, "whole": args.whole}
    if learned:
        settings["learned_strengths"] = [one.strength for one in learned]

    def edit(part: Tensor, part_mask: Tensor) -> Tensor:
        made = pipeline(
            part,
            part_mask,
            contexts=contexts,
            similarity=args.similarity,
            steps=args.steps,
            seed=args.seed,
            sampler=args.sampler,
            mask_resize=args.mask_resize,
            callback=bar,
        )
        return made.images if args.no_restore else _scenes.restored(part, made.images, pipeline.vae, mask=part_mask)

    record = _scenes.start_record(args, {"models": model_folder(args.models), **files}, **settings)
    with bar, applied(pipeline.unet, learned):
        if args.whole:
            images = with_alpha(edit(scene, mask), scene)
        else:
            size = args.working_size or pipeline.native_size
            images = edit_region(scene, edit, mask=mask, working_size=size, expansion=args.expansion, area="mask")
    save_picture(pil_pictures(images)[0], args.output, like=scene_picture, record=record.result())
    print(args.output)


def _numbered(name: str, files: list[Path]) -> dict[str, Path]:
    """Files by a name, numbered where there are several."""
    return {name if len(files) == 1 else f"{name} {number}": path for number, path in enumerate(files, 1)}
