"""`visual-insertion insert`: put a pictured object into a scene, without ComfyUI."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

OK, PROBLEM, MISSING = 0, 1, 2
PLAYROOM = Path(__file__).resolve().parents[2] / "playroom_models"
# Spelt out again, so that --help does not load torch; a test compares them with the pipeline's.
SAMPLERS = ("euler_ancestral", "euler", "ddim", "dpmpp_2m")
FRAMINGS = ("squash", "pad", "crop")
BACKGROUNDS = ("keep", "mean", "white", "grey")


def register(subparsers: Any) -> None:
    """Add `insert`."""
    text = "put a pictured object into a scene"
    parser: ArgumentParser = subparsers.add_parser("insert", help=text, description=text)
    parser.set_defaults(run=run)
    add = parser.add_argument
    add("--scene", type=Path, required=True, metavar="FILE", help="a picture of any size")
    add("--object", type=Path, required=True, metavar="FILE", help="the object, large in the frame")
    add("--object-mask", type=Path, metavar="FILE", help="white where the object is, of the picture's size")
    add("--output", type=Path, required=True, metavar="FILE", help="the result, of the scene's size")
    add("--models", type=Path, default=PLAYROOM, metavar="FOLDER", help="a diffusers InstructPix2Pix folder")
    add("--embedding-optimizer", type=Path, metavar="FILE", help="default: the one in the models' folder")
    add("--image-encoder", type=Path, metavar="FOLDER", help="CLIP vision; default: the one in the models' folder")
    add("--detail-encoder", type=Path, metavar="FOLDER", help="DINOv2; for optimizers trained with a second encoder")
    add("--seed", type=int, default=0, help="another seed, another place for the object (default %(default)s)")
    add("--steps", type=int, default=20, help="default %(default)s")
    add("--sampler", choices=SAMPLERS, default=SAMPLERS[0], help="default %(default)s")
    add("--object-scale", type=float, metavar="X", help="how strongly the object is wanted (default: the models')")
    add("--scene-scale", type=float, metavar="X", help="how strongly the scene is kept (default: the models')")
    add("--framing", choices=FRAMINGS, default=FRAMINGS[0], help="how the object's picture becomes square")
    add("--background", choices=BACKGROUNDS, default=BACKGROUNDS[0], help="what is seen around the object")
    add("--device", help="such as cpu or cuda:0 (default: a GPU if there is one)")


def run(args: Namespace) -> int:
    """Insert; 0 done, 1 unusable pictures, models or output, 2 a file or library is missing."""
    try:
        _insert(args)
    except FileNotFoundError as error:
        return _say(str(error), MISSING)
    except ImportError as error:
        return _say(f"{error}. Install the pack with its 'train' extra.", MISSING)
    except (OSError, ValueError, RuntimeError) as error:
        return _say(str(error), PROBLEM)
    return OK


def _insert(args: Namespace) -> None:
    from PIL import Image

    scene, pictured = _open(args.scene), _open(args.object)
    mask = _open(args.object_mask) if args.object_mask else None
    if args.output.suffix.lower() not in Image.registered_extensions():
        raise ValueError(f"{args.output} names no picture format; use .png, .jpg or .webp.")
    if not args.output.parent.is_dir():
        raise FileNotFoundError(f"The folder of {args.output} does not exist.")

    from dataclasses import replace

    import torch
    from tqdm import tqdm
    from transformers.utils.logging import disable_progress_bar

    from ..visual_insertion.pipeline import VisualInsertionPipeline

    disable_progress_bar()
    device = torch.device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    pipeline = VisualInsertionPipeline.from_folder(
        args.models,
        args.embedding_optimizer,
        args.image_encoder,
        device,
        torch.float32 if device.type == "cpu" else torch.float16,
        args.detail_encoder,
    )
    scales = {"object_scale": args.object_scale, "scene_scale": args.scene_scale}
    guidance = replace(pipeline.guidance, **{name: x for name, x in scales.items() if x is not None})
    with tqdm(total=args.steps, desc="inserting", unit="step") as bar:
        result = pipeline(
            scene,
            pictured,
            mask,
            guidance,
            steps=args.steps,
            seed=args.seed,
            sampler=args.sampler,
            framing=args.framing,
            background=args.background,
            callback=lambda done, total, latents: bar.update(),
        )
    _save(result.pictures()[0], args.output)
    print(args.output)


def _open(path: Path) -> Image.Image:
    """The picture in a file. Raises FileNotFoundError, or ValueError for anything but a picture."""
    from PIL import Image, UnidentifiedImageError

    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist.")
    try:
        picture = Image.open(path)
        picture.load()
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"{path} is not a readable picture: {error}") from error
    return picture


def _save(picture: Image.Image, path: Path) -> None:
    """Write under another name in the same folder, then rename: the file is whole or not there."""
    part = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        picture.save(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _say(text: str, code: int) -> int:
    print(text, file=sys.stderr)
    return code
