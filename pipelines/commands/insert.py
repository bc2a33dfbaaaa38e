"""`visual-insertion insert`: put a pictured object into a scene, without ComfyUI."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import asdict, dataclass
from functools import partial
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

    from ..pictures.boxes import Box

# Spelt out again, so that --help does not load torch; a test compares them with the pipeline's.
SAMPLERS = ("euler_ancestral", "euler", "ddim", "dpmpp_2m")
COLUMNS = Columns(needed=("scene", "object"))
FOLDERS = {"scene": "scenes", "object": "objects"}  # options, by column
OF_ONE = ("scene", "object", "object_mask", "learned", "mask", "box")  # options that say what one picture is made of
ON_SERVERS = OnServers(
    name="insert_object.json",
    shipped=partial(shipped, "insert_object.json"),
    titles={"scene": "Scene", "object": "Object"},
    inputs={
        **{
            name: name for name in ("steps", "denoise", "object_scale", "scene_scale", "framing", "background", "speed")
        },
        "sampler": "sampler_name",
    },
    local=(
        *("trained", "models", "embedding_optimizer", "unet_patch", "student", "image_encoder", "detail_encoder"),
        *("device", "no_restore", "working_size"),
    ),
)


def register(subparsers: Any) -> None:
    """Add `insert`."""
    text = "put a pictured object into a scene"
    parser: ArgumentParser = subparsers.add_parser("insert", help=text, description=text)
    parser.set_defaults(run=insert_one_or_many)
    add = parser.add_argument
    _scenes.add_scene(parser, many=_many.OUTPUT_HELP)
    _many.add_pairs(parser, COLUMNS, FOLDERS)
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
    student = (
        "what `train` made the UNet into, with its own few steps: a file, or a name in the models' folder students"
    )
    add("--student", type=Path, metavar="FILE|NAME", help=student)
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
    _scenes.add_speed(parser)


def insert_one_or_many(args: Namespace) -> int:
    """Insert one or many; 0 done, 1 a problem or failures, 2 wrong use, or something is missing."""
    lack = _many.lack(args, OF_ONE, on_servers=ON_SERVERS, needed=("scene",), folders=FOLDERS)
    if lack:
        return say(lack, MISSING)
    return outcome(insert_many if args.pairs else insert, args)


def insert(args: Namespace) -> None:
    """Insert and write. Raises ValueError or FileNotFoundError for unusable pictures, models or output."""
    from ..progress import ProgressBar
    from ..whole_files import check_not_read

    learned_file = Path(args.learned) if args.learned else None
    check_not_read([args.output], [args.scene, args.object, args.object_mask, args.mask, learned_file])
    if bool(args.object) == bool(args.learned):
        raise ValueError("Say what to insert by --object, or by an object that was --learned: one of both.")
    if args.object_mask and not args.object:
        raise ValueError("--object-mask goes with --object; what was learned has no picture to cut out.")
    given = open_given(args)  # before gigabytes are read
    inserter = Inserter(args)
    with ProgressBar("inserting", "step") as bar:
        result = inserter(args, given, bar)
    result.save(args.output)
    print(args.output)


def insert_many(args: Namespace) -> int:
    """Insert each pair's object into its scene; 1 where some failed. Raises what `_many.make` does."""
    from ..visual_insertion.trained_files import files_named

    return _many.make(args, inserting, COLUMNS, FOLDERS, files=lambda: vars(files_named(args)), on_servers=ON_SERVERS)


def inserting(args: Namespace, origin: Origin) -> Making:
    """What a worker process does with the models that a command names."""
    inserter = Inserter(args, origin)

    def make(task: Task) -> _scenes.Result:
        one = _many.of_one(args, task)
        return inserter(one, open_given(one))

    return making(make)


@dataclass(frozen=True)
class Given:
    """What one picture is made of: the scene and its pixels [1,H,W,C], the object and its mask, where it may appear."""

    scene_picture: Image.Image
    scene: Tensor
    shown: tuple[Image.Image, Image.Image | None] | None
    mask: Tensor | None
    box: Box | None


