"""How a workflow is described: its nodes in API format, their groups, and the note beside them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..host import Json

NOTES = Path(__file__).parent / "notes"

# The host's own colours for groups.
YELLOW = "#b58b2a"
BROWN = "#b06634"
VIOLET = "#88A"
GREEN = "#8A8"
BLUE = "#3f789e"
CYAN = "#8AA"


@dataclass
class Node:
    """A node of a description; `node[0]` is the link to its first output."""

    number: str

    def __getitem__(self, output: int) -> list:
        return [self.number, output]


@dataclass
class Group:
    title: str
    colour: str
    nodes: list[str] = field(default_factory=list)


class Workflow:
    """A graph in API format, and its groups: stacks of them from left to right."""

    def __init__(self, name: str):
        self.name = name
        self.note = read_note(name)
        self.graph: dict[str, Json] = {}
        self.downloads: dict[str, dict[str, str]] = {}  # by node
        self.needs = ""  # what it takes to run, where the pack does not bring it
        self.stacks = [[Group("About", YELLOW, ["note"])]]

    def group(self, title: str, colour: str, below: bool = False) -> None:
        """The nodes added from here on lie in a new group, right of the last one or below it."""
        if not below:
            self.stacks.append([])
        self.stacks[-1].append(Group(title, colour))

    def add(self, kind: str, title: str = "", /, **inputs: Any) -> Node:
        """A node; inputs that are left out take the front end's defaults."""
        number = str(len(self.graph) + 1)
        self.graph[number] = {"class_type": kind, "inputs": inputs}
        if title:
            self.graph[number]["_meta"] = {"title": title}
        self.stacks[-1][-1].nodes.append(number)
        return Node(number)


def read_note(name: str) -> str:
    return (NOTES / f"{name}.md").read_text("utf-8").removesuffix("\n")
