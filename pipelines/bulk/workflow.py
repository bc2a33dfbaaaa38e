"""A workflow in ComfyUI's API format that makes a pair's picture: where its pictures, seed and result are."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

Graph = dict[str, dict[str, Any]]  # nodes by their numbers, as the server takes them
SEEDS = ("seed", "noise_seed")
LOADERS = {"LoadImage", "LoadImageMask"}


@dataclass(frozen=True)
class Workflow:
    """What is queued for each pair: nodes that load its pictures by their columns, and the one that hands on its own.

    The result is previewed, not saved: servers remove previews when they end.
    """

    graph: Graph
    loaders: Mapping[str, str]
    result: str

    @property
    def sha256(self) -> str:
        """That of what it says."""
        return sha256(json.dumps([self.graph, dict(self.loaders)], sort_keys=True).encode()).hexdigest()

    @property
    def node_types(self) -> list[str]:
        """Which nodes a server must have."""
        return sorted({node["class_type"] for node in self.graph.values()})

    def of_pair(self, pictures: Mapping[str, str], seed: int, texts: Mapping[str, str]) -> Graph:
        """What is queued for pictures that the server knows by these names; a picture that is not there has no node.

        `texts` are set in any node that has inputs of their names. Raises ValueError for a picture or a text that the
        workflow has no place for.
        """
        graph = copy.deepcopy(self.graph)
        for column in pictures:
            if column not in self.loaders:
                raise ValueError(f"The workflow has no Load Image node for the {column} of a pair.")
        set_inputs(graph, texts, "The workflow")
        for column, number in self.loaders.items():
            if column in pictures:
                graph[number]["inputs"]["image"] = pictures[column]
                continue
            del graph[number]
            for node in graph.values():
                node["inputs"] = {name: value for name, value in node["inputs"].items() if _source(value) != number}
        for node in graph.values():
            for name in SEEDS:
                if isinstance(node["inputs"].get(name), int):
                    node["inputs"][name] = seed
        return graph


def read_workflow(path: Path) -> Graph:
    """A file in API format. Raises FileNotFoundError, or ValueError for anything else."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file. Needed is a workflow that ComfyUI exported in its API format.")
    try:
        graph = json.loads(path.read_text(encoding="utf-8"))
        plain = all(isinstance(node["class_type"], str) and isinstance(node["inputs"], dict) for node in graph.values())
    except (ValueError, RecursionError, AttributeError, TypeError, KeyError) as error:
        raise ValueError(f"{path} is no workflow in API format; use ComfyUI's menu, Export (API).") from error
    if not plain or not graph:
        raise ValueError(f"{path} is no workflow in API format; use ComfyUI's menu, Export (API).")
    return graph


def workflow(graph: Graph, titles: Mapping[str, str], inputs: Mapping[str, Any], name: str) -> Workflow:
    """A graph for pairs: `titles` of its Load Image nodes by column, and `inputs` that any node gets that has them.

    Raises ValueError, with the workflow's `name`, where it lacks one of these, or has no single result.
    """
    result = _result(graph, name)
    images = graph[result]["inputs"].get("images")
    if not _source(images):
        raise ValueError(f"{name} has nothing connected to the images of node {result}, which saves the result.")
    kept = _needed(graph, result)
    graph = {number: copy.deepcopy(node) for number, node in graph.items() if number in kept}
    loaders = {column: _titled(graph, title, column, name) for column, title in titles.items()}
    graph[result] = {"class_type": "PreviewImage", "inputs": {"images": images}}
    for node in graph.values():
        node.pop("_meta", None)
    set_inputs(graph, inputs, name)
    return Workflow(graph, loaders, result)


def set_inputs(graph: Graph, inputs: Mapping[str, Any], name: str) -> None:
    """Set inputs of any nodes that have them as values of their own. Raises ValueError where none has."""
    for one, value in inputs.items():
        having = [node["inputs"] for node in graph.values() if _has_own(node, one)]
        if not having:
            raise ValueError(f"{name} has no input '{one}' to set on the way to its result.")
        for node_inputs in having:
            node_inputs[one] = value


def _result(graph: Graph, name: str) -> str:
    """The node that saves the picture: the only one, or that of the title Result."""
    savers = [number for number, node in graph.items() if node["class_type"] == "SaveImage"]
    titled = [number for number in savers if _title(graph[number]) == "result"]
    chosen = titled or savers
    if len(chosen) != 1:
        raise ValueError(f"{name} has {len(chosen)} nodes that save the result; needed is one, or one titled Result.")
    return chosen[0]


def _titled(graph: Graph, title: str, column: str, name: str) -> str:
    """The node that loads a column's picture."""
    found = [n for n, node in graph.items() if node["class_type"] in LOADERS and _title(node) == title.lower()]
    if len(found) != 1:
        raise ValueError(
            f"{name} has {len(found)} Load Image nodes titled {title} on the way to its result; needed is one, for the "
            f"{column} of each pair."
        )
    return found[0]


def _title(node: Mapping[str, Any]) -> str:
    return str(node.get("_meta", {}).get("title", "")).strip().lower()


def _source(value: Any) -> str | None:
    """The node from which an input comes; None for a value of its own."""
    return str(value[0]) if isinstance(value, list) and len(value) == 2 else None


def _has_own(node: Mapping[str, Any], name: str) -> bool:
    """Whether a node has an input whose value is its own."""
    return name in node["inputs"] and _source(node["inputs"][name]) is None


def _needed(graph: Graph, result: str) -> set[str]:
    """The nodes on the way to the result."""
    needed: set[str] = set()
    coming: list[str] = [result]
    while coming:
        number = coming.pop()
        if number not in needed and number in graph:
            needed.add(number)
            sources = map(_source, graph[number]["inputs"].values())
            coming += [source for source in sources if source]
    return needed
