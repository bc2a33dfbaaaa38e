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

from .row import Cut, decode

AREAS = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)  # shares of the picture
SIDES = (0, 16, 32, 64, 128, 256, 512, 1024)  # px
SHOWN, ACROSS, CELL = 24, 3, 144  # triplets on the sheet, in a row of it, and px of each of their pictures
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

    def keep(self, columns: dict[str, Any], cut: Cut, split: str, shard: str, row: int) -> None:
        found = {
            "kept": split,
            "object_side": bin_name(cut.side, SIDES),
            "picture_size": "{}x{}".format(*cut.size),
            "source": columns["target_img_dataset"] or "not stated",
            "class": columns["Instruction_Class"] or "not stated",
        }
        if cut.area is not None:
            found["object_area"] = bin_name(cut.area, AREAS)
        for name, value in found.items():
            self.counts[name][value] += 1
        digest = hashlib.sha256(columns["id"].encode()).hexdigest()[:16]
        self.examples = sorted([*self.examples, (digest, shard, row)])[:SHOWN]

    def drop(self, reason: str) -> None:
        self.counts["dropped"][reason] += 1

    def add(self, other: Report) -> None:
        self.rows += other.rows
        for name, counter in other.counts.items():
            self.counts[name].update(counter)
        self.examples = sorted([*self.examples, *other.examples])[:SHOWN]

    def tables(self) -> dict[str, dict[str, int]]:
        """The counts in an order that depends on nothing else: intervals upwards, the rest by count and name."""
        ordered = {}
        for name, counter in self.counts.items():
            upwards = name in ("object_area", "object_side")
            key = (lambda item: float(item[0].split("-")[0])) if upwards else (lambda item: (-item[1], item[0]))
            ordered[name] = dict(sorted(counter.items(), key=key))
        return ordered

    def to_json(self) -> dict[str, Any]:
        return {"rows": self.rows, "counts": self.tables(), "examples": self.examples}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Report:
        counts = {name: Counter(content["counts"][name]) for name in COUNTS}
        return cls(content["rows"], counts, [(digest, shard, row) for digest, shard, row in content["examples"]])


def _cell(picture: Image.Image) -> Image.Image:
    """A picture in a square, on grey."""
    shown = picture.convert("RGBA")
    shown.thumbnail((CELL, CELL))
    cell = Image.new("RGBA", (CELL, CELL), (128, 128, 128, 255))
    cell.alpha_composite(shown, ((CELL - shown.width) // 2, (CELL - shown.height) // 2))
    return cell.convert("RGB")


def _outlined(target: Image.Image, mask: Image.Image | None) -> Image.Image:
    """The target, what is outside the object's mask at half its brightness."""
    if mask is None:
        return target
    on = np.asarray(mask.convert("L"))[..., None] > 0
    pixels = np.asarray(target.convert("RGB"))
    return Image.fromarray(np.where(on, pixels, pixels // 2).astype(np.uint8))


def contact_sheet(rows: Iterable[dict[str, Any]]) -> Image.Image:
    """Scene, target with the object lit, and object's picture of each row, `ACROSS` rows beside each other."""
    cells = []
    for row in rows:
        scene, target = decode(row["scene"], "scene"), decode(row["target"], "target")
        mask = decode(row["mask"], "mask") if row["mask"] else None
        cells.append([_cell(scene), _cell(_outlined(target, mask)), _cell(decode(row["object"][0], "object"))])
    lines = -(-len(cells) // ACROSS)
    gap = CELL // 12
    sheet = Image.new("RGB", (ACROSS * (3 * CELL + gap) - gap, max(lines, 1) * (CELL + gap) - gap), "white")
    for number, three in enumerate(cells):
        for column, cell in enumerate(three):
            left = (number % ACROSS) * (3 * CELL + gap) + column * CELL
            sheet.paste(cell, (left, (number // ACROSS) * (CELL + gap)))
    return sheet
