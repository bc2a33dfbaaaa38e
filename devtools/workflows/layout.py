"""Where the nodes of a workflow lie, and what of them is seen first. Lengths are units of the canvas.

The note stands at the left. Beside it are two rows: pictures that go in and come out above, what works on them below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..host import Json
from .graph import BROWN, CYAN, YELLOW, Group

Nodes = Mapping[str, Json]  # in the UI's format, by number

PADDING = 10
GAP = 12
NODE_TITLE = 30
GROUP_TITLE = 36
FOOTER = 24  # what Nodes 2.0 draws below a node of a pack
WIDTH = 280
TALL = 660  # of the nodes in one column of the lower row, at least
SIZES = {  # at least; the nodes named here show something, and are stretched where a column has room to spare
    "MarkdownNote": (290, 400),
    "LoadImage": (WIDTH, 330),
    "GuidanceControl": (WIDTH, 450),
    "ObjectImageEncode": (WIDTH, 370),  # it shows what the encoder sees
    "PaintByExampleEncode": (WIDTH, 440),
    "ImageConditionedPix2PixSampler": (310, 600),  # its title is long
    "KSampler": (WIDTH, 540),
    "SamplerCustomAdvanced": (WIDTH, 330),
    "SaveImage": (WIDTH, 330),
    "SaveLayers": (WIDTH, 330),
    "MaskPreview": (WIDTH, 330),
    "PreviewImage": (WIDTH, 330),
    "ImageCompare": (340, 330),
}
REPORT = 100  # what the sentences of a run take
REPORTING = ("RestoreScene", "LocalRegionPaste", "PlaceObject")

# The view that a workflow opens with: the smallest text, 12 units high, is 8 px on the screen. Left of the graph is the
# front end's side bar, above it are its tabs.
SMALLEST_TEXT = 12
SCALE = 0.67
MARGIN = (76, 62)  # px


@dataclass
class Column:
    """Groups below each other, each with nodes below each other; a wide group lies in several columns of its own."""

    groups: list[tuple[Group, list[list[str]]]] = field(default_factory=list)


def arrange(nodes: Nodes, groups: Sequence[Group]) -> list[Json]:
    """Give the nodes their places and sizes; the groups in the UI's format."""
    for node in nodes.values():
        width, height = SIZES.get(node["type"], (WIDTH, 0))
        report = REPORT if node["type"] in REPORTING else 0
        node["size"] = [width, max(height, round(node["size"][1]) + FOOTER + report)]
    about = [group for group in groups if group.colour == YELLOW]
    upper = [group for group in groups if group.colour in (BROWN, CYAN)]
    lower = [group for group in groups if group not in about + upper]
    rows = [_columns(nodes, row, least) for row, least in ((upper, 0), (lower, TALL)) if row]
    heights = [max(_height(nodes, column) for column in row) for row in rows]
    whole = sum(heights) + GAP * (len(rows) - 1)
    frames, left = _place(nodes, _columns(nodes, about, 0), (0, 0), whole)
    top = 0
    for row, height in zip(rows, heights, strict=True):
        frames += _place(nodes, row, (left, top), height)[0]
        top += height + GAP
    return [{"id": number, **frame} for number, frame in enumerate(frames, 1)]


def view(groups: Sequence[Json]) -> Json:
    """The `ds` of a workflow: its upper left corner beside the front end's bars, as large as its text needs."""
    left = min(group["bounding"][0] for group in groups)
    top = min(group["bounding"][1] for group in groups)
    return {"scale": SCALE, "offset": [round(MARGIN[0] / SCALE - left), round(MARGIN[1] / SCALE - top)]}


def _columns(nodes: Nodes, groups: Sequence[Group], least: int) -> list[Column]:
    """Each group below the one before where there is room, in the height of the tallest node or `least`."""
    limit = max(least, *(nodes[number]["size"][1] for group in groups for number in group.nodes), 0)
    room = GROUP_TITLE + NODE_TITLE + limit + PADDING
    columns: list[Column] = []
    for group in groups:
        entry = (group, _split(nodes, group, room))
        alone = Column([entry])
        joined = Column([*columns[-1].groups, entry]) if columns else alone
        narrow = all(len(parts) == 1 for _, parts in joined.groups)
        if columns and narrow and _height(nodes, joined) <= room:
            columns[-1] = joined
        else:
            columns.append(alone)
    return columns


def _split(nodes: Nodes, group: Group, room: int) -> list[list[str]]:
    """The nodes of a group in columns that are no taller than there is room."""
    parts: list[list[str]] = [[]]
    for number in group.nodes:
        if parts[-1] and _part_height(nodes, [*parts[-1], number]) > room:
            parts.append([])
        parts[-1].append(number)
    return parts


def _part_height(nodes: Nodes, part: Sequence[str]) -> int:
    """What nodes below each other take of their group, its title included."""
    return GROUP_TITLE + sum(NODE_TITLE + nodes[number]["size"][1] + PADDING for number in part)


def _height(nodes: Nodes, column: Column) -> int:
    heights = [max(_part_height(nodes, part) for part in parts) for _, parts in column.groups]
    return sum(heights) + GAP * (len(heights) - 1)


def _place(nodes: Nodes, columns: Sequence[Column], corner: tuple[int, int], height: int) -> tuple[list[Json], int]:
    """The frames of columns of this height, side by side from a corner on, and where the next one would start."""
    left, top = corner
    frames = []
    for column in columns:
        spare = height - _height(nodes, column)
        widths = [
            max(nodes[number]["size"][0] for _, parts in column.groups for number in parts[part])
            for part in range(len(column.groups[0][1]))
        ]
        upper = top
        for group, parts in column.groups:
            own = max(_part_height(nodes, part) for part in parts)
            own += spare if group is column.groups[-1][0] else 0
            x = left + PADDING
            for part, width in zip(parts, widths, strict=True):
                _stretch(nodes, part, width, own)
                y = upper + GROUP_TITLE
                for number in part:
                    nodes[number]["pos"] = [x, y + NODE_TITLE]
                    y += NODE_TITLE + nodes[number]["size"][1] + PADDING
                x += width + PADDING
            frames.append(_frame(group, [left, upper, x - left, own]))
            upper += own + GAP
        left += sum(widths) + PADDING * (len(widths) + 1) + GAP
    return frames, left


def _stretch(nodes: Nodes, part: Sequence[str], width: int, height: int) -> None:
    """Make nodes below each other as wide as their column, and those that show something fill this height."""
    showing = [number for number in part if nodes[number]["type"] in SIZES]
    spare = height - _part_height(nodes, part)
    for number in part:
        nodes[number]["size"][0] = width
        if number in showing:
            nodes[number]["size"][1] += spare // len(showing)


def _frame(group: Group, bounding: list[int]) -> Json:
    look = {"color": group.colour, "font_size": 24, "flags": {}}
    return {"title": group.title, "bounding": bounding, **look}
