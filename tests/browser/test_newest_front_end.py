"""The example workflows in the newest front end, which users of an older ComfyUI may have asked for."""

import json
import sys
from pathlib import Path

import pytest

from visual_insertion_pack.devtools.environment import SetupError, fetched
from visual_insertion_pack.devtools.host import Host
from visual_insertion_pack.devtools.releases import FRONT_END
from visual_insertion_pack.devtools.workflows import WORKFLOWS

FOLDER = Path(__file__).resolve().parents[2] / "example_workflows"
NAMES = [workflow.name for describe in WORKFLOWS if (workflow := describe()).downloads or not workflow.needs]  # no API


@pytest.fixture(scope="module")
def server(browser, home):
    """The host with the newest front end in the place of its own."""
    try:
        folder = fetched(FRONT_END, Path(sys.executable))
    except SetupError as problem:
        pytest.skip(f"no front end {FRONT_END.version}: {problem}")
    with Host(home, flags=["--front-end-root", str(folder)], variables={"OMP_NUM_THREADS": "1"}) as host:
        yield host


@pytest.mark.parametrize("name", NAMES)
def test_a_template_loads_without_a_missing_node(name, front_end):
    front_end.drop(FOLDER / f"{name}.json")
    assert front_end.unknown_nodes() == []
    exported = {number: node["class_type"] for number, node in front_end.exported().items()}
    stored = json.loads((FOLDER / "api" / f"{name}.json").read_text("utf-8"))
    assert exported == {number: node["class_type"] for number, node in stored.items()}
    assert front_end.errors == []


def test_the_packs_own_code_works(front_end, artifacts):
    front_end.drop(FOLDER / "insert_object.json")
    picture = front_end.page.locator(".visual-insertion-schedule").last
    picture.wait_for()
    front_end.wait_for("image => image.complete && image.naturalWidth === 640", picture)
    front_end.run()
    node = "app.rootGraph.nodes.find(node => node.type === 'ImageConditionedPix2PixSampler')"
    front_end.page.wait_for_function(f"() => {node}.visualInsertionReport")
    assert front_end.page.evaluate("() => LGraphCanvas.link_type_colors.GUIDANCE").startswith("#")
    front_end.screenshot(artifacts / "newest_front_end.png")
    assert front_end.errors == []


@pytest.mark.parametrize("node", ["RestoreScene", "GuidanceControl"])
def test_help_fits_into_the_side_panel(node, front_end, artifacts, help_fits):
    help_fits(front_end, node, artifacts)
