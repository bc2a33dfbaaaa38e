"""Every template on a laptop's screen: what it opens with can be read."""

import json
from pathlib import Path

import pytest

from visual_insertion_pack.devtools.workflows import WORKFLOWS

FOLDER = Path(__file__).resolve().parents[2] / "example_workflows"
NAMES = [describe().name for describe in WORKFLOWS]
LAPTOP = {"width": 1366, "height": 768}
SMALLEST = 8  # px

LOOK = """() => {
    const {ds, low_quality} = app.canvas
    return {
        text: Math.min(LiteGraph.NODE_TEXT_SIZE, LiteGraph.NODE_SUBTEXT_SIZE) * ds.scale,
        low_quality,
        boxes: app.rootGraph.nodes.map(node => {
            const [x, y, width, height] = node.boundingRect
            const left = (x + ds.offset[0]) * ds.scale, top = (y + ds.offset[1]) * ds.scale
            return {title: node.title, left, top, right: left + width * ds.scale, bottom: top + height * ds.scale}
        }),
    }
}"""

UNDO = """async () => {
    const tracker = app.extensionManager.workflow.activeWorkflow.changeTracker
    const record = () => (tracker.captureCanvasState ?? tracker.checkState).call(tracker)
    const counts = [app.rootGraph.nodes.length]
    app.canvas.ds.scale = 0.3
    record()
    app.rootGraph.remove(app.rootGraph.nodes[0])
    counts.push(app.rootGraph.nodes.length)
    record()
    await tracker.undo()
    return [app.canvas.ds.scale, ...counts, app.rootGraph.nodes.length]
}"""


@pytest.fixture(scope="module")
def laptop(opened):
    opened.page.set_viewport_size(LAPTOP)
    return opened


@pytest.mark.parametrize("name", NAMES)
def test_a_template_opens_readable(name, laptop, artifacts):
    laptop.open_template(FOLDER / f"{name}.json")
    laptop.page.screenshot(path=artifacts / f"{name}_laptop.png")
    seen = laptop.page.evaluate(LOOK)
    assert seen["text"] >= SMALLEST
    assert not seen["low_quality"]  # below that the host draws no text at all
    whole = [
        box["title"]
        for box in seen["boxes"]
        if min(box["left"], box["top"]) >= 0 and box["right"] <= LAPTOP["width"] and box["bottom"] <= LAPTOP["height"]
    ]
    told_in_words = name == "add_it"  # its object is in the prompt
    assert {"Scene", *([] if told_in_words else ["Object"])} <= {title.replace("One view", "Object") for title in whole}
    (note,) = (box for box in seen["boxes"] if box["title"] == "Note")  # its text begins above
    assert min(note["left"], note["top"]) >= 0 and note["right"] <= LAPTOP["width"]


def test_a_template_that_was_looked_at_whole_opens_readable_again(laptop):
    laptop.page.set_viewport_size(LAPTOP)
    for _ in range(2):
        laptop.open_template(FOLDER / "edit_with_qwen.json")
        assert laptop.page.evaluate(LOOK)["text"] >= SMALLEST
        laptop.page.keyboard.press(".")  # the whole graph: text too small to be drawn
        laptop.page.wait_for_timeout(1500)  # the view glides there
        assert laptop.page.evaluate(LOOK)["low_quality"]


def test_a_large_screen_shows_the_whole_graph(laptop):
    laptop.page.set_viewport_size({"width": 2560, "height": 1440})
    laptop.open_template(FOLDER / "insert_two_objects.json")
    boxes = laptop.page.evaluate(LOOK)["boxes"]
    assert len(boxes) == len(json.loads((FOLDER / "insert_two_objects.json").read_text("utf-8"))["nodes"])
    assert min(min(box["left"], box["top"]) for box in boxes) >= 0
    assert max(box["right"] for box in boxes) <= 2560
    assert max(box["bottom"] for box in boxes) <= 1440


def test_undo_leaves_the_view_where_it_is(laptop):
    laptop.page.set_viewport_size(LAPTOP)
    laptop.open_template(FOLDER / "insert_two_objects.json")
    page = laptop.page
    scale, before, without, after = page.evaluate(UNDO)
    assert before == after == without + 1
    assert scale == pytest.approx(0.3)
