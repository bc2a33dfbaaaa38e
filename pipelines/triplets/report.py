"""What a build did: counts, distributions, the rows it dropped by name, and a sheet of examples."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from ..pictures.sheets import tile
from .row import Cut, decode

AREAS = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)  # shares of the picture
SIDES = (0, 16, 32, 64, 128, 256, 512, 1024)  # px
EXAMPLES = 24  # triplets on the sheet
ACROSS = 3  # of them in a row
CELL = 144  # px, the side of each of their pictures
COUNTS = ("kept", "dropped", "object_area", "object_side", "picture_size", "source", "class")


def bin_name(value: float, edges: tuple[float, ...]) -> str:
    """The half-open interval that a value is in, as text."""
    place = bisect_right(edges, value)
    return f"{edges[place - 1]}-{edges[place]}" if place < len(edges) else f"{edges[-1]}-"


@dataclass
class Report:
    """Of one unit, or of several added up; `examples` are the kept rows that a digest of their names puts first."""

    rows: int = 0
    counts: dict[str, Counter] = field(default_factory=lambda: {name: Counter() for name in COUNTS})
    examples: list[tuple[str, str, int]] = field(default_factory=list)  # digest, shard, row in it

    def keep(self, columns: dict[str, Any], cut: Cut, *, split: str, shard: str, row: int) -> None:
        values = {
            "kept": split,
            "object_side": bin_name(cut.side, SIDES),
            "picture_size": "{}x{}".format(*cut.size),
            "source": columns["target_img_dataset"] or "not stated",
            "class": columns["Instruction_Class"] or "not stated",
        }
        if cut.area is not None:
            values["object_area"] = bin_name(cut.area, AREAS)
        for name, value in values.items():
            self.counts[name][value] += 1
        digest = hashlib.sha256(columns["id"].encode()).hexdigest()[:16]
        self.examples = sorted([*self.examples, (digest, shard, row)])[:EXAMPLES]

    def drop(self, reason: str) -> None:
        self.counts["dropped"][reason] += 1

    def add(self, other: Report) -> None:
        self.rows += other.rows
        for name, counter in other.counts.items():
            self.counts[name].update(counter)
        self.examples = sorted([*self.examples, *other.examples])[:EXAMPLES]

    def tables(self) -> dict[str, dict[str, int]]:
        """The counts in an order that depends on nothing else: intervals upwards, the rest by count and name."""
        ordered = {}
        for name, counter in self.counts.items():
            if name in ("object_area", "object_side"):
                items = sorted(counter.items(), key=lambda item: float(item[0].split("-")[0]))
            else:
                items = sorted(counter.items(), key=lambda item: (-item[1], item[0]))
            ordered[name] = dict(items)
        return ordered

    def to_json(self) -> dict[str, Any]:
        return {"rows": self.rows, "counts": self.tables(), "examples": self.examples}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Report:
        counts = {name: Counter(content["counts"][name]) for name in COUNTS}
        return cls(content["rows"], counts, [(digest, shard, row) for digest, shard, row in content["examples"]])


def _cell(picture: Image.Image) -> Image.Image:
    """A picture in a square, at most as large as it is, on grey."""
    small = picture.convert("RGBA")
    small.thumbnail((CELL, CELL))
    cell = Image.new("RGBA", (CELL, CELL), (128, 128, 128, 255))
    cell.alpha_composite(small, ((CELL - small.width) // 2, (CELL - small.height) // 2))
    return cell.convert("RGB")


def _object_lit(target: Image.Image, mask: Image.Image) -> Image.Image:
    """The target, what is outside the object's mask at half its brightness."""
    on = np.asarray(mask.convert("L"))[..., None] > 0
    pixels = np.asarray(target.convert("RGB"))
    return Image.fromarray(np.where(on, pixels, pixels // 2).astype(np.uint8))


def contact_sheet(rows: Iterable[dict[str, Any]]) -> Image.Image:
    """Scene, target with the object lit, and object's picture of each row, `ACROSS` rows beside each other."""
    triples = []
    for row in rows:
        scene = decode(row["scene"], "scene")
        target = decode(row["target"], "target")
        if row["mask"]:
            target = _object_lit(target, decode(row["mask"], "mask"))
        picture = decode(row["object"][0], "object")
        triples.append(tile([_cell(scene), _cell(target), _cell(picture)], columns=3))
    return tile(triples, columns=ACROSS, gap=CELL // 12)
