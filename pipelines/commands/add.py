"""`visual-insertion add`: add what a prompt says to a scene, by Add-it and without training, without ComfyUI."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
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
    import torch
    from PIL import Image

    from ..add_it.pipeline import AddItPipeline
    from ..add_it.windows import AddItSettings

PLAYROOM = Path(__file__).resolve().parents[2] / "playroom_flux"
COLUMNS = Columns(
    needed=("scene",),
    files=("object",),
    texts=("prompt", "subject"),
    more_texts=("scene_prompt",),
    named=("subject",),
)
FOLDERS = {"scene": "scenes", "object": "objects"}  # options, by column
OF_ONE = ("scene", "prompt", "subject", "object", "scene_prompt", "occurrence")  # that say what one picture is made of
ON_SERVERS = OnServers(
    name="add_it.json",
    shipped=partial(shipped, "add_it.json"),
    titles={"scene": "Scene"},
    inputs={"steps": "steps", "guidance": "guidance", "start": "start", "blend": "blend_at", "invert": "invert"},
    local=("models", "gamma", "refine", "no_restore", "device"),
)


def register(subparsers: Any) -> None:
    """Add `add`."""
    text = "add what a prompt says to a scene, without training (Add-it)"
    parser: ArgumentParser = subparsers.add_parser("add", help=text, description=text)
    parser.set_defaults(run=add_one_or_many)
    add = parser.add_argument
    _scenes.add_scene(parser, many=_many.OUTPUT_HELP)
    _many.add_pairs(parser, COLUMNS, FOLDERS)
    whole = "of the whole new picture, such as: a room with a red ball on the floor; again for each further addition"
    add("--prompt", action="append", metavar="TEXT", help=whole)
    named = "what is added, in the prompt's words, such as: red ball; one for each prompt"
    add("--subject", action="append", metavar="TEXT", help=named)
    add("--object", action="append", type=Path, metavar="FILE", help="shows the subject; none, or one for each prompt")
    add("--scene-prompt", default="", metavar="TEXT", help="what is in the scene already; later prompts follow by it")
    add(
        "--occurrence",
        type=int,
        default=0,
        metavar="N",
        help="which one, if the prompt says the subject several times",
    )
    add("--models", type=Path, default=PLAYROOM, metavar="FOLDER", help="of diffusers' FluxPipeline (default: a toy)")
    add("--gamma", type=gamma, metavar="X", help="how much the prompt counts against the scene, 1 to 1.2; or auto")
    add("--start", type=float, metavar="X", help="share of the schedule at which it begins; later keeps more structure")
    add("--blend", type=float, metavar="X", help="share at which the rest becomes the scene's again; 1 is never")
    add("--refine", action="store_true", help="the blend's mask by what changed, not by the map alone")
    add("--invert", action="store_true", help="invert the scene in place of noising it anew; twice as many evaluations")
    add("--guidance", type=float, metavar="X", help="how strictly the prompt is followed (default: the model's)")
    add("--steps", type=int, metavar="N", help="default: the model's own")
    add("--seed", type=int, default=0, help="another seed, another result (default %(default)s)")
    _scenes.add_restoring(parser)
    _scenes.add_record(parser)
    add("--device", help="such as cpu or cuda:0 (default: a GPU if there is one)")


def gamma(text: str) -> float | str:
    """`auto`, or a number. Raises ArgumentTypeError for anything else."""
    if text == "auto":
        return text
    try:
        return float(text)
    except ValueError:
        raise ArgumentTypeError(f"a number such as 1.05, or auto; got {text}") from None


def add_one_or_many(args: Namespace) -> int:
    """Add to one scene or many; 0 done, 1 a problem or failures, 2 wrong use, or something is missing."""
    lack = _many.lack(args, OF_ONE, on_servers=ON_SERVERS, needed=("scene",), folders=FOLDERS)
    if not lack and not args.pairs and not (args.prompt and args.subject):
        lack = "--prompt TEXT and --subject TEXT are needed: the new picture in words, and what of it is added."
    if lack:
        return say(lack, MISSING)
    return outcome(add_many if args.pairs else add_to_scene, args)


def add_to_scene(args: Namespace) -> None:
    """Add and write. Raises ValueError or FileNotFoundError for unusable pictures, models, prompts or output."""
    from ..progress import ProgressBar
    from ..whole_files import check_not_read

    check_not_read([args.output], [args.scene, *(args.object or [])])
    check_counts(args)
    given = open_given(args)
    adder = Adder(args)
    adder.check(args)  # before there is a bar
    with ProgressBar(f"adding {', '.join(args.subject)}", "step") as bar:
        result = adder(args, given, bar)
    for note in adder.notes:
        print(note)
    result.save(args.output)
    print(args.output)


def add_many(args: Namespace) -> int:
    """Add to the scene of each line; 1 where some failed. Raises what `_many.make` does."""
    return _many.make(args, adding, COLUMNS, FOLDERS, files=lambda: {"models": args.models}, on_servers=ON_SERVERS)


def adding(args: Namespace, origin: Origin) -> Making:
    """What a worker process does with the models that a command names."""
    adder = Adder(args, origin)

    def make(task: Task) -> _scenes.Result:
        one = _many.of_one(args, task)
        one.prompt, one.subject = [one.prompt], [one.subject]
        one.object = [one.object] if one.object else None
        return adder(one, open_given(one))

    return making(make)


@dataclass(frozen=True)
class Given:
    """What one picture is made of: the scene and its pixels [1,H,W,C], and pictures [1,h,w,3] of what is added."""

    scene_picture: Image.Image
    scene: torch.Tensor
    objects: list[torch.Tensor | None]


def open_given(args: Namespace) -> Given:
    """The pictures that a command names. Raises ValueError or FileNotFoundError for what cannot be used."""
    from ..pictures.files import picture_tensor

    scene_picture, scene = _scenes.open_scene(args)
    objects: list[torch.Tensor | None] = [None] * len(args.prompt)
    if args.object:
        objects = [picture_tensor(_scenes.open_object(path, None)[0].convert("RGB")) for path in args.object]
    return Given(scene_picture, scene, objects)


class Adder:
    """The models that a command names, and what they make of what is given."""

    def __init__(self, args: Namespace, origin: Origin | None = None):
        """`origin` is that of a run of which this is a part. Raises what loading the models does."""
        from transformers.utils.logging import disable_progress_bar

        from ..systems import load_add_it

        disable_progress_bar()
        device, dtype = _scenes.device_of(args)
        self.pipeline: AddItPipeline = load_add_it(args.models, device, dtype)
        self.settings = chosen_settings(args, self.pipeline.defaults.settings)
        self.origin = origin
        self.files: dict[str, Path | None] = {} if origin else {"models": args.models}
        self.notes: list[str] = []  # of the last picture

    def check(self, args: Namespace) -> None:
        """Raise ValueError for a subject that is not in its prompt."""
        for prompt, subject in zip(args.prompt, args.subject, strict=True):
            self.pipeline.find_subject(prompt, subject, args.occurrence)

    def __call__(self, args: Namespace, given: Given, progress: Any = None) -> _scenes.Result:
        """The scene with all that the prompts say, one after another; `progress` is called after each step.

        Raises what `check` does, before the first one is added.
        """
        from ..pictures.scene import with_alpha

        self.check(args)
        told = {"prompts": args.prompt, "subjects": args.subject, "seed": args.seed, "steps": args.steps}
        objects = {f"object {number}": file for number, file in enumerate(args.object or [])}
        files = {**self.files, "scene": args.scene, **objects}
        record = _scenes.start_record(args, files, self.origin, **told, add_it=asdict(self.settings))
        images = given.scene[..., :3]
        said = args.scene_prompt
        self.notes.clear()
        for number, prompt in enumerate(args.prompt):
            added = self.pipeline(
                images,
                prompt,
                args.subject[number],
                scene_prompt=said,
                picture=given.objects[number],
                occurrence=args.occurrence,
                settings=self.settings,
                steps=args.steps,
                seed=args.seed + number,
                guidance=args.guidance,
                refined=args.refine,
                invert=args.invert,
                progress=progress,
            )
            self.notes += added.notes
            images = added.images if args.no_restore else restored(images, added, self.pipeline)
            said = prompt
        return _scenes.Result(with_alpha(images, given.scene), given.scene_picture, record.result())


def restored(scene: torch.Tensor, added: Any, pipeline: AddItPipeline) -> torch.Tensor:
    """The scene [1,H,W,3] with what was added, the rest bit for bit its own."""
    return _scenes.restored(scene, added.images, pipeline.vae, relevance=added.place.relevance)


def check_counts(args: Namespace) -> None:
    """Raises ValueError where subjects or objects are not as many as prompts."""
    count = len(args.prompt)
    for flag, given in (("--subject", args.subject), ("--object", args.object)):
        if given and len(given) != count:
            raise ValueError(f"{count} --prompt need as many {flag}; got {len(given)}.")


def chosen_settings(args: Namespace, default: AddItSettings) -> AddItSettings:
    """The model's settings with those that the options name. Raises ValueError for what is out of range."""
    from dataclasses import replace

    changes: dict[str, Any] = {}
    if args.gamma is not None:
        changes["gamma"] = None if args.gamma == "auto" else args.gamma
    if args.start is not None:
        changes["start"] = args.start
    if args.blend is not None:
        changes["blend"] = None if args.blend == 1 else args.blend
    return replace(default, **changes)
