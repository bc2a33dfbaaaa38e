"""What templates hold beside their description, and what help pages say about them."""

import json
import re
from pathlib import Path

import pytest

from visual_insertion_pack.devtools.workflows import WORKFLOWS

ROOT = Path(__file__).resolve().parents[2]
GRAPHS = {
    path.stem: json.loads(path.read_text("utf-8")) for path in (ROOT / "example_workflows" / "api").glob("*.json")
}
SHOWING = {"compare_view"}  # a widget without a value of its own
LINE = re.compile(r"^Templates with it: (.+)\.$", re.MULTILINE)
PAGES = sorted(path for path in (ROOT / "web" / "docs").glob("*.md") if LINE.search(path.read_text("utf-8")))


@pytest.mark.parametrize("name", sorted(GRAPHS))
def test_what_a_description_leaves_out_is_the_default(name, known_nodes):
    (workflow,) = (made for describe in WORKFLOWS if (made := describe()).name == name)
    known = known_nodes
    for number, node in GRAPHS[name].items():
        kinds = {key: kind for part in known[node["class_type"]]["input"].values() for key, kind in part.items()}
        for key in node["inputs"].keys() - workflow.graph[number]["inputs"].keys() - SHOWING:
            options, settings = (*kinds[key], {})[:2]
            first = options[0] if isinstance(options, list) else settings.get("options", [None])[0]
            assert node["inputs"][key] == settings.get("default", first), f"{node['class_type']}.{key}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_help_page_names_all_templates_with_its_node(page):
    (line,) = LINE.findall(page.read_text("utf-8"))
    kinds = {name: {node["class_type"] for node in graph.values()} for name, graph in GRAPHS.items()}
    assert line == ", ".join(f"*{name}*" for name in sorted(kinds) if page.stem in kinds[name])


def test_the_nodes_around_masks_and_regions_name_their_templates():
    named = {path.stem for path in PAGES}
    assert {"BoxToMask", "ArbitraryMask", "LocalRegionCrop", "LocalRegionPaste"} <= named
    assert {f"PaintByExample{part}" for part in ("Loader", "Encode", "Conditioning", "PlayroomModels")} <= named
