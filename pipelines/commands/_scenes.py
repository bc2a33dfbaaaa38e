"""What the commands that edit a scene share: options, the device, and the box that --box names."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..pictures.boxes import Box, corners
from ..provenance import Origin, is_weights, made_by, sha256_of_models
from ..weights.licences import licences_of

if TYPE_CHECKING:
    import torch
    from PIL import Image

PLAYROOM = Path(__file__).resolve().parents[2] / "playroom_models"
# Spelt out again, so that --help does not load torch; a test compares them with the pipelines'.
FRAMINGS = ("squash", "pad", "crop")
BACKGROUNDS = ("keep", "mean", "white", "grey", "auto")
LARGE = 4096  # px
OUTPUT_HELP = "the result, of the scene's size: .png, .webp and .tiff to the last bit, .bmp without alpha, .jpg nearly"


@dataclass(frozen=True)
class Result:
    """A picture that is made and not written yet: pixels [1,H,W,3|4] in 0..1, its scene, and what made it."""

    images: torch.Tensor
    scene: Image.Image
    record: Mapping[str, Any] | None

    def save(self, path: Path) -> None:
        """Write it, whole or not at all; the file says of its colours what that of the scene does. Raises OSError."""
        from ..pictures.files import pil_pictures, save_picture

        save_picture(pil_pictures(self.images)[0], path, like=self.scene, record=self.record)


def add_scene(parser: ArgumentParser, *, many: str = "") -> None:
    """Add --scene and --output; `many` says what these are in a run over many pairs, where the command has one."""
    parser.add_argument("--scene", type=Path, required=not many, metavar="FILE", help="a picture of any size")
    help_of_output = f"{OUTPUT_HELP}; {many}" if many else OUTPUT_HELP
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help=help_of_output)


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


def add_restoring(parser: ArgumentParser) -> None:
    """Add --no-restore."""
    raw = "leave the picture as the model made it; by default all that the object did not change is the scene's again"
    parser.add_argument("--no-restore", action="store_true", help=raw)


def add_record(parser: ArgumentParser) -> None:
    """Add --no-metadata."""
    what = "do not write into a PNG what made it: the command, settings, versions, and hashes of models and pictures"
    parser.add_argument("--no-metadata", action="store_true", help=what)


def start_record(
    args: Namespace, files: Mapping[str, Path | None], origin: Origin | None = None, **settings: Any
) -> Future[dict[str, Any] | None]:
    """The record of a result that is about to be made, from `files` by what they are; None in the end if not wanted.

    Gigabytes of weights are hashed in a thread of their own, while the result is made; or once before, for all results
    of an `origin`.
    """

    def record() -> dict[str, Any] | None:
        if args.no_metadata or args.output.suffix.lower() != ".png":
            return None
        hashes = {name: sha256_of_models(path) for name, path in files.items() if path}
        if origin:
            return origin.record(settings, hashes)
        weights = {name: path for name, path in files.items() if path and is_weights(path)}
        return made_by(settings=settings, sha256=hashes, licences=licences_of(weights, hashes))

    background = ThreadPoolExecutor(1, "record")
    future = background.submit(record)
    background.shutdown(wait=False)
    return future


def restored(
    scene: torch.Tensor,
    edited: torch.Tensor,
    vae: Any,
    *,
    mask: torch.Tensor | None = None,
    relevance: torch.Tensor | None = None,
) -> torch.Tensor:
    """The scene [1,H,W,C] with what our models put into it [1,H,W,3], the rest bit for bit its own: [1,H,W,3].

    Outside `mask` nothing changes; `relevance` is that of each pixel to the model. Our models keep every pixel in its
    place, so there is no geometry to undo.
    """
    from ..restoration.restore import restore
    from ..sampling.latents import round_trip

    drift = round_trip(vae, scene)
    found = restore(scene, edited, mask=mask, relevance=relevance, align_geometry=False, round_trip=drift)
    return found.images[..., :3]


def open_scene(args: Namespace) -> tuple[Image.Image, torch.Tensor]:
    """The scene's picture, and its pixels [1,H,W,C] in 0..1; alpha is kept.

    Raises FileNotFoundError, or ValueError for a scene that cannot be used or an --output that cannot hold a result.
    """
    from ..pictures.files import check_output, picture_tensor
    from ..pictures.opening import open_picture
    from ..pictures.scene import check_scene

    picture = open_picture(args.scene, deep=True)
    check_output(args.output, picture)
    scene = picture_tensor(picture)
    check_scene(scene)
    return picture, scene


def open_object(path: Path, mask: Path | None) -> tuple[Image.Image, Image.Image | None]:
    """An object's picture and its mask; raises what `open_picture` does.

    A picture of more than `LARGE` px on both sides comes smaller, box filtered, as long as no mask has its size: an
    encoder sees a few hundred, and as numbers of 32 bits it would fill gigabytes.
    """
    from ..pictures.opening import eight_bits, open_picture

    picture = open_picture(path, deep=True)
    if mask:
        return picture, open_picture(mask)
    factor = min(picture.size) // (LARGE // 2)
    if factor > 1:
        picture = eight_bits(picture)
        picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB").reduce(factor)
    return picture, None


def device_of(args: Namespace) -> tuple[torch.device, torch.dtype]:
    """Where to compute, and in which precision. Raises ValueError for a device that is not there."""
    import torch

    name = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except Exception as error:  # RuntimeError, AssertionError, NotImplementedError: each kind of device has its own
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"--device {name} cannot be used here: {reason}. Use cpu, or leave it out.") from error
    return device, torch.float32 if device.type == "cpu" else torch.float16


def box_of(numbers: list[int]) -> Box:
    """The box of X Y WIDTH HEIGHT. Raises ValueError for a side below 1 px."""
    x, y, width, height = numbers
    if width < 1 or height < 1:
        raise ValueError(f"--box needs a width and a height of 1 px or more; got {width} and {height}.")
    return corners(x, y, width, height)
