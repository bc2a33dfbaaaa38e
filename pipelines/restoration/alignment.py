"""Where each place of a scene lies in an edited picture of it: shift, zoom, turn and stretch, to a part of a pixel.

Pictures are compared by local contrast, which light and colour leave alone. Correlation over a range of zooms says
where to start, coarse to fine steps of Gauss-Newton with weights that leave the edit itself out (Tukey's biweight;
Black and Anandan 1996) say the rest. What was estimated counts only where enough of the scene's texture is met again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from .geometry import Size, inside, places, size_of, stretched, uniform

LUMINANCE = (0.299, 0.587, 0.114)
COARSEST = 96  # px, of the longer side
WIDER = 1.5  # times as wide as the scene's the surroundings are, at most, that contrasts of a smaller edit are over
ZOOMS = tuple(1.06**step for step in range(-6, 7))
STARTS = 4  # that are followed from the coarsest level on
TUKEY = 4.685
SIMILARITY = np.array([[1, 0, 0, 0, 1, 0], [0, -1, 0, 1, 0, 0], [0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1]], float)
TEXTURE = 0.012  # the local contrast, 0..1, from which on a place can be recognised
BLOCK = 24  # px, of what is met again or not
ALIKE = 0.75  # the correlation from which on a block is
ENOUGH_BLOCKS = 6
ENOUGH_SHARE = 0.12  # of the textured blocks
MOST_SHARE = 0.7  # of them: where fewer are met again, only those count
TEXTURED = 0.003  # smallest by largest eigenvalue of a map's normal equations: below it a scene fixes none
DETERMINED = 0.024  # the same for blocks that are met again, of few; of photographs, two thirds replaced: .028
MAJORITY = 0.6  # of the textured blocks, from which on they cannot be few that are alike by chance
SETTLED = 0.63  # of the blocks that are met again; of edits of photographs .7 and more are, by chance .57 and less
WAYS = tuple((down, right) for down in (-2, 0, 2) for right in (-2, 0, 2) if down or right)  # px
PLAUSIBLE = np.array([[0.4, 0.15, 0.5], [0.15, 0.4, 0.5]])  # how far a map may be from a mere change of size
BETTER = 1.1  # times as near a picture must be for geometry to be undone
SMALLEST = 16  # px, of a side: below it there is nothing to go by


class Stage(NamedTuple):
    """What is done at one resolution after the coarsest."""

    side: int  # px, longer
    steps: int  # of Gauss-Newton
    similar: bool  # whether only shift, zoom and turn are looked for
    kept: int  # maps that go on, the best ones


STAGES = (
    Stage(192, 10, similar=True, kept=3),
    Stage(384, 10, similar=False, kept=2),
    Stage(768, 5, similar=False, kept=1),
)
LARGE = 512  # px, longer side, from which on the finest resolution tells more


@dataclass(frozen=True)
class Alignment:
    """How an edited picture lies over its scene."""

    matrix: np.ndarray  # [2,3], see `geometry`
    matched: float  # share of the scene's textured blocks that are met again where it says
    trusted: bool  # whether that is enough to go by
    blank: bool  # whether the scene has too little texture for any alignment
    background: np.ndarray  # [h,w] bool, at a low resolution: the blocks that are met again


def luminance(picture: Tensor) -> np.ndarray:
    """Of a picture [H,W,3]: [H,W] float32."""
    return (picture.float() @ torch.tensor(LUMINANCE)).numpy()


def local_contrast(light: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(a luminance [H,W] less its local mean, by its local spread; that spread)."""
    smooth = ndimage.gaussian_filter(light, 1.0)
    difference = smooth - ndimage.gaussian_filter(smooth, 8.0)
    spread = np.sqrt(ndimage.gaussian_filter(difference**2, 8.0))
    return difference / (spread + TEXTURE), spread


def shrunk(light: np.ndarray, side: float) -> np.ndarray:
    """A luminance [H,W] with a longer side of at most so many px."""
    scale = min(1.0, side / max(light.shape))
    if scale == 1:
        return light
    size = [max(8, round(length * scale)) for length in light.shape]
    planes = torch.from_numpy(light)[None, None]
    return F.interpolate(planes, size, mode="bicubic", antialias=True)[0, 0].numpy()


