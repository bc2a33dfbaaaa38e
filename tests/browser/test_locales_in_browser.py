"""Our nodes in the front end of someone whose browser speaks another language."""

import pytest

from visual_insertion_pack.devtools import locales

OFFERED = ("zh", "ja", "ko", "fr")  # of our languages those that the host's front end has
NODE = "ImageConditionedPix2PixSampler"

SHOWN = """() => {
    const [node] = app.rootGraph.nodes
    const label = slot => slot.label ?? slot.localized_name
    const inputs = [...node.inputs, ...node.widgets].map(input => [input.name, label(input)])
    return {title: node.title, inputs: Object.fromEntries(inputs), outputs: node.outputs.map(label)}
}"""
TITLE = """() => {
    const [{pos}] = app.rootGraph.nodes
    app.canvas.ds.scale = 1
    app.canvas.ds.offset = [600 - pos[0], 300 - pos[1]]
    app.canvas.setDirty(true, true)
    const {left, top} = app.canvas.canvas.getBoundingClientRect()
    return [left + 660, top + 285]
}"""


@pytest.fixture(scope="module", params=OFFERED)
def language(request):
    return request.param


def test_a_node_speaks_the_browsers_language(front_end, server, language, artifacts):
    english = server.get("/i18n")["en"]["nodeDefs"][NODE]
    table = locales.table(language)
    page = front_end.page
    front_end.show_graph({"1": {"class_type": NODE, "inputs": {}}}, "language")
    page.wait_for_timeout(1000)  # the front end has fitted the view
    node = page.evaluate(SHOWN)
    assert node["title"] == table[english["display_name"]]
    assert node["outputs"] == [table[text["name"]] for text in english["outputs"].values()]
    for name, text in english["inputs"].items():
        assert node["inputs"][name] == table[text["name"]]
    title = page.evaluate(TITLE)
    page.wait_for_timeout(500)  # the node is drawn there
    front_end.hover(*title, shows=page.get_by_text(table[english["description"]], exact=True).first)
    page.screenshot(path=artifacts / f"node_in_{language}.png")
    assert front_end.errors == []
