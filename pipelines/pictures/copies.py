"""A detector of copy-paste: results whose inserted pixels are the object picture's own.

Identity metrics reward pasting above everything else, so it is told apart: the object picture is laid over what
appeared at many sizes, as it is and mirrored, in its own shape and in that of what appeared. Where it fits best it is
fitted to a fraction of a pixel, twice as large: of pasted pixels the fine structure then agrees as well, of an object
that only looks alike it does not. Light and contrast do not matter. Turned or warped copies escape it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from scipy import fft, ndimage
from torch import Tensor

from .boxes import Box
from .masks import array_box

SIDE = 48  # px, the longer side of what appeared where the object picture is looked for
FINER = 2  # times that where it is fitted and compared
SCALES = np.geomspace(0.6, 1.75, 20)  # of the object picture to what appeared: either may have a margin or a shadow
ALIKE = 0.05  # shapes that differ by less are tried as one
MARGIN = 0.4  # of what appeared, searched around it
PLAIN = (2 / 255) ** 2  # variance of light, below which nothing can be told
SMOOTHED = 0.7  # px, so that a fraction of a pixel makes no difference
TRIED = 4  # places that are fitted
COMPARED = 2  # of them that are fitted again, larger
STEPS = 6  # of a fit, at each size
FARTHEST = 0.25  # of the object, that a fit may move or stretch it
FINE = 8.0  # px of the larger size, sigma: what varies more slowly is left out of the fine structure
FLAGGED = 0.858  # above it lies 1 % of what only looks alike, on half of the photographs of `bench copy_paste`


class Fit(NamedTuple):
    """Where a template lies in a picture: its middle, px, and how wide and high each of its pixels is there, px."""

    x: float
    y: float
    wide: float
    high: float


@dataclass(frozen=True)
class CutOut:
    """The object's picture and its opacity, 0 or 255, cut to the object's box."""

    picture: Image.Image
    opacity: Image.Image

    def mirrored(self) -> CutOut:
        """The same, left and right exchanged."""
        return CutOut(ImageOps.mirror(self.picture), ImageOps.mirror(self.opacity))


@dataclass(frozen=True)
class Template:
    """A cut-out at one size: pixels [h,w,C] in 0..1 and their weights [h,w], 0 or 1."""

    cut_out: CutOut
    pixels: np.ndarray
    weight: np.ndarray


def copy_paste_score(result: Image.Image, box: Box, picture: Image.Image, mask: np.ndarray | None = None) -> float:
    """-1..1: how well the object picture (inside its mask [h,w], if there is one) explains what appeared in `box`.

    It is the mean of two correlations, of the colours and of their fine structure, where the object picture fits best.
    """
    inside = np.ones(picture.size[::-1], bool) if mask is None else mask
    cut = array_box(inside)
    cut_out = CutOut(picture.convert("RGB").crop(cut), Image.fromarray(inside.astype(np.uint8) * 255).crop(cut))
    coarse = _pixels(_surroundings(result, box, SIDE), "L")
    appeared = np.array([box[2] - box[0], box[3] - box[1]]) * SIDE / max(box[2] - box[0], box[3] - box[1])
    templates = templates_for(cut_out, appeared, limits=coarse.shape[1::-1])
    if not templates:
        return -1.0
    fits = [(*fitted(coarse, template, fit), template) for template, fit in best_places(coarse, templates)]
    fits.sort(key=lambda each: each[0], reverse=True)
    finer = _pixels(_surroundings(result, box, FINER * SIDE), "RGB")
    ratio = np.array(finer.shape[1::-1]) / coarse.shape[1::-1]
    return max(compared(finer, template, fit, ratio) for _, fit, template in fits[:COMPARED])


def _surroundings(result: Image.Image, box: Box, side: int) -> Image.Image:
    """The part of the result around a box, scaled so that the box's longer side is `side` px."""
    x0, y0, x1, y1 = box
    longer = max(x1 - x0, y1 - y0)
    margin = round(MARGIN * longer)
    part = ImageOps.expand(result, margin).crop((x0, y0, x1 + 2 * margin, y1 + 2 * margin))
    size = (round(part.width * side / longer), round(part.height * side / longer))
    return part.resize(size, Image.Resampling.BICUBIC, reducing_gap=3)


