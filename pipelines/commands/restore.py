"""`visual-insertion restore`: give a scene back what an edit by any model should not have touched, without ComfyUI."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from functools import partial
from pathlib import Path
from typing import Any

from ..bulk.pairs import Columns
from ..bulk.tasks import Making, Task, making
from ..provenance import Origin
from . import MISSING, _many, _scenes, outcome, say
from ._on_servers import OnServers

# Spelt out again, so that --help does not load torch; a test compares them with the pipeline's.
MASK_USES = ("limit", "force")
COLUMNS = Columns(needed=("scene", "edited"), files=("mask",), seed=False)
FOLDERS = {"scene": "scenes", "edited": "edits", "mask": "masks"}  # options, by column
OF_ONE = ("scene", "edited", "mask", "object_picture", "effect", "object", "layer")  # of a single picture
RESTORING = {  # the workflow of servers
    "scene": {"class_type": "LoadImage", "inputs": {"image": ""}, "_meta": {"title": "Scene"}},
    "edited": {"class_type": "LoadImage", "inputs": {"image": ""}, "_meta": {"title": "Edited"}},
    "mask": {"class_type": "LoadImageMask", "inputs": {"image": "", "channel": "red"}, "_meta": {"title": "Mask"}},
    "restored": {
        "class_type": "RestoreScene",
        "inputs": {
            **{name: [name, 0] for name in ("scene", "edited", "mask")},
            **{"mask_use": "limit", "align_geometry": True, "match_colour": True, "sensitivity": 1.0, "feather": -1},
        },
    },
    "result": {"class_type": "SaveImage", "inputs": {"images": ["restored", 0], "filename_prefix": "restored"}},
}
ON_SERVERS = OnServers(
    name="restore_scene",
    shipped=lambda: RESTORING,
    titles={"scene": "Scene", "edited": "Edited", "mask": "Mask"},
    inputs={name: name for name in ("mask_use", "sensitivity", "feather")},
    local=("vae", "no_align", "no_colour"),
)


def register(subparsers: Any) -> None:
    """Add `restore`."""
    text = "keep what an edit by any model put into a scene, and give every other pixel back"
    parser: ArgumentParser = subparsers.add_parser("restore", help=text, description=text)
    parser.set_defaults(run=restore_one_or_many)
    add = parser.add_argument
    _scenes.add_scene(parser, many=_many.OUTPUT_HELP)
    _many.add_pairs(parser, COLUMNS, FOLDERS)
    several = "what a model made of the scene, of any size; of several the results are numbered: result_1.png, ..."
    add("--edited", type=Path, nargs="+", metavar="FILE", help=several)
    where = "white where the edit may show, of the scene's size; black is none, then it is found"
    add("--mask", type=Path, metavar="FILE", help=where)
    use = "limit: nothing outside the mask changes; force: all inside it is the edit's (default %(default)s)"
    add("--mask-use", choices=MASK_USES, default=MASK_USES[0], help=use)
    add("--vae", type=Path, metavar="FOLDER", help="the edit's VAE, a diffusers folder: fainter shadows are then found")
    add("--no-align", action="store_true", help="leave shift, zoom and turn of the whole picture")
    add("--no-colour", action="store_true", help="leave what happened to all colours alike")
    more = "above 1 fainter changes are kept too, below 1 only clearer ones (default %(default)s)"
    add("--sensitivity", type=float, default=1.0, metavar="X", help=more)
    add("--feather", type=int, metavar="PX", help="width of an object's soft edge (default: 1/220 of the longer side)")
    pasted = "the picture of the object that was asked for: the report says if it was merely pasted"
    add("--object-picture", type=Path, metavar="FILE", help=pasted)
    add("--effect", type=Path, metavar="FILE", help="write a mask of all that differs: object, shadow, reflection")
    add("--object", type=Path, metavar="FILE", help="write a mask of the object alone")
    add("--layer", type=Path, metavar="FILE", help="write the object on transparent ground: .png, .webp or .tiff")


def restore_one_or_many(args: Namespace) -> int:
    """Restore one scene or many; 0 done, 1 a problem or failures, 2 wrong use, or something is missing."""
    lack = _many.lack(args, OF_ONE, on_servers=ON_SERVERS, needed=("scene", "edited"), folders=FOLDERS)
    if lack:
        return say(lack, MISSING)
    return outcome(restore_many if args.pairs else restore, args)


def restore_many(args: Namespace) -> int:
    """Restore each pair's scene; 1 where some failed. Raises what `_many.make` does."""
    return _many.make(args, restoring, COLUMNS, FOLDERS, files=lambda: {"vae": args.vae}, on_servers=ON_SERVERS)


