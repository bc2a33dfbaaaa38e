"""What is known of a result without the truth, in terms that can be read, and the one number made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import normalize

from ..pictures.checks import check_filled, check_finite, rgb
from ..pictures.copies import FLAGGED, copy_paste_score
from ..pictures.files import pil_pictures
from ..pictures.masks import array_box
from ..pictures.objects import check_object, check_object_mask, object_square, turned_mask
from ..pictures.parts import largest_part
from ..restoration.restore import Restoration, restore

See = Callable[[Tensor], Tensor]  # pictures [B,h,w,3] in 0..1 -> tokens [B,T,D] of an encoder

SMALLEST_OBJECT = 1 / 24  # of the shorter side, as where `evaluation` looks for what appeared
LARGEST_OBJECT = 0.8  # of the picture
SMALLEST_COPY = 8  # px of a box's shorter side: below it everything looks alike

ABSENT = 1.0  # as much as a similarity can be worth: below every result that shows something
COPIED = 0.5  # more than candidates of one object differ by, so that a paste is last of what is there
OUTSIDE = 0.005  # for each delta E; on validation seeds the most that costs no identity. A VAE leaves 1 to 4
OVERSIZE = 1.0  # for each share of the picture above LARGE
LARGE = 0.35  # of the picture: on the playroom's validation seeds no toy with its shadow covers more than 0.3


@dataclass(frozen=True)
class Terms:
    """One result against its scene and the object's pictures."""

    present: bool  # something of an object's size appeared, and it is not the whole picture
    similarity: float  # -1..1, of what appeared and the object; 0 where nothing appeared
    outside: float  # mean delta E of all that is not the effect
    area: float  # 0..1, of the picture that the effect covers
    copied: float = -1.0  # -1..1, how well the object's own picture explains what appeared (`pictures.copies`)

    @property
    def is_copy(self) -> bool:
        """Whether the object's picture was only pasted."""
        return self.copied > FLAGGED

    @property
    def score(self) -> float:
        """The similarity, less what is to be said against the result; about -1..1."""
        against = OUTSIDE * self.outside + OVERSIZE * max(0.0, self.area - LARGE)
        if self.is_copy:
            against += COPIED
        if not self.present:
            against += ABSENT
        return self.similarity - against

    def text(self) -> str:
        """The terms in a line for a reader."""
        if not self.present:
            why = "nearly everything changed" if self.area > LARGEST_OBJECT else "nothing appeared"
            return f"score {self.score:.3f}: {why}"
        parts = [f"similarity {self.similarity:.3f}", f"outside {self.outside:.1f} delta E", f"area {self.area:.1%}"]
        if self.area > LARGE:
            parts.append("oversized")
        if self.is_copy:
            parts.append("copy-paste")
        return f"score {self.score:.3f}: {', '.join(parts)}"


def likeness(tokens: Tensor, others: Tensor) -> Tensor:
    """-1..1 [B,K] of pictures by their tokens [B,T,D] and [K,S,D]: how well each token is met by one of the other's.

    The mean of both directions of greedy matching (BERTScore, arXiv 1904.09675, equation 1, as F is not defined for
    negative values): where in the picture a part lies does not matter.
    """
    cosines = torch.einsum("btd,ksd->bkts", normalize(tokens.float(), dim=-1), normalize(others.float(), dim=-1))
    return (cosines.amax(3).mean(2) + cosines.amax(2).mean(2)) / 2


def measure(
    scene: Tensor,
    results: Tensor,
    objects: Tensor,
    see: See,
    *,
    colour: Sequence[float],
    align_geometry: bool = True,
    progress: Callable[[int, int], object] | None = None,
) -> list[Terms]:
    """The terms of results [N,h,w,C] of any size in one scene [1,H,W,C], all in 0..1.

    `objects` [K,h,w,3|4] is the object, in several pictures if there are; of a picture with alpha the opaque part
    counts. `see` is the chooser's eye, and `colour` [3] is what it is shown where nothing is to be seen. What appeared
    is what `restore` finds. `progress(done, total)` may raise to cancel. Raises ValueError for what `restore` refuses,
    and for several scenes.
    """
    check_objects(objects)
    if len(scene) != 1:
        raise ValueError(f"There are {len(scene)} scenes: results are compared in one. Give one scene at a time.")
    restored = restore(scene, results, align_geometry=align_geometry, progress=progress)
    return terms_of(restored, objects, see, colour)


