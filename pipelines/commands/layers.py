"""`visual-insertion layers`: an edit of a scene as layers in an OpenRaster file, without ComfyUI."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from functools import partial
from pathlib import Path
from typing import Any

from . import outcome

OBJECT = "object"  # as the pipeline's, spelt out again so that --help does not load torch; a test compares them


def register(subparsers: Any) -> None:
    """Add `layers`."""
    text = "save an edit of a scene as layers for Krita, GIMP and others: scene, shadow, light and object"
    parser: ArgumentParser = subparsers.add_parser("layers", help=text, description=text)
    parser.set_defaults(run=partial(outcome, layers))
    add = parser.add_argument
    add("scene", type=Path, metavar="SCENE", help="the picture as it was")
    add("result", type=Path, metavar="RESULT", help="what an edit made of it; of any size, unless masks are given")
    add("--object-mask", type=Path, metavar="FILE", help="white where the object is; its rim may be hard or soft")
    where = "white where RESULT may differ from SCENE; with both masks RESULT is taken as it is, without it is restored"
    add("--effect-mask", type=Path, metavar="FILE", help=where)
    add("--object-name", default=OBJECT, metavar="NAME", help="the name of the object's layer (default %(default)s)")
    add("--output", type=Path, required=True, metavar="FILE.ora", help="an OpenRaster file")


def layers(args: Namespace) -> None:
    """Take apart and write. Raises ValueError or FileNotFoundError for unusable pictures, masks or output."""
    from ..layers.matting import separate_batch
    from ..layers.openraster import check_layered_output, write_openraster
    from ..pictures.files import mask_tensor, picture_tensor
    from ..pictures.opening import open_picture
    from ..whole_files import check_not_read

    if bool(args.object_mask) != bool(args.effect_mask):
        raise ValueError("Give --object-mask and --effect-mask, or neither: then both are found in the pictures.")
    check_layered_output(args.output)
    check_not_read([args.output], [args.scene, args.result, args.object_mask, args.effect_mask])
    scene_picture = open_picture(args.scene, deep=True)
    scene = picture_tensor(scene_picture)
    result = picture_tensor(open_picture(args.result, deep=True))
    if args.object_mask:
        masks = (mask_tensor(open_picture(path)) for path in (args.object_mask, args.effect_mask))
        (one,) = separate_batch(scene, result, *masks)
    else:
        from ..restoration.restore import restore

        restoration = restore(scene, result)
        (one,) = separate_batch(scene, restoration.images, restoration.objects, restoration.effect)
        print(restoration.reports[0].text())
    write_openraster(args.output, one, object_name=args.object_name, like=scene_picture)
    print(args.output)