def restoring(args: Namespace, origin: Origin) -> Making:
    """What a worker process does with the VAE that a command may name. Its records have the reports."""
    from ..pictures.files import mask_tensor, picture_tensor
    from ..pictures.opening import open_picture
    from ..provenance import sha256_of_files

    vae = _load_vae(args.vae) if args.vae else None
    names = ("mask_use", "no_align", "no_colour", "sensitivity", "feather")
    settings = {name: getattr(args, name) for name in names}

    def make(task: Task) -> _scenes.Result:
        scene_picture, scene = _scenes.open_scene(_many.of_one(args, task))
        mask = mask_tensor(open_picture(task.files["mask"])) if "mask" in task.files else None
        edited = picture_tensor(open_picture(task.files["edited"], deep=True))
        restored = _restoring(args, scene, mask, vae)(edited)
        record = origin.record(settings, {name: sha256_of_files(path) for name, path in task.files.items()})
        return _scenes.Result(restored.images, scene_picture, {**record, "report": restored.reports[0].text()})

    return making(make)


def restore(args: Namespace) -> None:
    """Restore and write. Raises ValueError or FileNotFoundError for unusable pictures, models or outputs."""
    from PIL import Image

    from ..pictures.files import check_output, mask_tensor, picture_tensor
    from ..pictures.opening import open_picture
    from ..whole_files import check_not_read

    scene_picture, scene = _scenes.open_scene(args)
    outputs = {"output": args.output, "effect": args.effect, "object": args.object, "layer": args.layer}
    outputs = {kind: path for kind, path in outputs.items() if path}
    if len({path.resolve() for path in outputs.values()}) < len(outputs):
        raise ValueError("Two of --output, --effect, --object and --layer name the same file; give each its own.")
    count = len(args.edited)
    results = [_numbered(output, number, count) for output in outputs.values() for number in range(1, count + 1)]
    check_not_read(results, [args.scene, *args.edited, args.mask, args.object_picture])
    modes = {"effect": "L", "object": "L", "layer": "RGBA"}
    for kind, mode in modes.items():
        if kind in outputs:
            check_output(outputs[kind], Image.new(mode, scene_picture.size), f"the {kind}")
    mask = mask_tensor(open_picture(args.mask)) if args.mask else None
    for path in args.edited:
        open_picture(path, deep=True)  # to its end, as nothing is to be written if one is cut off, and not kept
    object_picture = picture_tensor(open_picture(args.object_picture)) if args.object_picture else None

    from ..restoration.copies import reports_with_copies

    restoring_scene = _restoring(args, scene, mask, _load_vae(args.vae) if args.vae else None)
    for number, path in enumerate(args.edited, 1):
        restored = restoring_scene(picture_tensor(open_picture(path, deep=True)))
        reports = restored.reports if object_picture is None else reports_with_copies(restored, object_picture)
        if count > 1:
            print(path)
        print(reports[0].text())
        for kind, output in outputs.items():
            output = _numbered(output, number, count)
            _write(kind, output, scene, scene_picture, restored)
            print(output)


def _numbered(path: Path, number: int, count: int) -> Path:
    """The path of a result, with its number where there are several."""
    return path.with_stem(f"{path.stem}_{number}") if count > 1 else path


def _restoring(args: Namespace, scene: Any, mask: Any, vae: Any) -> Any:
    """What restores a scene [1,H,W,C] after an edit, with the options' settings."""
    from ..restoration.restore import restore as restored_scene
    from ..sampling.latents import round_trip

    return partial(
        restored_scene,
        scene,
        mask=mask,
        mask_use=args.mask_use,
        align_geometry=not args.no_align,
        match_colour=not args.no_colour,
        sensitivity=args.sensitivity,
        feather=args.feather,
        round_trip=round_trip(vae, scene, 64) if vae else None,
    )


def _load_vae(folder: Path) -> Any:
    """A diffusers VAE alone. Raises what `load_model` does."""
    from diffusers import AutoencoderKL

    from ..weights.pretrained import load_model

    return load_model(AutoencoderKL, folder)


def _write(kind: str, path: Path, scene: Any, scene_picture: Any, restored: Any) -> None:
    """Write one of a restored scene's pictures or masks."""
    from ..layers.matting import object_layers
    from ..pictures.files import pil_pictures, save_picture

    if kind == "output":
        save_picture(pil_pictures(restored.images)[0], path, like=scene_picture)
    elif kind == "layer":
        layers = object_layers(scene, restored.images, restored.objects, restored.effect)
        save_picture(pil_pictures(layers)[0], path, like=scene_picture)
    else:
        mask = restored.effect if kind == "effect" else restored.objects
        save_picture(pil_pictures(mask[..., None].expand(-1, -1, -1, 3))[0].convert("L"), path)
