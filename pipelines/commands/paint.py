"""`visual-insertion paint`: Paint by Example without ComfyUI: a pictured object into a mask of a scene."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..bulk.pairs import Columns
from ..bulk.tasks import Making, Task, making
from ..provenance import Origin
from . import MISSING, _many, _scenes, outcome, say
from ._on_servers import OnServers, shipped

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from ..bulk.workflow import Graph

# Spelt out again, so that --help does not load torch; a test compares them with the pipeline's.
SAMPLERS = ("plms", "ddim", "euler", "euler_ancestral")
LATENT_MASKS = ("rounded", "nearest", "touched", "soft")
VIEWS = ("concatenate", "average")
COLUMNS = Columns(needed=("scene", "exemplar", "mask"))
FOLDERS = {"scene": "scenes", "exemplar": "exemplars", "mask": "masks"}  # options, by column
OF_ONE = ("scene", "exemplar", "exemplar_mask", "learned", "mask", "box")  # that say what one picture is made of


def _workflow() -> Graph:
    """The workflow of servers: the example's, with a pair's mask in the place of one that the example draws."""
    graph = shipped("paint_by_example_local_region.json")
    (drawn,) = (number for number, node in graph.items() if node["class_type"] == "ArbitraryMask")
    loader = {"class_type": "LoadImageMask", "inputs": {"image": "", "channel": "red"}, "_meta": {"title": "Mask"}}
    return {**graph, drawn: loader}


ON_SERVERS = OnServers(
    name="paint_by_example_local_region.json",
    shipped=_workflow,
    titles={"scene": "Scene", "exemplar": "Object", "mask": "Mask"},
    inputs={
        **{name: name for name in ("steps", "mask_resize", "framing", "background", "expansion", "working_size")},
        "similarity": "cfg",
    },
    local=("models", "sampler", "speed", "whole", "no_restore", "device"),
)


def register(subparsers: Any) -> None:
    """Add `paint`."""
    text = "paint a pictured object into a mask or a box of a scene (Paint by Example)"
    parser: ArgumentParser = subparsers.add_parser("paint", help=text, description=text)
    parser.set_defaults(run=paint_one_or_many)
    _scenes.add_scene(parser, many=_many.OUTPUT_HELP)
    _many.add_pairs(parser, COLUMNS, FOLDERS)
    where = parser.add_mutually_exclusive_group()
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
    _scenes.add_speed(parser)


def paint_one_or_many(args: Namespace) -> int:
    """Paint one or many; 0 done, 1 a problem or failures, 2 wrong use, or something is missing."""
    lack = _many.lack(args, OF_ONE, on_servers=ON_SERVERS, needed=("scene",), folders=FOLDERS)
    if not lack and not args.pairs and not args.mask and not args.box:
        lack = "One of --mask FILE and --box X Y WIDTH HEIGHT is needed: where the object goes."
    if lack:
        return say(lack, MISSING)
    return outcome(paint_many if args.pairs else paint, args)


def paint(args: Namespace) -> None:
    """Paint and write. Raises ValueError or FileNotFoundError for unusable pictures, models or output."""
    from ..progress import ProgressBar
    from ..whole_files import check_not_read

    exemplar_files = args.exemplar or []
    mask_files = args.exemplar_mask or []
    learned_files = [Path(text) for text in args.learned or []]
    check_not_read([args.output], [args.scene, *exemplar_files, *mask_files, args.mask, *learned_files])
    if not exemplar_files and not learned_files:
        raise ValueError("Nothing says what to paint: give an --exemplar, or an object that was --learned.")
    if mask_files and len(mask_files) != len(exemplar_files):
        raise ValueError(f"{len(exemplar_files)} --exemplar need as many --exemplar-mask; got {len(mask_files)}.")
    given = open_given(args)  # before gigabytes are read
    painter = Painter(args)
    with ProgressBar("painting", "step") as bar:
        result = painter(args, given, bar)
    result.save(args.output)
    print(args.output)


def paint_many(args: Namespace) -> int:
    """Paint each pair's exemplar into the mask of its scene; 1 where some failed. Raises what `_many.make` does."""
    from ..paint_by_example.checkpoints import model_folder

    return _many.make(
        args, painting, COLUMNS, FOLDERS, files=lambda: {"models": model_folder(args.models)}, on_servers=ON_SERVERS
    )


def painting(args: Namespace, origin: Origin) -> Making:
    """What a worker process does with the models that a command names."""
    painter = Painter(args, origin)

    def make(task: Task) -> _scenes.Result:
        one = _many.of_one(args, task)
        one.exemplar = [one.exemplar]
        return painter(one, open_given(one))

    return making(make)


