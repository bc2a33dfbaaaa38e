"""Where the image attends to the subject's words, and the mask, points and box that this makes.

Add-it, arXiv 2411.07232, section 3.4: the probabilities of image queries on the subject's token, over heads, layers and
steps; Otsu's threshold; the map's peaks as points for a segmenter. Attention to values that are 1 at some keys and 0 at
the others is the probability mass on those keys: whatever backend attends tells it, and no matrix is held.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..pictures.boxes import Box
from ..pictures.masks import mask_box
from .extended_attention import Attend

POINTS = 4  # the paper's
LEAST_PEAK = 0.35  # of the first one's height
EVERYTHING = 0.95  # of the picture: a mask that leaves nothing to keep
FLAT = 1e-6  # of the map's height: no difference


def probe_values(columns: Tensor, value: Tensor) -> Tensor:
    """Values [B,heads,L,D] that make attention tell how much mass lies on some keys: column c of the result.

    `columns` [B,C,L] bool says which keys count for which column, C at most D; `value` [B,heads,L,D] gives the layout.
    Raises ValueError for more columns than D, or another number of keys.
    """
    if columns.shape[1] > value.shape[3] or columns.shape[2] != value.shape[2]:
        raise ValueError(f"{tuple(columns.shape[1:])} probe columns do not fit values of {tuple(value.shape[2:])}.")
    probe = columns.to(value.dtype).transpose(1, 2)
    probe = F.pad(probe, (0, value.shape[3] - columns.shape[1]))
    return probe.expand(len(value), -1, -1)[:, None].repeat(1, value.shape[1], 1, 1)


def attention_masses(query: Tensor, key: Tensor, columns: Tensor, attend: Attend, mask: Tensor | None = None) -> Tensor:
    """The probability mass [B,C,N] float32 of queries [B,heads,N,D] on the keys [B,heads,L,D] of each column, the mean
    of the heads; `columns` [B|1,C,L] bool and `attend` are those of `probe_values` and of the layer itself."""
    output = attend(query, key, probe_values(columns, key), mask)
    return output[..., : columns.shape[1]].float().mean(1).transpose(1, 2)


def token_columns(positions: list[list[int]], length: int, device: torch.device | None = None) -> Tensor:
    """One column [B,1,L] bool of the positions of each row's subject tokens among L keys."""
    columns = torch.zeros(len(positions), 1, length, dtype=torch.bool)
    for row, own in enumerate(positions):
        columns[row, 0, own] = True
    return columns.to(device)


class SubjectMap:
    """The sum of one run's maps [B,N], over layers and steps."""

    def __init__(self):
        self.total: Tensor | None = None

    def add(self, masses: Tensor) -> None:
        """Count a layer's masses [B,N] of the image queries."""
        self.total = masses if self.total is None else self.total + masses

    def picture(self, height: int, width: int) -> Tensor:
        """The map [B,h,w] of so many tokens. Raises ValueError where nothing was counted or the number is another."""
        if self.total is None:
            raise ValueError(
                "No step of the run was looked at, so there is no subject map: run the steps around blend."
            )
        if self.total.shape[1] != height * width:
            raise ValueError(f"A map of {self.total.shape[1]} tokens is none of {height}x{width}.")
        return self.total.reshape(-1, height, width)


def smoothed_map(maps: Tensor) -> Tensor:
    """Maps [B,h,w] blurred by a 3x3 Gaussian and stretched to 0..1 each; one without any difference is 0 everywhere.

    Raises ValueError for a map that is not finite.
    """
    if not maps.isfinite().all():
        raise ValueError("The subject map has values that are not finite: the model's attention overflowed.")
    line = torch.tensor([0.25, 0.5, 0.25]).to(maps.device)
    kernel = (line[:, None] * line[None])[None, None]
    blurred = F.conv2d(F.pad(maps.float()[:, None], (1, 1, 1, 1), mode="replicate"), kernel)[:, 0]
    low = blurred.amin((1, 2), keepdim=True)
    high = blurred.amax((1, 2), keepdim=True)
    span = high - low
    return torch.where(span > FLAT * high.abs(), (blurred - low) / span.clamp_min(torch.finfo(span.dtype).tiny), 0.0)


def otsu_threshold(values: Tensor) -> float:
    """The threshold that splits values [N] into two groups of the greatest variance between them (Otsu 1979), exactly.

    Between two neighbouring values; where all are equal, that value.
    """
    ordered = values.flatten().double().sort().values
    count = len(ordered)
    below = torch.arange(1, count, device=ordered.device)
    sums = ordered.cumsum(0)
    mean_below = sums[:-1] / below
    mean_above = (sums[-1] - sums[:-1]) / (count - below)
    between = below * (count - below) * (mean_above - mean_below) ** 2
    between = torch.where(ordered[1:] > ordered[:-1], between, -1.0)
    if count < 2 or between.max() < 0:
        return float(ordered[0])
    best = int(between.argmax())
    return float((ordered[best] + ordered[best + 1]) / 2)


def rough_mask(maps: Tensor) -> Tensor:
    """The subject's mask [B,h,w] bool of maps [B,h,w]: smoothed, above Otsu's threshold.

    It is empty for a map without any difference; `mask_note` says what that means.
    """
    maps = smoothed_map(maps)
    return torch.stack([one > otsu_threshold(one) for one in maps])


def mask_note(mask: Tensor) -> str | None:
    """What is wrong with a subject's mask [h,w], or None: blending is left out for one that says so."""
    share = float((mask > 0).float().mean())
    if share == 0:
        return "The model looked nowhere in particular for the subject: nothing is blended."
    if share >= EVERYTHING:
        return "The subject's mask covers the whole picture: there is nothing to keep, nothing is blended."
    return None


def peaks(maps: Tensor, mask: Tensor, *, height: int, width: int, most: int = POINTS) -> list[tuple[int, int]]:
    """Points (x, y) in px of a picture of `height` x `width` at the peaks of a map [h,w], the highest first.

    Around each a square is left out, half as wide as the longer side of the box of `mask` [h,w] bool over most + 1;
    a peak below 0.35 of the first one's height ends the list. No points for a map without difference.
    """
    smooth = smoothed_map(maps[None])[0].clone()
    box = mask_box(mask)
    if box is None:
        return []
    reach = max(box[2] - box[0], box[3] - box[1]) // (most + 1)
    rows, columns = smooth.shape
    highest = float(smooth.max())
    points = []
    while len(points) < most and highest > 0 and float(smooth.max()) >= LEAST_PEAK * highest:
        row, column = divmod(int(smooth.argmax()), columns)
        points.append((int((column + 0.5) * width / columns), int((row + 0.5) * height / rows)))
        smooth[max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1] = 0
    return points


def subject_box(mask: Tensor, *, height: int, width: int) -> Box | None:
    """The box in px of a picture of `height` x `width` around a subject's mask [h,w] bool; None for an empty one."""
    box = mask_box(mask)
    if box is None:
        return None
    rows, columns = mask.shape
    x0, y0, x1, y1 = box
    return (x0 * width // columns, y0 * height // rows, -(-x1 * width // columns), -(-y1 * height // rows))
