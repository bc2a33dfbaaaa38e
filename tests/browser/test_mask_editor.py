"""A mask painted in the host's mask editor is where Paint by Example paints."""

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

GRAPH = Path(__file__).resolve().parents[2] / "example_workflows" / "api" / "paint_by_example.json"
SCENE, BOX, OUTLINE = "2", "4", "5"
SAVED = "13"
SELECT = """id => {
    const node = app.rootGraph.getNodeById(id)
    app.canvas.selectNode(node)
    return node.imgs?.length ?? 0
}"""

BRUSH = 16  # px of the scene, more than half of the editor's brush
PAINTED = (44, 34, 36)  # left, top, side of a square of the scene, px


def paint(page, dialog):
    """Fill a square of the picture by strokes to and fro; (left, top, side) in px of the scene."""
    canvas = dialog.locator("canvas").last
    place = canvas.bounding_box()
    scale = place["width"] / canvas.evaluate("canvas => canvas.width")
    left, top, side = PAINTED
    for row in range(top, top + side + 1, 4):
        y = place["y"] + row * scale
        page.mouse.move(place["x"] + left * scale, y)
        page.mouse.down()
        page.mouse.move(place["x"] + (left + side) * scale, y, steps=8)
        page.mouse.up()
    return PAINTED


def test_a_mask_painted_in_the_mask_editor_is_painted_into(front_end, server, artifacts):
    graph = json.loads(GRAPH.read_text("utf-8"))
    del graph[BOX], graph[OUTLINE]
    for node in graph.values():
        for name, value in node["inputs"].items():
            if value == [OUTLINE, 0]:
                node["inputs"][name] = [SCENE, 1]
    page = front_end.page
    front_end.show_graph(graph, "mask")
    front_end.shows_images(SCENE)
    page.evaluate(SELECT, int(SCENE))
    page.evaluate("() => { app.extensionManager.command.execute('Comfy.MaskEditor.OpenMaskEditor') }")
    dialog = page.get_by_role("dialog")
    save = dialog.get_by_role("button", name="Save")
    save.wait_for()
    page.wait_for_timeout(2000)  # the picture is drawn
    left, top, side = paint(page, dialog)
    page.screenshot(path=artifacts / "mask_editor.png")
    save.click()
    dialog.wait_for(state="hidden")
    entry = front_end.run()
    front_end.screenshot(artifacts / "mask_editor_ran.png")

    def picture(name):
        return np.asarray(Image.open(io.BytesIO(server.view(name))).convert("RGB")).astype(int)

    result = picture(entry["outputs"][SAVED]["images"][0])
    scene = picture({"filename": "visual_insertion_scene.png", "subfolder": "", "type": "input"})
    changed = (result != scene).any(-1)
    rows, columns = np.nonzero(changed)
    assert changed.sum() > 300
    assert min(rows) >= top - BRUSH and max(rows) <= top + side + BRUSH
    assert min(columns) >= left - BRUSH and max(columns) <= left + side + BRUSH
