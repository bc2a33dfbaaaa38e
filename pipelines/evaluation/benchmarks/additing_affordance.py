"""Add-it's affordance benchmark, arXiv 2411.07232, appendix A.4: generated scenes with the places that people marked.

The layout is `additing`'s, and each entry has boxes, a list of x0, y0, x1, y1 in px of its scene: that name and form
are this pack's choice, too, as the authors have not published theirs.
"""

from __future__ import annotations

import math
from pathlib import Path

from ..cases import Benchmark, Case, Place
from .additing import SOURCE, PromptSet, read_sets

BOXES = (
    "Every entry needs boxes, the places where the object belongs: a list of x0, y0, x1, y1 in px of the scene, each "
    "inside of it."
)
ABOUT = (
    "Add-it's affordance benchmark: generated scenes in which people marked where the object belongs. What is added is "
    "told in words; there is no picture of it and no target. Affordance has no value where nothing new was detected: "
    "read it beside inclusion_detected."
)


def read_additing_affordance(folder: Path) -> Benchmark:
    """The sets in a folder, with their places. Raises FileNotFoundError, ValueError."""
    sets = read_sets(folder)
    places = [_places(one) for one in sets]

    def read(index: int) -> Case:
        case = sets[index].case(places[index])
        width, height = case.scene.size
        for x0, y0, x1, y1 in case.places:
            if x1 > width or y1 > height:
                raise ValueError(
                    f"{sets[index].where}, boxes has {[x0, y0, x1, y1]}, but {sets[index].scene.name} is "
                    f"{width}x{height} px. {BOXES} {SOURCE}"
                )
        return case

    return Benchmark("additing-affordance", ABOUT, tuple(one.index for one in sets), read)


def _places(one: PromptSet) -> list[Place]:
    """The boxes of an entry. Raises ValueError for none, and for anything but boxes."""
    boxes = one.entry.get("boxes")
    if not isinstance(boxes, list) or not boxes:
        raise ValueError(f"{one.where} lacks boxes. {BOXES} {SOURCE}")
    for box in boxes:
        whole = isinstance(box, list) and len(box) == 4 and all(type(side) in (int, float) for side in box)
        if not whole or not all(0 <= side < math.inf for side in box) or box[0] >= box[2] or box[1] >= box[3]:
            raise ValueError(f"{one.where}, boxes has {box}. {BOXES} {SOURCE}")
    return [(x0, y0, x1, y1) for x0, y0, x1, y1 in boxes]
