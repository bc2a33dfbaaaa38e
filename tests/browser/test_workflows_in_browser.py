"""The example workflows in the real front end: opened, exported, run, and looked at."""

import json
from pathlib import Path

import pytest

from visual_insertion_pack.devtools.workflows import WORKFLOWS

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "example_workflows"
DESCRIBED = [describe() for describe in WORKFLOWS]
READY = [workflow.name for workflow in DESCRIBED if not workflow.needs]  # run as they are
OFFERING = [workflow.name for workflow in DESCRIBED if workflow.downloads]  # the rest wants a log-in


def stored(name):
    """The API graph that ships, without titles."""
    graph = json.loads((FOLDER / "api" / f"{name}.json").read_text("utf-8"))
    return untitled(graph)


def untitled(graph):
    return {number: {key: node[key] for key in ("class_type", "inputs")} for number, node in graph.items()}


def check_and_run(front_end, name, picture):
    assert front_end.unknown_nodes() == []
    assert front_end.page.get_by_test_id("error-overlay").count() == 0
    assert untitled(front_end.exported()) == stored(name)
    entry = front_end.run()
    (saved,) = (number for number, node in stored(name).items() if node["class_type"] == "SaveImage")
    assert entry["outputs"][saved]["images"]
    front_end.shows_images(saved)
    front_end.screenshot(picture)
    assert front_end.errors == []


@pytest.mark.parametrize("name", READY)
def test_a_template_opens_and_runs(name, front_end, artifacts):
    front_end.open_template(FOLDER / f"{name}.json")
    check_and_run(front_end, name, artifacts / f"{name}.png")


def test_a_workflow_dropped_on_the_canvas_opens_and_runs(front_end, artifacts):
    front_end.drop(FOLDER / "insert_object.json")
    check_and_run(front_end, "insert_object", artifacts / "insert_object_dropped.png")


@pytest.mark.parametrize("name", OFFERING)
def test_a_template_for_real_weights_opens_and_offers_the_downloads(name, front_end, artifacts):
    front_end.open_template(FOLDER / f"{name}.json")
    assert front_end.unknown_nodes() == []
    assert untitled(front_end.exported()) == stored(name)
    front_end.screenshot(artifacts / f"{name}.png")
    front_end.page.get_by_test_id("error-overlay-see-errors").click()
    front_end.page.get_by_test_id("error-group-missing-model").wait_for()
    front_end.page.screenshot(path=artifacts / f"{name}_downloads.png")
    groups = front_end.page.locator("[data-testid^=error-group-]:not([data-testid=error-group-display-message])")
    assert [group.get_attribute("data-testid") for group in groups.all()] == ["error-group-missing-model"]
    rows = front_end.page.get_by_test_id("missing-model-importable-rows")
    ui = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    weights = [weight for node in ui["nodes"] for weight in node["properties"].get("models", [])]
    assert len(weights) == sum("Load" in node["type"] and node["type"] != "LoadImage" for node in ui["nodes"])
    for weight in weights:
        assert rows.get_by_text(weight["name"]).count() == 1
    assert rows.get_by_test_id("missing-model-download").count() == len(weights)
    assert front_end.errors == []


def test_a_missing_node_would_be_seen(front_end, tmp_path):
    text = (FOLDER / "insert_object.json").read_text("utf-8").replace('"SceneDecode"', '"NoSuchNode"')
    broken = json.loads(text) | {"id": "00000000-0000-4000-8000-000000000000"}
    (tmp_path / "broken.json").write_text(json.dumps(broken), encoding="utf-8")
    front_end.drop(tmp_path / "broken.json")
    assert front_end.unknown_nodes() == ["NoSuchNode"]
    assert front_end.page.get_by_test_id("error-overlay").count() == 1
