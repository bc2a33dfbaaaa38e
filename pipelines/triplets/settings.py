"""What decides the content of a data set, and nothing that does not."""

from __future__ import annotations

from dataclasses import dataclass

BACKGROUNDS = ("mask", "white", "keep")
BUILD = "build.json"  # written first
STATISTICS = "statistics.json"  # written last
FORMAT = 2  # counted up whenever the same settings give other shards


@dataclass(frozen=True)
class BuildSettings:
    """How rows become triplets, and which do.

    `background` is what an object's picture has outside its mask: nothing ("mask": transparent), white, or the scene's
    own pixels ("keep", as in the published slides). Raises ValueError for values out of range.
    """

    background: str = "mask"
    margin: float = 0.1  # around the object's box, in its sides
    min_side: int = 16  # px, of the object's box, both sides
    min_area: float = 0.001  # of the object's mask, in the picture's area
    max_area: float = 0.8
    validation: float = 0.01  # share of the img_ids
    limit: int | None = None  # rows read, from the first one on
    unit_rows: int = 1024  # at most, done and written at once

    def __post_init__(self):
        if self.background not in BACKGROUNDS:
            raise ValueError(f"Unknown background '{self.background}'; use {', '.join(BACKGROUNDS)}.")
        shares = {"min_area": self.min_area, "max_area": self.max_area, "validation": self.validation}
        for name, share in shares.items():
            if not 0 <= share <= 1:
                raise ValueError(f"{name} must be a share between 0 and 1, not {share}.")
        if self.min_area > self.max_area:
            raise ValueError(f"min_area, {self.min_area}, must not be above max_area, {self.max_area}.")
        if not 0 <= self.margin <= 10:
            raise ValueError(f"margin must be between 0 and 10 sides of the box, not {self.margin}.")
        if self.min_side < 1 or self.unit_rows < 1 or (self.limit is not None and self.limit < 1):
            raise ValueError("min_side, unit_rows and limit must be at least 1.")