def _pixels(picture: Image.Image, mode: str) -> np.ndarray:
    """A picture, grey or in colour, as [H,W,C] in 0..1, smoothed."""
    pixels = np.atleast_3d(np.asarray(picture.convert(mode), np.float32)) / 255
    return np.asarray(ndimage.gaussian_filter(pixels, (SMOOTHED, SMOOTHED, 0)))


def template_of(cut_out: CutOut, size: tuple[int, int], mode: str) -> Template:
    """A cut-out at (width, height), grey or in colour."""
    small = cut_out.picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=3)
    weight = np.asarray(cut_out.opacity.resize(size, Image.Resampling.BILINEAR)) > 127
    return Template(cut_out, _pixels(small, mode), weight.astype(np.float32))


def templates_for(cut_out: CutOut, appeared: np.ndarray, *, limits: tuple[int, ...]) -> list[Template]:
    """The cut-out at all sizes that fit into (width, height), each also mirrored; (width, height) `appeared`."""
    shapes = [np.array(cut_out.picture.size) * SIDE / max(cut_out.picture.size)]
    if abs(appeared[0] / appeared[1] / (shapes[0][0] / shapes[0][1]) - 1) > ALIKE:
        shapes.append(appeared)
    sizes = [
        (max(4, round(width * scale)), max(4, round(height * scale))) for width, height in shapes for scale in SCALES
    ]
    templates = []
    for laid in (cut_out, cut_out.mirrored()):
        templates += [template_of(laid, size, "L") for size in sizes if size[0] <= limits[0] and size[1] <= limits[1]]
    return templates


def best_places(light: np.ndarray, templates: list[Template]) -> list[tuple[Template, Fit]]:
    """The TRIED places of a picture [H,W,1] where templates correlate best, no two of neighbouring sizes."""
    height, width = light.shape[:2]
    laid = torch.zeros(2, len(templates), height, width)
    for number, template in enumerate(templates):
        rows, columns = template.weight.shape
        laid[0, number, :rows, :columns] = torch.from_numpy(template.pixels[..., 0])
        laid[1, number, :rows, :columns] = torch.from_numpy(template.weight)
    sizes = torch.tensor([template.weight.shape for template in templates])
    best, where = correlations(torch.from_numpy(light[..., 0]), laid[0], laid[1], sizes=sizes).flatten(1).max(1)
    places: dict[int, Fit] = {}
    for number in best.argsort(descending=True).tolist():
        if number - 1 not in places and number + 1 not in places and len(places) < TRIED:
            y, x = divmod(int(where[number]), width)
            rows, columns = templates[number].weight.shape
            places[number] = Fit(x + (columns - 1) / 2, y + (rows - 1) / 2, 1.0, 1.0)
    return [(templates[number], fit) for number, fit in places.items()]


def correlations(light: Tensor, templates: Tensor, weights: Tensor, *, sizes: Tensor) -> Tensor:
    """Normalised cross-correlations [N,H,W] of templates [N,H,W] inside weights [N,H,W] with a picture [H,W], all 0..1.

    A template lies in the upper left corner of its [H,W] and is of sizes [N,2] (height, width); its correlation at
    (y, x) is that of the template laid with its corner there: -1 where it does not fit in, is plain, or lies on what
    is plain.
    """
    height, width = light.shape
    total = weights.sum((1, 2), keepdim=True).clamp(min=1)
    centred = (templates - (templates * weights).sum((1, 2), keepdim=True) / total) * weights
    power = (centred**2).sum((1, 2), keepdim=True)
    shape = (fft.next_fast_len(height, True), fft.next_fast_len(width, True))
    picture, square = torch.fft.rfft2(torch.stack([light, light**2]), s=shape)
    laid = torch.fft.rfft2(weights, s=shape).conj()
    spectra = (picture * torch.fft.rfft2(centred, s=shape).conj(), picture * laid, square * laid)
    products, sums, squares = (torch.fft.irfft2(one, s=shape)[:, :height, :width] for one in spectra)
    spread = squares - sums**2 / total
    values = products / (spread * power).clamp(min=1e-12).sqrt()
    rows = torch.arange(height)[None, :, None]
    columns = torch.arange(width)[None, None, :]
    fits = (rows <= height - sizes[:, 0, None, None]) & (columns <= width - sizes[:, 1, None, None])
    return values.masked_fill(~fits | (spread < PLAIN * total) | (power < PLAIN * total), -1.0)


