"""A Chromium of this machine with the host's front end in it."""

import json
import re
import time

import pytest

from visual_insertion_pack.devtools import workflows

# Errors in the console that the host's own front end makes on every start here.
OF_THE_HOST = (
    r"404 \(Not Found\) \S*/user\.css$",  # no custom style sheet,
    r"404 \(Not Found\) \S*/api/userdata",  # and no settings files in a fresh user folder
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
        page.wait_for_function("() => window.app?.vueAppReady")

    def _hear(self, message):
        text = f"{message.text} {message.location['url']}"
        if message.type == "error" and not any(re.search(known, text) for known in OF_THE_HOST):
            self.errors.append(text)

    def open_template(self, path, category):
        """Click through the template browser to a workflow."""
        self.page.get_by_role("button", name="Templates").click()
        self.page.get_by_text(category, exact=True).first.click()
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


@pytest.fixture(scope="module")
def opened(browser, server):
    server.post("/settings/Comfy.TutorialCompleted", True)  # no template browser of its own accord
    with browser.new_page(viewport={"width": 1900, "height": 1000}) as page:
        yield FrontEnd(page, server)


@pytest.fixture
def front_end(opened):
    """The one page of this module; what an earlier test left in it is another tab."""
    yield opened
    opened.errors.clear()
