"""`visual-insertion add`: add what a prompt says to a scene, by Add-it and without training, without ComfyUI."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import _scenes, outcome

if TYPE_CHECKING:
    import torch

    from ..add_it.pipeline import AddItPipeline
    from ..add_it.windows import AddItSettings

PLAYROOM = Path(__file__).resolve().parents[2] / "playroom_flux"


def register(subparsers: Any) -> None:
    """Add `add`."""
    text = "add what a prompt says to a scene, without training (Add-it)"
    parser: ArgumentParser = subparsers.add_parser("add", help=text, description=text)
    parser.set_defaults(run=partial(outcome, add_to_scene))
    add = parser.add_argument
    _scenes.add_scene(parser)
    whole = "of the whole new picture, such as: a room with a red ball on the floor; again for each further addition"
    add("--prompt", action="append", required=True, metavar="TEXT", help=whole)
    named = "what is added, in the prompt's words, such as: red ball; one for each prompt"
    add("--subject", action="append", required=True, metavar="TEXT", help=named)
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


def add_to_scene(args: Namespace) -> None:
    """Add and write. Raises ValueError or FileNotFoundError for unusable pictures, models, prompts or output."""
    from ..pictures.files import picture_tensor, pil_pictures, save_picture
    from ..pictures.scene import with_alpha
    from ..whole_files import check_not_read

    objects = args.object or []
    check_not_read([args.output], [args.scene, *objects])
    check_counts(args)
    scene_picture, scene = _scenes.open_scene(args)
    pictures: list[torch.Tensor | None] = [None] * len(args.prompt)
    if objects:
        pictures = [picture_tensor(_scenes.open_object(path, None)[0].convert("RGB")) for path in objects]

    from transformers.utils.logging import disable_progress_bar

    from ..progress import ProgressBar
    from ..systems import load_add_it

    disable_progress_bar()
    device, dtype = _scenes.device_of(args)
    pipeline: AddItPipeline = load_add_it(args.models, device, dtype)
    settings = chosen_settings(args, pipeline.defaults.settings)
    for prompt, subject in zip(args.prompt, args.subject, strict=True):
        pipeline.find_subject(prompt, subject, args.occurrence)  # all of them, before the first one runs

    told = {"prompts": args.prompt, "subjects": args.subject, "seed": args.seed, "steps": args.steps}
    files = {"models": args.models, "scene": args.scene} | {f"object {n}": file for n, file in enumerate(objects)}
    record = _scenes.start_record(args, files, **told, add_it=asdict(settings))
    images = scene[..., :3]
    said = args.scene_prompt
    for number, prompt in enumerate(args.prompt):
        with ProgressBar(f"adding {args.subject[number]}", "step") as bar:
            added = pipeline(
                images,
                prompt,
                args.subject[number],
                scene_prompt=said,
                picture=pictures[number],
                occurrence=args.occurrence,
                settings=settings,
                steps=args.steps,
                seed=args.seed + number,
                guidance=args.guidance,
                refined=args.refine,
                invert=args.invert,
                progress=bar,
            )
        for note in added.notes:
            print(note)
        images = added.images if args.no_restore else restored(images, added, pipeline)
        said = prompt
    save_picture(pil_pictures(with_alpha(images, scene))[0], args.output, like=scene_picture, record=record.result())
    print(args.output)


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