def fitted(pixels: np.ndarray, template: Template, start: Fit) -> tuple[float, Fit]:
    """The best correlation with a picture [H,W,C] near a place, in grey, and that place.

    Gauss-Newton on position, width and height with contrast and brightness free: Lucas and Kanade's forward additive
    algorithm (Baker and Matthews 2004).
    """
    light = pixels.mean(-1)
    down, across = np.gradient(light)
    planes = torch.from_numpy(np.stack([light, across, down]))[None]
    inside = template.weight > 0
    height, width = inside.shape
    y, x = (plane[inside] for plane in np.mgrid[:height, :width].astype(np.float32))
    x -= (width - 1) / 2
    y -= (height - 1) / 2
    wanted = template.pixels.mean(-1)[inside]
    best = (-1.0, start)
    fit = start
    for _ in range(STEPS + 1):
        light_below, dx, dy = sampled(planes, (height, width), fit)[:, inside]
        score = correlation(light_below, wanted)
        if score > best[0]:
            best = (score, fit)
        columns = np.stack([dx, dx * x, dy, dy * y, light_below, np.ones_like(x)])
        normal = columns @ columns.T + 1e-6 * np.eye(len(columns), dtype=np.float32)
        moves = np.linalg.solve(normal, columns @ wanted)
        if moves[4] <= 0:  # of opposite contrast
            break
        move_x, wider, move_y, higher = (moves[:4] / moves[4]).tolist()
        fit = Fit(fit.x + move_x, fit.y + move_y, fit.wide + wider, fit.high + higher)
        if not is_near(fit, start, max(height, width)):
            break
    return best


def is_near(fit: Fit, start: Fit, side: int) -> bool:
    """Whether a template of this longer side, px, lies about where it started."""
    moved = max(abs(fit.x - start.x), abs(fit.y - start.y)) / (start.wide * side)
    stretched = max(abs(fit.wide / start.wide - 1), abs(fit.high / start.high - 1))
    return moved < FARTHEST and stretched < FARTHEST


def sampled(planes: Tensor, size: tuple[int, int], fit: Fit) -> np.ndarray:
    """What of planes [1,C,H,W] lies below a template of (height, width), [C,h,w]."""
    rows = ((torch.arange(size[0]) - (size[0] - 1) / 2) * fit.high + fit.y) * 2 + 1
    columns = ((torch.arange(size[1]) - (size[1] - 1) / 2) * fit.wide + fit.x) * 2 + 1
    y, x = torch.meshgrid(rows / planes.shape[2] - 1, columns / planes.shape[3] - 1, indexing="ij")
    grid = torch.stack([x, y], -1)[None]
    return torch.nn.functional.grid_sample(planes, grid, padding_mode="border", align_corners=False)[0].numpy()


def compared(pixels: np.ndarray, template: Template, fit: Fit, ratio: np.ndarray) -> float:
    """The score of a template that lies in a picture `ratio` (x, y) times smaller than this one [H,W,3] at `fit`."""
    height, width = template.weight.shape
    laid = (width * fit.wide * ratio[0], height * fit.high * ratio[1])
    size = (max(4, round(laid[0])), max(4, round(laid[1])))
    finer = template_of(template.cut_out, size, "RGB")
    x, y = ((np.array([fit.x, fit.y]) + 0.5) * ratio - 0.5).tolist()
    _, fit = fitted(pixels, finer, Fit(x, y, laid[0] / size[0], laid[1] / size[1]))
    below = sampled(torch.from_numpy(pixels).movedim(-1, 0)[None], (size[1], size[0]), fit)
    own = np.moveaxis(finer.pixels, -1, 0)
    inside = finer.weight > 0
    alike = correlation(below[:, inside], own[:, inside])
    fine_below, fine_own = (fine_structure(planes, finer.weight)[:, inside] for planes in (below, own))
    return (alike + correlation(fine_below, fine_own)) / 2


def fine_structure(planes: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Planes [C,h,w] without what varies slowly inside the weight [h,w]."""
    blurred = ndimage.gaussian_filter(planes * weight, (0, FINE, FINE), truncate=2.5)
    return planes - blurred / (ndimage.gaussian_filter(weight, FINE, truncate=2.5) + 1e-3)


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """The correlation of pixels [..., N], each channel's mean left out; what is plain correlates with nothing."""
    one, other = (pixels - pixels.mean(-1, keepdims=True) for pixels in (one, other))
    spread = max(float((one**2).mean()), PLAIN / 4) * max(float((other**2).mean()), PLAIN / 4)
    return float((one * other).mean()) / spread**0.5
