"""A Chromium of this machine with the host's front end in it."""

import contextlib
import json
import re
import time

import pytest

from visual_insertion_pack.devtools import workflows

# Errors in the console that the host's own front end makes on every start here.
OF_THE_HOST = (
    r"404 \(Not Found\) \S*/user\.css$",  # no custom style sheet,
    r"404 \(Not Found\) \S*/api/userdata",  # and no settings files in a fresh user folder
    r"404 \(Not Found\) \S*/docs/\w+/en\.md$",  # a help page in the language of the front end comes before ours
    r"graph accessed before initialization",
    r"Content Security Policy",  # the test server forbids the front end the network
)


@pytest.fixture(scope="module")  # while Playwright runs, nothing else in this thread may use asyncio
def browser():
    if not (program := workflows.chromium()):
        pytest.skip("no Chromium on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        with playwright.chromium.launch(executable_path=program, args=["--no-sandbox"]) as browser:
            yield browser


class FrontEnd:
    """One page of ComfyUI as a person uses it; `errors` are those in its console that are not the host's own."""

    def __init__(self, page, server):
        self.page, self.server = page, server
        self.errors = []
        page.set_default_timeout(60_000)
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.goto(server.url)
        self.wait_until_ready()

    def wait_until_ready(self):
        """Wait until the page takes clicks. Where much else runs, the host's veil may stay: then load it anew."""
        from playwright.sync_api import TimeoutError

        for _ in range(3):
            self.page.wait_for_function("() => window.app?.vueAppReady")
            try:
                self.page.wait_for_function("() => !document.querySelector('.p-blockui-mask')", timeout=15_000)
                return
            except TimeoutError:
                self.page.reload()
        raise AssertionError("the host's veil stays over the page")

    def _hear(self, message):
        text = f"{message.text} {message.location['url']}"
        if message.type == "error" and not any(re.search(known, text) for known in OF_THE_HOST):
            self.errors.append(text)

    def open_template(self, path):
        """Click through the template browser, where the pack has a name of its own, to a workflow."""
        self.page.get_by_role("button", name="Templates").click()
        self.page.get_by_text("Visual Insertion", exact=True).first.click()
        card = self.page.get_by_test_id(f"template-workflow-{path.stem}")
        card.scroll_into_view_if_needed()  # only then does the gallery give it a picture
        thumbnail = card.locator("img").first
        self.wait_for("image => image.complete && image.naturalWidth > 0", thumbnail)
        card.click()
        self._wait_for_graph(path)

    def drop(self, path):
        """Let go of a workflow's file over the canvas."""
        transfer = self.page.evaluate_handle(
            """([name, text]) => {
                const transfer = new DataTransfer()
                transfer.items.add(new File([text], name, {type: "application/json"}))
                return transfer
            }""",
            [path.name, path.read_text("utf-8")],
        )
        self.page.dispatch_event("#graph-canvas", "drop", {"dataTransfer": transfer, "clientX": 600, "clientY": 500})
        self._wait_for_graph(path)

    def _wait_for_graph(self, path):
        identity = json.loads(path.read_text("utf-8"))["id"]
        self.page.wait_for_function("id => app.rootGraph.id === id && app.rootGraph.nodes.length", arg=identity)
        self.page.wait_for_timeout(1000)  # whatever the front end has to complain about, it does so now

    def wait_for(self, condition, element):
        deadline = time.monotonic() + 60
        while not element.evaluate(condition):
            assert time.monotonic() < deadline, condition
            self.page.wait_for_timeout(50)

    def unknown_nodes(self):
        return self.page.evaluate(
            """() => app.rootGraph.nodes.map(node => node.type)
                .filter(type => !(type in LiteGraph.registered_node_types))"""
        )

    def exported(self):
        """The graph as *Export (API)* would save it."""
        return json.loads(self.page.evaluate("async () => JSON.stringify((await app.graphToPrompt()).output)"))

    def show_graph(self, graph, name):
        """Put a graph of the API's form in the place of the host's first one, which is awaited lest it come later."""
        self.page.wait_for_function("() => app.rootGraph?.nodes.length")
        self.page.evaluate("([graph, name]) => app.loadApiJson(graph, name)", [graph, name])
        types = sorted(node["class_type"] for node in graph.values())
        self.page.wait_for_function(
            "types => String(app.rootGraph.nodes.map(node => node.type).sort()) === String(types)", arg=types
        )

    def search(self, place):
        """Double-click where no node lies; the field of the node search."""
        field = self.page.locator("input[role=combobox]:focus")
        self._until(field, lambda: self.page.mouse.dblclick(*place))
        return field

    def hover(self, x, y, shows):
        """Rest the mouse on a place until that shows something."""

        def rest():
            self.page.mouse.move(x + 300, y + 300)
            self.page.mouse.move(x, y, steps=5)

        self._until(shows, rest)

    def _until(self, element, act):
        """Do something until an element is there: a busy page may miss it."""
        from playwright.sync_api import TimeoutError as NotThere

        for _ in range(6):
            act()
            with contextlib.suppress(NotThere):
                element.wait_for(timeout=10_000)
                return
        raise AssertionError(f"six times nothing: {element}")

    def open_help(self, node):
        """Click on a node, alone in a graph, and on the Info button above it; the help's content."""
        self.show_graph({"1": {"class_type": node, "inputs": {}}}, "help")
        self.page.wait_for_timeout(1000)
        x, y = self.page.evaluate(
            """() => {
                const [{pos}] = app.rootGraph.nodes
                app.canvas.ds.scale = 1
                app.canvas.ds.offset = [400 - pos[0], 300 - pos[1]]
                app.canvas.setDirty(true, true)
                const {left, top} = app.canvas.canvas.getBoundingClientRect()
                return [left + 450, top + 285]
            }"""
        )
        self.page.wait_for_timeout(500)
        self.page.mouse.click(x, y)
        button = self.page.get_by_test_id("info-button")
        button.wait_for()
        if not self.page.locator(".node-help-content").count():
            button.click()
        return self.page.locator(".node-help-content")

    def run(self):
        """Click on Run; the prompt's entry in the server's history once it is there."""
        with self.page.expect_response(lambda reply: reply.url.endswith("/prompt")) as reply:
            self.page.get_by_test_id("queue-button").click()
        answer = reply.value.json()
        assert answer["node_errors"] == {}
        return self.server.result(answer["prompt_id"])

    def shows_images(self, node):
        """Wait until the page shows what a node made."""
        self.page.wait_for_function("node => app.rootGraph.getNodeById(node).imgs?.length > 0", arg=int(node))

    def screenshot(self, path):
        self.page.mouse.move(800, 900)
        self.page.keyboard.press(".")  # fit the view
        self.page.wait_for_timeout(1500)  # the view glides there
        self.page.screenshot(path=path)


def assert_help_fits(front_end, node, folder):
    """A help page in the side panel: its own picture is there, and neither that nor a table sticks out."""
    content = front_end.open_help(node)
    picture = content.locator(f"img[src$='pictures/{node}.webp']")
    picture.wait_for()
    front_end.wait_for("image => image.complete && image.naturalWidth === 640", picture)
    front_end.page.screenshot(path=folder / f"help_{node}.png")
    width = content.evaluate("content => content.clientWidth")
    assert 200 < width < 500
    assert picture.evaluate("image => image.getBoundingClientRect().width") < width + 1
    for table in content.locator("table").all():
        assert table.evaluate("table => table.scrollWidth") < width + 1
    assert front_end.errors == []


@pytest.fixture
def help_fits():
    return assert_help_fits


@pytest.fixture(scope="module")
def language():
    """What the browser speaks; a module may have its own."""
    return "en"


@pytest.fixture(scope="module")
def opened(browser, server, language):
    server.post("/settings/Comfy.TutorialCompleted", True)  # no template browser of its own accord
    with browser.new_page(viewport={"width": 1900, "height": 1000}, locale=language) as page:
        yield FrontEnd(page, server)


@pytest.fixture
def front_end(opened):
    """The one page of this module; what an earlier test left in it is another tab."""
    yield opened
    opened.errors.clear()