def open_given(args: Namespace) -> Given:
    """The pictures that a command names. Raises ValueError or FileNotFoundError for what cannot be used."""
    from ..pictures.files import mask_tensor
    from ..pictures.masks import optional_mask
    from ..pictures.opening import open_picture

    scene_picture, scene = _scenes.open_scene(args)
    shown = _scenes.open_object(args.object, args.object_mask) if args.object else None
    mask = mask_tensor(open_picture(args.mask)) if args.mask else None
    mask = optional_mask(mask, *scene.shape[1:3])
    box = _scenes.box_of(args.box) if args.box else None
    return Given(scene_picture, scene, shown, mask, box)


class Inserter:
    """The models that a command names, and what they make of what is given."""

    def __init__(self, args: Namespace, origin: Origin | None = None):
        """`origin` is that of a run of which this is a part. Raises what the pipeline and a learned object do."""
        from transformers.utils.logging import disable_progress_bar

        from ..evaluation.inserters import chosen_guidance
        from ..object_representation.application import check_applied, read_applied
        from ..sampling.speed import chosen
        from ..visual_insertion.pipeline import VisualInsertionPipeline
        from ..visual_insertion.trained_files import files_named

        self.learned = [read_applied(args.learned)] if args.learned else []
        disable_progress_bar()
        device, dtype = _scenes.device_of(args)
        files = files_named(args)
        self.pipeline = VisualInsertionPipeline.from_files(files, device, dtype, warn=say)
        check_applied(self.pipeline.pipeline.unet, self.learned)
        self.guidance = chosen_guidance(args, self.pipeline.guidance)
        self.speed = "fast" if args.student else args.speed
        self.preset = chosen(self.speed, self.pipeline.presets)
        self.origin = origin
        self.files: dict[str, Path | None] = {} if origin else vars(files)

    def __call__(self, args: Namespace, given: Given, progress: Any = None) -> _scenes.Result:
        """The picture of what is given, with the options' settings; `progress` is called after each step."""
        from ..evaluation.inserters import sampling_settings
        from ..local_region.edit import edit_region
        from ..object_representation.application import applied, contexts_of
        from ..pictures.scene import with_alpha
        from ..sampling.speed import settings_of

        pipeline = self.pipeline
        guidance = self.preset.guided(self.guidance) if self.preset else self.guidance
        settings = sampling_settings(args) | {"denoise": args.denoise, "guidance": asdict(guidance), "box": args.box}
        settings |= settings_of(self.speed, self.preset)
        pictures = {"scene": args.scene, "object": args.object, "object_mask": args.object_mask, "mask": args.mask}
        if given.shown:
            contexts = pipeline.contexts(*given.shown, framing=args.framing, background=args.background)
        else:
            contexts = contexts_of(self.learned[0], pipeline.context_encoder.null)
            settings["learned_strength"] = self.learned[0].strength
            pictures["learned"] = self.learned[0].path

        def edit(part: Tensor, part_mask: Tensor | None) -> Tensor:
            limit = None if given.mask is None else part_mask  # a box alone only says where to cut
            made = pipeline.sample(
                part,
                *contexts,
                self.guidance,
                steps=args.steps,
                seed=args.seed,
                sampler=args.sampler,
                speed=self.speed,
                mask=limit,
                denoise=args.denoise,
                callback=progress,
            )
            if args.no_restore:
                return made.images
            return _scenes.restored(part, made.images, pipeline.pipeline.vae, mask=limit, relevance=made.relevance)

        record = _scenes.start_record(args, self.files | pictures, self.origin, **settings)
        with applied(pipeline.pipeline.unet, self.learned):
            if given.box:
                size = args.working_size or pipeline.native_size
                images = edit_region(
                    given.scene, edit, mask=given.mask, box=given.box, working_size=size, expansion=args.expansion
                )
            else:
                images = with_alpha(edit(given.scene, given.mask), given.scene)
        return _scenes.Result(images, given.scene_picture, record.result())
