"""One node of the search for the whole graph, and the graph as a form."""

import json
from pathlib import Path

from visual_insertion_pack.devtools.workflows.blueprints import BLUEPRINTS

FOLDER = Path(__file__).resolve().parents[2] / "example_workflows"
TITLES = [describe().title for describe in BLUEPRINTS]
PICTURES = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "visual_insertion_scene.png"}},
    "2": {"class_type": "LoadImage", "inputs": {"image": "visual_insertion_object.png"}},
    "3": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
}
CONNECT = """() => {
    const known = ["LoadImage", "PreviewImage"]
    const node = app.rootGraph.nodes.find(node => !known.includes(node.type))
    const [scene, object] = app.rootGraph.nodes.filter(node => node.type === "LoadImage")
    const slot = name => node.inputs.findIndex(input => input.name === name)
    scene.connect(0, node, slot("scene"))
    object.connect(0, node, slot("object"))
    node.connect(0, app.rootGraph.nodes.find(node => node.type === "PreviewImage"), 0)
    return {title: node.title, widgets: node.widgets.map(widget => widget.name)}
}"""
FREE = (1000, 850)  # px of the page, where neither a node lies nor the side panel that an earlier test left open
RESULTS = "[data-testid=result-item]"


def offered(page, field, words):
    """The titles that the search offers for words."""
    field.fill(words)
    page.wait_for_timeout(1000)  # the list follows a moment after the typing
    page.locator(RESULTS).first.wait_for()
    return [text.splitlines()[0].strip() for text in page.locator(RESULTS).all_inner_texts() if text]


def test_blueprints_are_found_by_name_and_insert_object_is_put_into_a_graph_and_run(opened, artifacts):
    page = opened.page
    opened.show_graph(PICTURES, "gesture")
    page.evaluate("() => { app.canvas.ds.scale = 0.2; app.canvas.ds.offset = [0, 0]; app.canvas.setDirty(true, true) }")
    page.wait_for_timeout(500)
    field = opened.search(FREE)
    assert [offered(page, field, title)[0] for title in TITLES] == TITLES
    titles = offered(page, field, "insert object")
    page.screenshot(path=artifacts / "blueprint_search.png")
    assert set(titles[:2]) == {"Insert Object (toys)", "Insert Object (photographs)"}
    page.locator(RESULTS).filter(has_text="Insert Object (toys)").first.click()
    page.mouse.click(*FREE)  # where the node is let go of
    page.wait_for_function("() => app.rootGraph.nodes.length === 4")
    inserted = page.evaluate(CONNECT)
    assert inserted["title"] == "Insert Object (toys)"
    assert inserted["widgets"][:2] == ["seed", "steps"]
    entry = opened.run()
    assert entry["outputs"]["3"]["images"]
    opened.shows_images("3")
    opened.screenshot(artifacts / "blueprint_ran.png")


def test_a_template_is_a_form_in_the_app_view(front_end, artifacts):
    path = FOLDER / "insert_object.json"
    front_end.open_template(path)
    page = front_end.page
    form = json.loads(path.read_text("utf-8"))["extra"]["linearData"]
    page.evaluate("() => app.extensionManager.command.execute('Comfy.ToggleLinear')")
    page.get_by_test_id("linear-widgets").wait_for()
    page.wait_for_timeout(1500)
    page.screenshot(path=artifacts / "insert_object_app.png")
    shown = page.get_by_test_id("linear-widgets").inner_text()
    assert shown.split()[0] == "Scene" and "Object" in shown.split()
    assert "seed" in shown
    assert len(form["inputs"]) == 4
    page.evaluate("() => app.extensionManager.command.execute('Comfy.ToggleLinear')")
    page.get_by_test_id("linear-widgets").wait_for(state="hidden")
