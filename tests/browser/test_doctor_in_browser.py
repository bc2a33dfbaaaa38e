"""Visual Insertion Doctor in the real front end: its report and its picture are seen on the node."""


def test_the_report_is_read_on_the_node(front_end, artifacts):
    page = front_end.page
    front_end.show_graph({"1": {"class_type": "VisualInsertionDoctor", "inputs": {}}}, "doctor")
    node = page.evaluate("() => app.rootGraph.nodes[0].id")
    front_end.run()
    front_end.shows_images(node)
    page.locator("textarea").wait_for()
    front_end.screenshot(artifacts / "doctor.png")
    report = page.locator("textarea")
    assert "What to do next" in report.input_value()
    assert report.is_visible() and report.evaluate("text => text.readOnly && text.clientHeight > 200")
    assert page.evaluate("node => app.rootGraph.getNodeById(node).imgs[0].naturalWidth", node) == 128
    assert front_end.errors == []
