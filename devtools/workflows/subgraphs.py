"""Subgraph blueprints out of the same stages as the workflows: one node that is found by search, and opened by a click.

The host serves `subgraphs/*.json` of a pack; the format is that of its own `blueprints/`: a graph of one node, whose
type is the one subgraph that it defines. Placeholders stand for the inputs, a Load Image each, and are left out.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..host import Json
from .graph import Node, Workflow

CATEGORY = "visual insertion"
INPUTS = -10  # ids of the two ends of a subgraph
OUTPUTS = -20
SLOT = 20  # units of the canvas
EDGE = 120


@dataclass
class Blueprint:
    """A workflow, and what of it is to be seen from outside."""

    title: str
    description: str
    aliases: tuple[str, ...]
    workflow: Workflow
    inputs: Sequence[tuple[str, list]]  # names, and outputs of placeholders
    outputs: Sequence[tuple[str, list]]
    widgets: Sequence[tuple[Node, str]] = field(default=())


def assemble(blueprint: Blueprint, ui: Json) -> Json:
    """The blueprint's file, of the workflow in the UI's format."""
    placeholders = {int(number) for _, (number, _) in blueprint.inputs}
    nodes = {node["id"]: node for node in ui["nodes"] if node["id"] not in placeholders}
    links = [_link(link) for link in ui["links"]]
    number = max([link["id"] for link in links], default=0)
    inputs = []
    for name, (origin, slot) in blueprint.inputs:
        own = [link for link in links if link["origin_id"] == int(origin) and link["origin_slot"] == slot]
        assert own, f"{blueprint.title}: nothing takes {name}"
        for link in own:
            link.update(origin_id=INPUTS, origin_slot=len(inputs))
        inputs.append({"name": name, "type": own[0]["type"], "linkIds": [link["id"] for link in own]})
    for node, widget in blueprint.widgets:
        number += 1
        entries = nodes[int(node.number)]["inputs"]
        target = next(slot for slot, entry in enumerate(entries) if entry["name"] == widget)
        entries[target]["link"] = number
        ends = {"origin_id": INPUTS, "origin_slot": len(inputs), "target_id": int(node.number), "target_slot": target}
        links.append({"id": number, **ends, "type": entries[target]["type"]})
        shape = {"name": widget, "type": entries[target]["type"], "linkIds": [number]}
        inputs.append({**shape, "widget": {"name": widget}})
    outputs = []
    for name, (origin, slot) in blueprint.outputs:
        number += 1
        output = nodes[int(origin)]["outputs"][slot]
        output["links"] = [*(output.get("links") or []), number]
        ends = {"origin_id": int(origin), "origin_slot": slot, "target_id": OUTPUTS, "target_slot": len(outputs)}
        links.append({"id": number, **ends, "type": output["type"]})
        outputs.append({"name": name, "type": output["type"], "linkIds": [number]})
    links = [link for link in links if link["origin_id"] in nodes or link["origin_id"] == INPUTS]
    return _file(blueprint, list(nodes.values()), ui["groups"], links=links, inputs=inputs, outputs=outputs)


def _link(link: list) -> Json:
    names = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    return dict(zip(names, link, strict=True))


def _identity(*names: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "/".join(("visual-insertion", "subgraphs", *names))))


def _file(
    blueprint: Blueprint,
    nodes: list[Json],
    groups: list[Json],
    *,
    links: list[Json],
    inputs: list[Json],
    outputs: list[Json],
) -> Json:
    identity = _identity(blueprint.title)
    right = max(group["bounding"][0] + group["bounding"][2] for group in groups)
    left = min(group["bounding"][0] for group in groups)

    def slots(entries: list[Json], kind: str, x: float) -> list[Json]:
        return [
            {key: value for key, value in entry.items() if key != "widget"}
            | {"id": _identity(blueprint.title, kind, entry["name"]), "pos": [x, SLOT * (row + 1)]}
            for row, entry in enumerate(entries)
        ]

    def end(number: int, entries: list[Json], x: float) -> Json:
        return {"id": number, "bounding": [x, 0, EDGE, SLOT * (len(entries) + 2)]}

    subgraph = {
        "id": identity,
        "version": 1,
        "state": {
            "lastGroupId": max(group["id"] for group in groups),
            "lastNodeId": max(node["id"] for node in nodes),
            "lastLinkId": max(link["id"] for link in links),
            "lastRerouteId": 0,
        },
        "revision": 0,
        "config": {},
        "name": blueprint.title,
        "inputNode": end(INPUTS, inputs, left - 2 * EDGE),
        "outputNode": end(OUTPUTS, outputs, right + EDGE),
        "inputs": slots(inputs, "inputs", left - EDGE - SLOT),
        "outputs": slots(outputs, "outputs", right + EDGE + SLOT),
        "widgets": [],
        "nodes": nodes,
        "groups": groups,
        "links": links,
        "extra": {"workflowRendererVersion": "LG"},
        "category": CATEGORY,
        "description": blueprint.description,
    }
    widgets = [[node.number, widget] for node, widget in blueprint.widgets]
    outside = {
        "id": 1,
        "type": identity,
        "pos": [0, 0],
        "size": [300, SLOT * (max(len(inputs) - len(widgets), len(outputs)) + 2 * len(widgets) + 2)],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [{key: entry[key] for key in entry if key != "linkIds"} | {"link": None} for entry in inputs],
        "outputs": [{"name": entry["name"], "type": entry["type"], "links": []} for entry in outputs],
        "properties": {"proxyWidgets": widgets},
        "widgets_values": [],
        "title": blueprint.title,
    }
    return {
        "revision": 0,
        "last_node_id": 1,
        "last_link_id": 0,
        "nodes": [outside],
        "links": [],
        "version": 0.4,
        "definitions": {"subgraphs": [subgraph]},
        "extra": {"BlueprintDescription": blueprint.description, "BlueprintSearchAliases": list(blueprint.aliases)},
    }