class Level:
    """Scene and edited picture at one resolution, as contrasts."""

    def __init__(self, scene: np.ndarray, edited: np.ndarray, side: int):
        scene = shrunk(scene, min(side, WIDER * max(edited.shape)))
        edited = shrunk(edited, max(scene.shape))
        contrast, spread = local_contrast(scene)
        self.scene = torch.from_numpy(contrast)
        self.textured = block_means(torch.from_numpy(spread)[None])[0].numpy() > TEXTURE  # which blocks are, [h,w]
        self.edited = torch.from_numpy(local_contrast(edited)[0])
        self.size: Size = size_of(self.scene)
        height, width = self.size
        half = max(self.size) / 2
        x = (torch.arange(width) + 0.5 - width / 2) / half
        y = (torch.arange(height) + 0.5 - height / 2) / half
        self.places = torch.stack([x[None].expand(self.size), y[:, None].expand(self.size), torch.ones(self.size)])
        self.half = half

    def warped(self, matrix: np.ndarray) -> tuple[Tensor, Tensor]:
        """The edited contrast [H,W] through a map, and which of it the edited picture shows [H,W] bool."""
        grid = places(matrix, self.size, size_of(self.edited))
        planes = F.grid_sample(self.edited[None, None], grid[None], padding_mode="border", align_corners=False)
        return planes[0, 0], inside(grid, size_of(self.edited))

    def step(self, matrix: np.ndarray, near: float, similar: bool, weights: Tensor | None) -> tuple[np.ndarray, float]:
        """One step of Gauss-Newton: (the better map, how far a corner moved, px). `near` is Tukey's least spread."""
        warped, visible = self.warped(matrix)
        residual = self.scene - warped
        both = (self.scene + warped) / 2  # ESM (Benhimane and Malis 2004): the mean of both gradients
        dy, dx = torch.gradient(both)
        if weights is not None:
            visible = visible & weights
        valid = residual[visible]
        if len(valid) < 64:
            return matrix, 0.0
        spread = max(1.4826 * float(valid.abs().median()), near)
        weight = (1 - (residual / (TUKEY * spread)).square()).clamp_min(0).square() * visible
        columns = torch.cat([dx * self.places, dy * self.places]).reshape(6, -1) * self.half
        weighted = columns * weight.reshape(1, -1)
        normal = (weighted @ columns.T).double().numpy()
        right = (weighted @ residual.reshape(-1)).double().numpy()
        basis = SIMILARITY if similar else np.eye(6)
        normal = basis @ normal @ basis.T
        normal += (1e-5 * np.trace(normal) / len(normal) + 1e-6) * np.eye(len(normal))
        change = (basis.T @ np.linalg.solve(normal, basis @ right)).reshape(2, 3)
        # The step is one in the scene: the map comes after it.
        linear = np.vstack([matrix, [0, 0, 1]]) @ np.vstack([change + np.eye(2, 3), [0, 0, 1]])
        return linear[:2], float(np.abs(change).sum(1).max() * self.half)

    def refined(
        self,
        matrix: np.ndarray,
        steps: int,
        near: float = 0.15,
        similar: bool = False,
        background: np.ndarray | None = None,
    ) -> np.ndarray:
        """The map after at most so many steps."""
        weights = None if background is None else enlarged(background, self.size)
        for _ in range(steps):
            matrix, moved = self.step(matrix, near, similar, weights)
            if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:, :2])) < 0.05:
                return np.full((2, 3), np.nan)
            if moved < 0.01:
                break
        return matrix

    def alike(self, matrix: np.ndarray) -> np.ndarray:
        """Which textured blocks are met again, [h,w] bool."""
        if not np.isfinite(matrix).all():
            return np.zeros_like(self.textured)
        warped, visible = self.warped(matrix)
        return (block_correlations(self.scene, warped, visible) > ALIKE) & self.textured

    def determination(self, blocks: np.ndarray) -> float:
        """How well the scene's structure in these blocks fixes a map, 0..1: along a single line it can slide."""
        weights = enlarged(blocks, self.size).float().reshape(1, -1)
        dy, dx = torch.gradient(self.scene)
        columns = torch.cat([dx * self.places, dy * self.places]).reshape(6, -1)
        eigenvalues = np.linalg.eigvalsh(((columns * weights) @ columns.T).double().numpy())
        return float(eigenvalues[0] / max(eigenvalues[-1], 1e-9))

    def settled(self, matrix: np.ndarray, blocks: np.ndarray) -> float:
        """The share of these blocks that are met nowhere better 2 px away; what is alike by chance has no such peak."""
        warped, visible = self.warped(matrix)
        best = block_correlations(self.scene, warped, visible)
        beside = [block_correlations(self.scene, warped.roll(way, (0, 1)), visible.roll(way, (0, 1))) for way in WAYS]
        return float((best > np.max(beside, axis=0))[blocks].mean())

    def misfit(self, matrix: np.ndarray) -> float:
        """How far the contrasts are apart where a map says, the median; infinite where it shows less than half."""
        warped, visible = self.warped(matrix)
        apart = (self.scene - warped).abs()[visible]
        return float(apart.median()) if len(apart) > visible.numel() / 2 else float("inf")

    def score(self, matrix: np.ndarray) -> float:
        """The share of textured blocks that are met again."""
        return float(self.alike(matrix).sum() / max(1, self.textured.sum()))


def enlarged(blocks: np.ndarray, size: Size) -> Tensor:
    """A mask of blocks [h,w] bool at another size."""
    planes = torch.from_numpy(blocks)[None, None].float()
    return F.interpolate(planes, size, mode="nearest")[0, 0] > 0.5


