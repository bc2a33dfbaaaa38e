"""Our nodes in the front end of someone whose browser speaks another language."""

import pytest

from visual_insertion_pack.devtools import locales

OFFERED = ("zh", "ja", "ko", "fr")  # of our languages those that the host's front end has
NODE = "ImageConditionedPix2PixSampler"

ADD_NODE = """type => {
    const node = LiteGraph.createNode(type)
    node.pos = [600, 300]
    app.rootGraph.add(node)
    const label = slot => slot.label ?? slot.localized_name
    const inputs = [...node.inputs, ...node.widgets].map(input => [input.name, label(input)])
    return {title: node.title, inputs: Object.fromEntries(inputs), outputs: node.outputs.map(label)}
}"""
TITLE = """() => {
    const [x, y] = app.rootGraph.nodes.at(-1).pos
    const area = app.canvas.canvas.getBoundingClientRect()
    const [left, top] = app.canvas.convertOffsetToCanvas([x + 60, y - 15])
    return [area.left + left, area.top + top]
}"""


@pytest.fixture(scope="module", params=OFFERED)
def language(request):
    return request.param


def test_a_node_speaks_the_browsers_language(front_end, server, language, artifacts):
    english = server.get("/i18n")["en"]["nodeDefs"][NODE]
    table = locales.table(language)
    page = front_end.page
    node = page.evaluate(ADD_NODE, NODE)
    assert node["title"] == table[english["display_name"]]
    assert node["outputs"] == [table[text["name"]] for text in english["outputs"].values()]
    for name, text in english["inputs"].items():
        assert node["inputs"][name] == table[text["name"]]
    page.wait_for_timeout(1000)  # the node is drawn
    front_end.hover(*page.evaluate(TITLE), shows=page.get_by_text(table[english["description"]], exact=True).first)
    page.screenshot(path=artifacts / f"node_in_{language}.png")
    assert front_end.errors == []
