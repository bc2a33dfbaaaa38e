"""The host's own front end, in a Chromium without a window, turns a description into both kinds of JSON."""

from __future__ import annotations

import json
import shutil
import uuid
from typing import TYPE_CHECKING

from ..host import MOUNT, Json
from .graph import Workflow
from .layout import arrange

if TYPE_CHECKING:
    from playwright.sync_api import Page

CONVERT = """async ([graph, name]) => {
    app.loadApiJson(graph, name)
    return JSON.stringify({ui: app.rootGraph.serialize(), api: (await app.graphToPrompt()).output})
}"""


def chromium() -> str | None:
    """The program of a Chromium on this machine."""
    programs = map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
    return next(filter(None, programs), None)


def convert(workflow: Workflow, page: Page, ours: set[str]) -> tuple[Json, Json]:
    """UI graph and API graph; `ours` are the nodes of this pack."""
    converted = json.loads(page.evaluate(CONVERT, [workflow.graph, workflow.name]))
    for number, node in workflow.graph.items():
        exported = converted["api"][number]["inputs"]
        assert node["inputs"].items() <= exported.items(), f"{workflow.name}: {node} became {exported}"
    return dress(converted["ui"], workflow, ours), converted["api"]


def dress(ui: Json, workflow: Workflow, ours: set[str]) -> Json:
    """The front end's serialised graph with our layout, note and metadata; fixed seeds, and nothing of the day."""
    for node in ui["nodes"]:
        node["properties"]["cnr_id"] = MOUNT if node["type"] in ours else "comfy-core"
        if str(node["id"]) in workflow.downloads:
            node["properties"]["models"] = [workflow.downloads[str(node["id"])]]
        values = node.get("widgets_values", [])
        node["widgets_values"] = ["fixed" if value == "randomize" else value for value in values]
    ui["last_node_id"] += 1
    nodes = {str(node["id"]): node for node in ui["nodes"]}
    nodes["note"] = note_node(ui["last_node_id"], workflow.note)
    groups = arrange(nodes, workflow.stacks)
    identity = str(uuid.uuid5(uuid.NAMESPACE_URL, workflow.name))
    return {**ui, "id": identity, "nodes": list(nodes.values()), "groups": groups, "extra": {}}


def note_node(number: int, text: str) -> Json:
    return {
        "id": number,
        "type": "MarkdownNote",
        "title": "Note",
        "size": [0, 0],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "properties": {},
        "widgets_values": [text],
        "color": "#432",
        "bgcolor": "#000",
    }