@dataclass(frozen=True)
class Given:
    """What one picture is made of: the scene and its pixels [1,H,W,C], exemplars with masks, and the mask [1,H,W]."""

    scene_picture: Image.Image
    scene: Tensor
    views: list[tuple[Image.Image, Image.Image | None]]
    mask: Tensor


def open_given(args: Namespace) -> Given:
    """The pictures that a command names. Raises ValueError or FileNotFoundError for what cannot be used."""
    from ..paint_by_example.inpainting import binary_mask
    from ..pictures.files import mask_tensor
    from ..pictures.masks import box_mask
    from ..pictures.opening import open_picture

    scene_picture, scene = _scenes.open_scene(args)
    views = []
    for number, path in enumerate(args.exemplar or []):
        views.append(_scenes.open_object(path, args.exemplar_mask[number] if args.exemplar_mask else None))
    if args.mask:
        mask = mask_tensor(open_picture(args.mask))
    else:
        mask = box_mask(_scenes.box_of(args.box), *scene.shape[1:3])[None].float()
    binary_mask(mask, scene)
    return Given(scene_picture, scene, views, mask)


class Painter:
    """The models that a command names, and what they make of what is given."""

    def __init__(self, args: Namespace, origin: Origin | None = None):
        """`origin` is that of a run of which this is a part. Raises what the pipeline and a learned object do."""
        from transformers.utils.logging import disable_progress_bar

        from ..object_representation.application import check_applied, read_applied
        from ..paint_by_example.checkpoints import model_folder
        from ..paint_by_example.pipeline import PaintByExamplePipeline

        self.learned = [read_applied(text) for text in args.learned or []]
        disable_progress_bar()
        self.pipeline = PaintByExamplePipeline.from_folder(args.models, *_scenes.device_of(args))
        check_applied(self.pipeline.unet, self.learned)
        self.origin = origin
        self.files: dict[str, Path | None] = {} if origin else {"models": model_folder(args.models)}

    def __call__(self, args: Namespace, given: Given, progress: Any = None) -> _scenes.Result:
        """The picture of what is given, with the options' settings; `progress` is called after each step."""
        from ..evaluation.inserters import sampling_settings
        from ..local_region.edit import edit_region
        from ..object_representation.application import applied, contexts_of
        from ..pictures.scene import with_alpha
        from ..sampling.speed import chosen, settings_of

        pipeline = self.pipeline
        contexts = None
        if given.views:
            frame = dict(framing=args.framing, background=args.background)
            joined = args.views if len(given.views) > 1 else "separate"
            pictures, masks = zip(*given.views, strict=True)
            contexts = pipeline.contexts(pictures, masks, **frame, views=joined)
        if self.learned:
            contexts = contexts_of(self.learned[0], pipeline.exemplar_encoder.null[0], contexts and contexts[0])
        files = {"scene": args.scene, "mask": args.mask}
        files |= _numbered("exemplar", args.exemplar or []) | _numbered("exemplar_mask", args.exemplar_mask or [])
        files |= _numbered("learned", [one.path for one in self.learned])
        settings = sampling_settings(args) | {"similarity": args.similarity, "mask_resize": args.mask_resize}
        settings |= {"box": args.box, "whole": args.whole}
        settings |= settings_of(args.speed, chosen(args.speed, pipeline.presets))
        if self.learned:
            settings["learned_strengths"] = [one.strength for one in self.learned]

        def edit(part: Tensor, part_mask: Tensor) -> Tensor:
            made = pipeline(
                part,
                part_mask,
                contexts=contexts,
                similarity=args.similarity,
                steps=args.steps,
                seed=args.seed,
                sampler=args.sampler,
                speed=args.speed,
                mask_resize=args.mask_resize,
                callback=progress,
            )
            if args.no_restore:
                return made.images
            return _scenes.restored(part, made.images, pipeline.vae, mask=part_mask)

        record = _scenes.start_record(args, self.files | files, self.origin, **settings)
        with applied(pipeline.unet, self.learned):
            if args.whole:
                images = with_alpha(edit(given.scene, given.mask), given.scene)
            else:
                size = args.working_size or pipeline.native_size
                images = edit_region(
                    given.scene, edit, mask=given.mask, working_size=size, expansion=args.expansion, area="mask"
                )
        return _scenes.Result(images, given.scene_picture, record.result())


def _numbered(name: str, files: list[Path]) -> dict[str, Path]:
    """Files by a name, numbered where there are several."""
    return {name if len(files) == 1 else f"{name} {number}": path for number, path in enumerate(files, 1)}
