"""What an artist meets first in the front end: templates that can be read on a laptop, and words that find a node.

Measured in the real front end, in a Chromium without a window:

- of all templates, how many open on a screen of 1366x768 with text of at least 8 px;
- of forty-two words that artists type (tests/artist_words.py), how many find a node of the pack.

Figures go to docs/figures/first_hour.json.
"""

from __future__ import annotations

import argparse
from contextlib import suppress
from typing import TYPE_CHECKING

from ..devtools.environment import find_host
from ..devtools.host import MOUNT, Host
from ..devtools.workflows import WORKFLOWS, chromium
from ..tests.artist_words import WORDS
from .figures import record

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

COMMAND = "python dev.py bench front_end"
LAPTOP = (1366, 768)
SMALLEST = 8  # px, of text that can be read

# What a click on a template's card does, and the text that is seen then, px; 0 where the host draws boxes alone.
OPEN = """async ([module, name]) => {
    const workflow = await (await fetch(`/api/workflow_templates/${module}/${name}.json`)).json()
    await app.loadGraphData(workflow, true, true, name, {openSource: "template"})
}"""
TEXT = """() => {
    const {ds, low_quality} = app.canvas
    return low_quality ? 0 : Math.min(LiteGraph.NODE_TEXT_SIZE, LiteGraph.NODE_SUBTEXT_SIZE) * ds.scale
}"""
FOUND = "() => [...document.querySelectorAll('[data-testid=result-item]')].map(item => item.innerText.trim())"


def readable_templates(page: Page) -> list[str]:
    """The templates that open with text of at least SMALLEST px."""
    names = []
    for workflow in (describe() for describe in WORKFLOWS):
        page.evaluate(OPEN, [MOUNT, workflow.name])
        page.wait_for_timeout(1000)  # what the front end does after loading
        text = page.evaluate(TEXT)
        print(f"{workflow.name:32} text {text:.1f} px", flush=True)
        if text >= SMALLEST:
            names.append(workflow.name)
    return names


def node_search(page: Page) -> Locator:
    """The field of the node search, which opens on a double-click where no node lies; a busy page may miss one."""
    from playwright.sync_api import TimeoutError as NotThere

    page.evaluate("() => app.rootGraph.clear()")
    field = page.locator("input[role=combobox]:focus")
    for _ in range(6):
        page.mouse.dblclick(700, 450)
        with suppress(NotThere):
            field.wait_for(timeout=10_000)
            return field
    raise AssertionError("no node search after six double-clicks on an empty canvas")


def words_found(page: Page, ours: set[str]) -> list[str]:
    """The words whose search lists a node of `ours`, names as the front end shows them."""
    field = node_search(page)
    found = []
    for word in WORDS:
        field.fill(word)
        page.wait_for_timeout(500)  # the list follows a moment after the typing
        names = [text.splitlines()[0].strip() for text in page.evaluate(FOUND) if text]
        if ours & set(names):
            found.append(word)
        else:
            print(f"nothing of ours for: {word}", flush=True)
    return found


def main() -> None:
    argparse.ArgumentParser("dev.py bench front_end", description=__doc__).parse_args()
    from playwright.sync_api import sync_playwright

    home = find_host()
    assert home, "no ComfyUI yet: run `python dev.py test` once, or set COMFYUI_PATH"
    width, height = LAPTOP
    with Host(home, variables={"OMP_NUM_THREADS": "1"}, api_nodes=True) as host, sync_playwright() as playwright:
        host.post("/settings/Comfy.TutorialCompleted", True)  # no template browser of its own accord
        ours = {node["display_name"] for node in host.object_info().values() if node["category"] == "visual insertion"}
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": height}, locale="en")
        page.set_default_timeout(60_000)
        page.goto(host.url)
        page.wait_for_function("() => window.app?.vueAppReady && app.rootGraph?.nodes.length")  # the host's first graph
        found = words_found(page, ours)
        readable = readable_templates(page)
        browser.close()
    values = {
        "templates_readable_1366": (
            len(readable),
            f"of {len(WORKFLOWS)} templates, text of {SMALLEST} px or more on a screen of {width}x{height}",
        ),
        "artist_words_found": (len(found), f"of {len(WORDS)} words typed into the node search, any node of ours"),
    }
    record("first_hour", values, COMMAND)


if __name__ == "__main__":
    main()
