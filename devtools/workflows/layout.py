"""Where the nodes of a workflow lie. Lengths are units of the canvas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

from ..host import Json
from .graph import Group

Nodes = Mapping[str, Json]  # in the UI's format, by number

PADDING = 12
GAP = 16
NODE_TITLE = 30
GROUP_TITLE = 42
FOOTER = 24  # what Nodes 2.0 draws below a node of a pack
WIDTH = 300
SIZES = {  # at least; the nodes named here show something, and are stretched where a stack has room to spare
    "MarkdownNote": (320, 400),
    "LoadImage": (300, 340),
    "GuidanceControl": (300, 450),
    "ImageConditionedPix2PixSampler": (300, 540),
    "KSampler": (300, 540),
    "SamplerCustomAdvanced": (300, 330),
    "SaveImage": (300, 330),
    "SaveLayers": (300, 330),
    "MaskPreview": (300, 300),
    "PreviewAny": (300, 180),
    "PreviewImage": (340, 340),
}


def arrange(nodes: Nodes, stacks: Sequence[Sequence[Group]]) -> list[Json]:
    """Give the nodes their places and sizes; the groups in the UI's format. All stacks end on one line."""
    for node in nodes.values():
        width, height = SIZES.get(node["type"], (WIDTH, 0))
        node["size"] = [width, max(height, round(node["size"][1]) + FOOTER)]
    bottom = max(stack_height(nodes, stack) for stack in stacks)
    groups: list[Json] = []
    left = 0
    for stack in stacks:
        width = stretch(nodes, stack, bottom)
        top = 0
        for group in stack:
            y = top + GROUP_TITLE
            for number in group.nodes:
                nodes[number]["pos"] = [left + PADDING, y + NODE_TITLE]
                y += node_height(nodes[number])
            end = bottom if group is stack[-1] else y
            groups.append(
                {
                    "id": len(groups) + 1,
                    "title": group.title,
                    "bounding": [left, top, width + 2 * PADDING, end - top],
                    "color": group.colour,
                    "font_size": 24,
                    "flags": {},
                }
            )
            top = y + GAP
        left += width + 2 * PADDING + GAP
    return groups


def node_height(node: Json) -> int:
    """What a node takes of its group, title and padding included."""
    return NODE_TITLE + node["size"][1] + PADDING


def nodes_of(nodes: Nodes, stack: Sequence[Group]) -> list[Json]:
    numbers = chain.from_iterable(group.nodes for group in stack)
    return [nodes[number] for number in numbers]


def stack_height(nodes: Nodes, stack: Sequence[Group]) -> int:
    inside = sum(node_height(node) for node in nodes_of(nodes, stack))
    return inside + GROUP_TITLE * len(stack) + GAP * (len(stack) - 1)


def stretch(nodes: Nodes, stack: Sequence[Group], height: int) -> int:
    """Make the nodes of a stack fill this height, and all as wide as the widest; that width."""
    inside = nodes_of(nodes, stack)
    pictures = [node for node in inside if node["type"] in SIZES]
    spare = height - stack_height(nodes, stack)
    for node in pictures:
        node["size"][1] += spare // len(pictures)
    width = max(node["size"][0] for node in inside)
    for node in inside:
        node["size"][0] = width
    return width