def block_means(planes: Tensor) -> Tensor:
    """Means of planes [N,H,W] over blocks."""
    side = min(BLOCK, *planes.shape[1:])
    return F.avg_pool2d(planes[None], side, max(1, side // 2))[0]


def block_correlations(one: Tensor, other: Tensor, visible: Tensor) -> np.ndarray:
    """Pearson's correlation of two pictures [H,W] in each block; -1 where less than half a block is visible."""
    weight = visible.float()
    moments = block_means(
        torch.stack([weight, one * weight, other * weight, one**2 * weight, other**2 * weight, one * other * weight])
    )
    share, *sums = moments
    a, b, aa, bb, ab = [total / share.clamp_min(1e-6) for total in sums]
    correlation = (ab - a * b) / ((aa - a * a).clamp_min(1e-9) * (bb - b * b).clamp_min(1e-9)).sqrt()
    return torch.where(share > 0.5, correlation, torch.full_like(correlation, -1)).numpy()


def starts(level: Level, base: np.ndarray) -> list[np.ndarray]:
    """Maps that correlate best, one for each zoom of `base`, the best ones first."""
    height, width = level.size
    window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1]) ** 0.5
    padded = (2 * height, 2 * width)
    scene = np.fft.rfft2(level.scene.numpy() * window, padded)
    ranked = []
    for zoom in ZOOMS:
        matrix = base.copy()
        matrix[:, :2] /= zoom
        warped, visible = level.warped(matrix)
        edited = (warped * visible).numpy() * window
        correlation = np.fft.irfft2(np.conj(scene) * np.fft.rfft2(edited, padded), padded)
        row, column = np.unravel_index(int(correlation.argmax()), correlation.shape)
        dy = (row - padded[0] if row > height else row) / level.half
        dx = (column - padded[1] if column > width else column) / level.half
        matrix[:, 2] = matrix[:, :2] @ [dx, dy]
        energy = np.sqrt((edited**2).sum()) + 1e-6
        ranked.append((float(correlation.max() / energy), matrix))
    ranked.sort(key=lambda pair: -pair[0])
    return [matrix for _, matrix in ranked]


def bases(scene: Size, edited: Size) -> list[np.ndarray]:
    """How a picture may have come to the edited one's size: stretched, and where shapes differ cropped or padded."""
    stretch = stretched(scene, edited)
    if abs(stretch[0, 0] / stretch[1, 1] - 1) < 0.005:
        return [stretch]
    return [stretch, uniform(scene, edited, cover=True), uniform(scene, edited, cover=False)]


def plausible(matrix: np.ndarray, base: np.ndarray) -> bool:
    """Whether an editor may have moved a picture so, beyond its change of size `base`.

    That is a shift of up to a quarter of the longer side, a zoom of .6 to 1.4, and a turn of up to 8 degrees.
    """
    departure = np.linalg.inv(base[:, :2]) @ matrix - np.eye(2, 3)
    return bool((np.abs(departure) <= PLAUSIBLE).all())


def unaligned(scene: Size, edited: Size) -> Alignment:
    """The edited picture brought to the scene's size and taken as it is."""
    return Alignment(stretched(scene, edited), 1.0, True, False, np.ones((1, 1), bool))


def align(scene: Tensor, edited: Tensor) -> Alignment:
    """The map from a scene [H,W,3] to its edited picture [h,w,3], both in 0..1 and of any size."""
    scene_light = luminance(scene)
    edited_light = luminance(edited)
    options = bases(scene_light.shape, edited_light.shape)
    if min(*scene_light.shape, *edited_light.shape) < SMALLEST:
        return Alignment(options[0], 0.0, False, True, np.zeros((1, 1), bool))
    level = Level(scene_light, edited_light, COARSEST)
    candidates = list(options)
    for base in options:
        candidates += starts(level, base)[:STARTS]
    candidates = [level.refined(matrix, 10, similar=True) for matrix in candidates]
    levels = []
    for stage in STAGES if max(scene_light.shape) >= LARGE else STAGES[:-1]:
        level = Level(scene_light, edited_light, stage.side)
        levels.append(level)
        candidates = [level.refined(matrix, stage.steps, similar=stage.similar) for matrix in candidates]
        candidates = sorted(candidates, key=level.score, reverse=True)[: stage.kept]
    best = candidates[0]
    judge = levels[1]
    alike = judge.alike(best)
    textured = judge.textured.sum()
    if ENOUGH_BLOCKS <= alike.sum() < MOST_SHARE * textured:
        best = levels[-1].refined(best, 6, background=alike)
        alike = judge.alike(best)
    if judge.misfit(options[0]) <= BETTER * judge.misfit(best):
        best = options[0]
        alike = judge.alike(best)
    share = float(alike.sum() / max(1, textured))
    trusted = (
        alike.sum() >= ENOUGH_BLOCKS
        and share >= ENOUGH_SHARE
        and any(plausible(best, base) for base in options)
        and judge.determination(alike) >= (DETERMINED if share < MAJORITY else TEXTURED)
        and judge.settled(best, alike) >= SETTLED
    )
    blank = not trusted and bool(textured < ENOUGH_BLOCKS or judge.determination(judge.textured) < TEXTURED)
    return Alignment(best if trusted else options[0], share, bool(trusted), blank, alike)
