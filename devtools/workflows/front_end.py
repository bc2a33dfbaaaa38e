"""The host's own front end, in a Chromium without a window, turns a description into both kinds of JSON."""

from __future__ import annotations

import json
import shutil
import uuid
from typing import TYPE_CHECKING

from ..host import MOUNT, Json
from .graph import BROWN, Workflow
from .layout import arrange, view
from .subgraphs import Blueprint, assemble

if TYPE_CHECKING:
    from playwright.sync_api import Page

FORM = (  # kinds of nodes and their widgets that the App view shows, in this order
    ("LoadImage", "image"),
    ("CLIPTextEncode", "text"),
    *(("AddItSampler", words) for words in ("scene_prompt", "prompt", "subject")),
    ("PlayroomPictureWords", "prompt"),
    ("TextEncodeQwenImageEditPlus", "prompt"),
    ("GeminiImage2Node", "prompt"),
    *(("BoxToMask", side) for side in ("x", "y", "width", "height")),
    *(("LocalRegionCrop", side) for side in ("x", "y", "width", "height")),
    *(("PlaceObject", side) for side in ("x", "y", "width", "height")),
    ("GuidanceControl", "object_scale"),
    ("ImageConditionedPix2PixSampler", "seed"),
    ("AddItSampler", "seed"),
    ("KSampler", "seed"),
    ("RandomNoise", "noise_seed"),
    ("GeminiImage2Node", "seed"),
)

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
    ui, api = by_front_end(workflow, page, ours)
    return dress(ui, workflow), api


def convert_blueprint(blueprint: Blueprint, page: Page, ours: set[str]) -> Json:
    """The file of a blueprint."""
    ui, _ = by_front_end(blueprint.workflow, page, ours)
    groups = [group for group in blueprint.workflow.groups if group.colour != BROWN]  # placeholders
    inner = {number for group in groups for number in group.nodes}
    ui["groups"] = arrange({str(node["id"]): node for node in ui["nodes"] if str(node["id"]) in inner}, groups)
    return assemble(blueprint, ui)


def by_front_end(workflow: Workflow, page: Page, ours: set[str]) -> tuple[Json, Json]:
    """What the front end serialises of a graph, with our metadata, fixed seeds, nothing of the day; its export."""
    converted = json.loads(page.evaluate(CONVERT, [workflow.graph, workflow.name]))
    for number, node in workflow.graph.items():
        exported = converted["api"][number]["inputs"]
        assert node["inputs"].items() <= exported.items(), f"{workflow.name}: {node} became {exported}"
    for node in converted["ui"]["nodes"]:
        node["properties"]["cnr_id"] = MOUNT if node["type"] in ours else "comfy-core"
        if str(node["id"]) in workflow.downloads:
            node["properties"]["models"] = [workflow.downloads[str(node["id"])]]
        values = node.get("widgets_values", [])
        node["widgets_values"] = ["fixed" if value == "randomize" else value for value in values]
    return converted["ui"], converted["api"]


def dress(ui: Json, workflow: Workflow) -> Json:
    """The front end's graph with our layout, note, view and form."""
    ui["last_node_id"] += 1
    nodes = {str(node["id"]): node for node in ui["nodes"]}
    nodes["note"] = note_node(ui["last_node_id"], workflow.note)
    label_pictures(ui)
    groups = arrange(nodes, workflow.groups)
    extra = {"ds": view(groups), "linearData": form(workflow), "visual_insertion_template": True}  # the last for web/js
    identity = str(uuid.uuid5(uuid.NAMESPACE_URL, workflow.name))
    return {**ui, "id": identity, "nodes": list(nodes.values()), "groups": groups, "extra": extra}


def label_pictures(ui: Json) -> None:
    """Call a Load Image's widget what the node is called: in the App view there are no titles."""
    for node in ui["nodes"]:
        for entry in node["inputs"] if node["type"] == "LoadImage" else ():
            if entry["name"] == "image":
                entry["label"] = node["title"]


def form(workflow: Workflow) -> Json:
    """What the front end's App view shows of a workflow: widgets to fill in, and the node whose pictures come out."""
    inputs = [
        [int(number), widget]
        for kind, widget in FORM
        for number, node in workflow.graph.items()
        if node["class_type"] == kind and node["inputs"].get(widget) not in (None, "")
    ]
    outputs = [int(number) for number, node in workflow.graph.items() if node["class_type"] == "SaveImage"]
    return {"inputs": inputs, "outputs": outputs}


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