def check_objects(objects: Tensor) -> None:
    """Raise ValueError for an object's pictures [K,h,w,C] that are none or not finite."""
    check_filled(objects, "The object's picture")
    check_finite(objects, "The object's picture")


def terms_of(
    restored: Restoration, objects: Tensor, see: See, colour: Sequence[float], known: Sequence[Terms] = ()
) -> list[Terms]:
    """What `measure` says of scenes that are restored already; all but the similarity is taken from `known` terms."""
    ground = torch.tensor(list(colour))
    wanted = see(object_alone(objects, ground))
    terms = []
    for number, report in enumerate(restored.reports):
        area = float((restored.effect[number] >= 0.5).float().mean())
        mask = what_appeared(restored.effect[number], restored.objects[number])
        similarity = 0.0
        copied = -1.0
        if mask is not None:
            image = rgb(restored.images[number : number + 1]).float().clamp(0, 1)
            similarity = float(likeness(see(alone(image, mask, ground)), wanted).mean().detach())
            copied = known[number].copied if known else copied_score(image, mask, objects)
        terms.append(Terms(mask is not None, similarity, report.colour_difference, area, copied))
    return terms


def with_opacity(pictures: Tensor, mask: Tensor | None) -> Tensor:
    """An object's pictures [K,h,w,C] in 0..1 with its mask as their alpha, [K,h,w,4]; without a mask as they are.

    An unpainted mask counts as none, one that is white around the object is turned. Raises ValueError for what
    `check_object` and `check_object_mask` refuse.
    """
    pictures = check_object(pictures)
    opacity = turned_mask(check_object_mask(mask, pictures))
    if opacity is None:
        return pictures
    opacity = opacity.to(pictures).expand(pictures.shape[:3])
    if pictures.shape[-1] == 4:
        opacity = opacity * pictures[..., 3]
    return torch.cat([pictures[..., :3], opacity[..., None]], -1)


def object_alone(objects: Tensor, colour: Tensor) -> Tensor:
    """The object's pictures [K,h,w,C] as [K,h',w',3]: those with alpha on `colour` [3], cut to a square."""
    pictures = rgb(objects).float().cpu()
    if objects.shape[-1] < 4 or not (objects[..., 3] > 0.5).any():
        return pictures
    opacity = objects[..., 3].float().cpu()
    return object_square(torch.lerp(colour, pictures, opacity[..., None]), opacity, colour)


def alone(image: Tensor, mask: Tensor, colour: Tensor) -> Tensor:
    """What a mask [H,W] covers of a picture [1,H,W,3], on `colour` [3] and cut to a square [1,s,s,3]."""
    return object_square(torch.lerp(colour, image, mask[None, ..., None]), mask[None], colour)


def what_appeared(effect: Tensor, objects: Tensor) -> Tensor | None:
    """The opacity [H,W] of the object that appeared, by the effect and the objects [H,W] that `restore` found.

    It is the largest part, without its shadow where that is told from it; None where no square of 1/24 of the shorter
    side lies in it, or where it is more than 80 % of the picture.
    """
    part = largest_part(effect.numpy() >= 0.5)
    if part is None or part.mean() > LARGEST_OBJECT:
        return None
    side = max(1, round(SMALLEST_OBJECT * min(part.shape)))
    if not ndimage.binary_erosion(part, np.ones((side, side))).any():
        return None
    solid = objects * torch.from_numpy(part)
    return solid if (solid >= 0.5).any() else effect * torch.from_numpy(part)


def copied_score(image: Tensor, mask: Tensor, objects: Tensor) -> float:
    """How well one of the object's pictures [K,h,w,C] explains what appeared in a picture [1,H,W,3]."""
    box = array_box(mask.numpy() >= 0.5)
    if min(box[2] - box[0], box[3] - box[1]) < SMALLEST_COPY:
        return -1.0
    result = pil_pictures(image)[0]
    scores = []
    for picture, pixels in zip(pil_pictures(rgb(objects).clamp(0, 1)), objects, strict=True):
        opaque = pixels[..., 3].cpu().numpy() > 0.5 if pixels.shape[-1] == 4 else None
        if opaque is None or opaque.any():
            scores.append(copy_paste_score(result, box, picture, opaque))
    return max(scores, default=-1.0)
