"""The example workflows out of one description: API graph, UI graph and thumbnail, and the samples they start with.

    python devtools/pack.py devtools.workflows [--thumbnails]

The host's own front end, in a Chromium without a window, turns each description into both kinds of JSON; we say where
the nodes lie. Thumbnails are what the graphs really make: draw them anew whenever the playroom models change.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ..environment import ROOT, find_host
from ..host import MOUNT, Host, Json
from ..pictures import SAMPLES
from . import WORKFLOWS, chromium, samples
from .front_end import convert
from .thumbnails import thumbnail

FOLDER = ROOT / "example_workflows"


def main() -> int:
    parser = argparse.ArgumentParser("devtools.workflows", description=__doc__)
    parser.add_argument("--thumbnails", action="store_true", help="run the graphs and draw the thumbnails anew")
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    home = find_host()
    assert home, "no ComfyUI yet: run `python dev.py test` once, or set COMFYUI_PATH"
    SAMPLES.mkdir(parents=True, exist_ok=True)
    for name, picture in samples().items():
        picture.save(SAMPLES / f"{name}.png")
    with Host(home, variables={"OMP_NUM_THREADS": "1"}, api_nodes=True) as host, sync_playwright() as playwright:
        module = f"custom_nodes.{MOUNT}"
        ours = {name for name, node in host.object_info().items() if node["python_module"] == module}
        page = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"]).new_page()
        for describe in WORKFLOWS:
            page.goto(host.url)  # anew: the front end gives a node what one of its number had in the graph before
            page.wait_for_function("window.app?.vueAppReady")
            workflow = describe()
            ui, api = convert(workflow, page, ours)
            write_json(FOLDER / f"{workflow.name}.json", ui)
            write_json(FOLDER / "api" / f"{workflow.name}.json", api)
            if options.thumbnails:
                thumbnail(host, workflow, api).save(FOLDER / f"{workflow.name}.jpg", quality=90)
            print(workflow.name, flush=True)
    return 0


def write_json(path: Path, content: Json) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((json.dumps(content, indent=2) + "\n").encode())
