"""The shipped blueprints as files: the host's format, and what their descriptions say."""

import json
from pathlib import Path

import pytest

from visual_insertion_pack.devtools.workflows.blueprints import BLUEPRINTS

FOLDER = Path(__file__).resolve().parents[2] / "subgraphs"
TITLES = [describe().title for describe in BLUEPRINTS]
INPUTS, OUTPUTS = -10, -20

every_blueprint = pytest.mark.parametrize("title", TITLES)


def read(title):
    return json.loads((FOLDER / f"{title}.json").read_text("utf-8"))


def parts(title):
    """The one node outside, and the subgraph that it is."""
    document = read(title)
    (node,) = document["nodes"]
    (subgraph,) = document["definitions"]["subgraphs"]
    assert node["type"] == subgraph["id"]
    return node, subgraph


def test_each_blueprint_has_its_file():
    assert {path.stem for path in FOLDER.glob("*")} == set(TITLES)
    kinds = ("Insert Object (toys)", "Insert Object (photographs)", "Paint Object Here", "Restore Scene")
    assert all(any(title.startswith(kind) for title in TITLES) for kind in kinds)


@every_blueprint
def test_it_is_what_the_description_says(title):
    (blueprint,) = (made for describe in BLUEPRINTS if (made := describe()).title == title)
    node, subgraph = parts(title)
    assert subgraph["name"] == node["title"] == title
    assert subgraph["description"] == blueprint.description
    placeholders = {number for _, (number, _) in blueprint.inputs}
    described = {n: made["class_type"] for n, made in blueprint.workflow.graph.items() if n not in placeholders}
    assert {str(inner["id"]): inner["type"] for inner in subgraph["nodes"]} == described
    names = [name for name, _ in blueprint.inputs] + [widget for _, widget in blueprint.widgets]
    assert [entry["name"] for entry in node["inputs"]] == names == [entry["name"] for entry in subgraph["inputs"]]
    outputs = [name for name, _ in blueprint.outputs]
    assert [entry["name"] for entry in node["outputs"]] == outputs == [entry["name"] for entry in subgraph["outputs"]]
    assert node["properties"]["proxyWidgets"] == [[inner.number, widget] for inner, widget in blueprint.widgets]


@every_blueprint
def test_links_are_known_at_both_ends(title):
    _, subgraph = parts(title)
    nodes = {node["id"]: node for node in subgraph["nodes"]}
    for link in subgraph["links"]:
        number, kind = link["id"], link["type"]
        if link["origin_id"] == INPUTS:
            entry = subgraph["inputs"][link["origin_slot"]]
            assert number in entry["linkIds"] and kind == entry["type"]
        else:
            output = nodes[link["origin_id"]]["outputs"][link["origin_slot"]]
            assert number in output["links"] and kind == output["type"]
        if link["target_id"] == OUTPUTS:
            assert number in subgraph["outputs"][link["target_slot"]]["linkIds"]
        else:
            assert nodes[link["target_id"]]["inputs"][link["target_slot"]]["link"] == number
    numbers = [link["id"] for link in subgraph["links"]]
    assert len(set(numbers)) == len(numbers)
    assert max(numbers) == subgraph["state"]["lastLinkId"]
    used = [entry["link"] for node in nodes.values() for entry in node["inputs"] if entry.get("link") is not None]
    ends = [number for entry in subgraph["outputs"] for number in entry["linkIds"]]
    assert sorted(used + ends) == sorted(numbers)


@every_blueprint
def test_nodes_lie_inside_their_groups(title):
    _, subgraph = parts(title)
    for node in subgraph["nodes"]:
        (left, top), (width, height) = node["pos"], node["size"]
        around = [
            group
            for group in subgraph["groups"]
            if group["bounding"][0] <= left
            and group["bounding"][1] <= top
            and left + width <= group["bounding"][0] + group["bounding"][2]
            and top + height <= group["bounding"][1] + group["bounding"][3]
        ]
        assert len(around) == 1
