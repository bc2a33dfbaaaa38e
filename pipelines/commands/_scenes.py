"""What the commands that edit a scene share: options, the device, and the box that --box names."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from ..pictures.boxes import Box, corners

if TYPE_CHECKING:
    import torch

PLAYROOM = Path(__file__).resolve().parents[2] / "playroom_models"
# Spelt out again, so that --help does not load torch; a test compares them with the pipelines'.
FRAMINGS = ("squash", "pad", "crop")
BACKGROUNDS = ("keep", "mean", "white", "grey")


def add_scene(parser: ArgumentParser) -> None:
    """Add --scene and --output."""
    parser.add_argument("--scene", type=Path, required=True, metavar="FILE", help="a picture of any size")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the result, of the scene's size")


def add_sampling(parser: ArgumentParser, steps: int | None, samplers: tuple[str, ...]) -> None:
    """Add the options of sampling, and those of how an object's picture is shown to the encoder.

    The first of the samplers is the default; without `steps` both are left to the method.
    """
    left_to_method = "default: the method's own"
    add = parser.add_argument
    add("--seed", type=int, default=0, help="another seed, another result (default %(default)s)")
    add("--steps", type=int, default=steps, help="default %(default)s" if steps else left_to_method)
    sampler = samplers[0] if steps else None
    add("--sampler", choices=samplers, default=sampler, help="default %(default)s" if steps else left_to_method)
    add("--framing", choices=FRAMINGS, default=FRAMINGS[0], help="how the object's picture becomes square")
    add("--background", choices=BACKGROUNDS, default=BACKGROUNDS[0], help="what is seen around the object")
    add("--device", help="such as cpu or cuda:0 (default: a GPU if there is one)")


def add_region(parser: ArgumentParser) -> None:
    """Add --expansion and --working-size."""
    add = parser.add_argument
    add("--expansion", type=float, default=0.5, metavar="X", help="what is seen around the region, in its sides")
    add("--working-size", type=int, metavar="PX", help="the region's longer side for the model (default: its own)")


def device_of(args: Namespace) -> tuple[torch.device, torch.dtype]:
    """Where to compute, and in which precision."""
    import torch

    device = torch.device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return device, torch.float32 if device.type == "cpu" else torch.float16


def box_of(numbers: list[int]) -> Box:
    """The box of X Y WIDTH HEIGHT. Raises ValueError for a side below 1 px."""
    x, y, width, height = numbers
    if width < 1 or height < 1:
        raise ValueError(f"--box needs a width and a height of 1 px or more; got {width} and {height}.")
    return corners(x, y, width, height)
