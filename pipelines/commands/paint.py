"""`visual-insertion paint`: Paint by Example without ComfyUI: a pictured object into a mask of a scene."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from .insert import BACKGROUNDS, FRAMINGS, MISSING, OK, PLAYROOM, PROBLEM, _open, _save, _say

# Spelt out again, so that --help does not load torch; a test compares them with the pipeline's.
SAMPLERS = ("plms", "ddim", "euler", "euler_ancestral")
LATENT_MASKS = ("rounded", "nearest", "touched", "soft")


def register(subparsers: Any) -> None:
    """Add `paint`."""
    text = "paint a pictured object into a mask of a scene (Paint by Example)"
    parser: ArgumentParser = subparsers.add_parser("paint", help=text, description=text)
    parser.set_defaults(run=run)
    add = parser.add_argument
    add("--scene", type=Path, required=True, metavar="FILE", help="a picture of any size; 512x512 is what it knows")
    add("--mask", type=Path, required=True, metavar="FILE", help="white where the object goes, of the scene's size")
    add("--exemplar", type=Path, required=True, metavar="FILE", help="the object, large in the frame")
    add("--exemplar-mask", type=Path, metavar="FILE", help="white where the object is: the picture is cut to it")
    add("--output", type=Path, required=True, metavar="FILE", help="the result, of the scene's size")
    add("--models", type=Path, default=PLAYROOM / "paint_by_example", metavar="FOLDER", help="a diffusers folder")
    add("--similarity", type=float, default=5.0, help="guidance: how much like the exemplar (default %(default)s)")
    add("--seed", type=int, default=0, help="default %(default)s")
    add("--steps", type=int, default=50, help="default %(default)s")
    add("--sampler", choices=SAMPLERS, default=SAMPLERS[0], help="default %(default)s, the original's")
    add("--mask-resize", choices=LATENT_MASKS, default=LATENT_MASKS[0], help="the mask in latent cells")
    add("--framing", choices=FRAMINGS, default=FRAMINGS[0], help="squash: the original; crop: diffusers")
    add("--background", choices=BACKGROUNDS, default=BACKGROUNDS[0], help="what is seen around the exemplar's object")
    add("--device", help="such as cpu or cuda:0 (default: a GPU if there is one)")


def run(args: Namespace) -> int:
    """Paint; 0 done, 1 unusable pictures, models or output, 2 a file or library is missing."""
    try:
        _paint(args)
    except FileNotFoundError as error:
        return _say(str(error), MISSING)
    except ImportError as error:
        return _say(f"{error}. Install the pack with its 'train' extra.", MISSING)
    except (OSError, ValueError, RuntimeError) as error:
        return _say(str(error), PROBLEM)
    return OK


def _paint(args: Namespace) -> None:
    from PIL import Image

    scene, mask, exemplar = _open(args.scene), _open(args.mask), _open(args.exemplar)
    exemplar_mask = _open(args.exemplar_mask) if args.exemplar_mask else None
    if args.output.suffix.lower() not in Image.registered_extensions():
        raise ValueError(f"{args.output} names no picture format; use .png, .jpg or .webp.")
    if not args.output.parent.is_dir():
        raise FileNotFoundError(f"The folder of {args.output} does not exist.")

    import torch
    from tqdm import tqdm
    from transformers.utils.logging import disable_progress_bar

    from ..paint_by_example.pipeline import PaintByExamplePipeline

    disable_progress_bar()
    device = torch.device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    dtype = torch.float32 if device.type == "cpu" else torch.float16
    pipeline = PaintByExamplePipeline.from_folder(args.models, device, dtype)
    with tqdm(total=args.steps, desc="painting", unit="step") as bar:
        result = pipeline(
            scene,
            mask,
            exemplar,
            exemplar_mask,
            similarity=args.similarity,
            steps=args.steps,
            seed=args.seed,
            sampler=args.sampler,
            framing=args.framing,
            background=args.background,
            mask_resize=args.mask_resize,
            callback=lambda done, total, latents: bar.update(),
        )
    _save(result.pictures()[0], args.output)
    print(args.output)
