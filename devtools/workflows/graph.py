"""How a workflow is described: its nodes in API format, their groups, and the note beside them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..host import Json

NOTES = Path(__file__).parent / "notes"

# The host's own colours for groups.
YELLOW = "#b58b2a"  # what it is about
BROWN = "#b06634"  # pictures that go in
CYAN = "#8AA"  # pictures that come out
VIOLET = "#88A"
GREEN = "#8A8"
BLUE = "#3f789e"


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
    """A graph in API format, and its groups in the order of reading."""

    def __init__(self, name: str, note: str | None = None):
        self.name = name
        self.note = read_note(name) if note is None else note
        self.graph: dict[str, Json] = {}
        self.downloads: dict[str, dict[str, str]] = {}  # by node
        self.needs = ""  # what it takes to run, where the pack does not bring it
        self.groups = [Group("About", YELLOW, ["note"])] if self.note else []

    def group(self, title: str, colour: str) -> None:
        """The nodes added from here on lie in a new group."""
        self.groups.append(Group(title, colour))

    def add(self, kind: str, title: str = "", /, **inputs: Any) -> Node:
        """A node; inputs that are left out take the front end's defaults."""
        number = str(len(self.graph) + 1)
        self.graph[number] = {"class_type": kind, "inputs": inputs}
        if title:
            self.graph[number]["_meta"] = {"title": title}
        self.groups[-1].nodes.append(number)
        return Node(number)


def read_note(name: str) -> str:
    return (NOTES / f"{name}.md").read_text("utf-8").removesuffix("\n")
