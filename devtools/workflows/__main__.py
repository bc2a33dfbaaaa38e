"""The example workflows and blueprints out of one description: API graph, UI graph, thumbnail, and the samples in them.

    python devtools/pack.py devtools.workflows [--thumbnails] [NAME ...]

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
from . import WORKFLOWS, chromium, photographs, samples
from .blueprints import BLUEPRINTS
from .front_end import convert, convert_blueprint
from .thumbnails import thumbnail

FOLDER = ROOT / "example_workflows"
SUBGRAPHS = ROOT / "subgraphs"


def main() -> int:
    parser = argparse.ArgumentParser("devtools.workflows", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="only these workflows and blueprints; all, unless any is named"
    )
    parser.add_argument("--thumbnails", action="store_true", help="run the graphs and draw the thumbnails anew")
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    described = {workflow.name: workflow for describe in WORKFLOWS for workflow in [describe()]}
    subgraphs = {blueprint.title: blueprint for describe in BLUEPRINTS for blueprint in [describe()]}
    if unknown := set(options.names) - described.keys() - subgraphs.keys():
        known = ", ".join((*described, *subgraphs))
        parser.error(f"there is no workflow or blueprint {', '.join(sorted(unknown))}; there are {known}")
    workflows = [described[name] for name in options.names or described if name in described]
    blueprints = [made for name, made in subgraphs.items() if name in options.names or not options.names]
    home = find_host()
    assert home, "no ComfyUI yet: run `python dev.py test` once, or set COMFYUI_PATH"
    SAMPLES.mkdir(parents=True, exist_ok=True)
    for name, picture in samples().items():
        picture.save(SAMPLES / f"{name}.png")
    for name, picture in photographs().items():
        picture.save(SAMPLES / f"{name}.jpg", quality=92)
    with Host(home, variables={"OMP_NUM_THREADS": "1"}, api_nodes=True) as host, sync_playwright() as playwright:
        module = f"custom_nodes.{MOUNT}"
        ours = {name for name, node in host.object_info().items() if node["python_module"] == module}
        page = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"]).new_page()
        for workflow in workflows:
            page.goto(host.url)  # anew: the front end gives a node what one of its number had in the graph before
            page.wait_for_function("window.app?.vueAppReady")
            ui, api = convert(workflow, page, ours)
            write_json(FOLDER / f"{workflow.name}.json", ui)
            write_json(FOLDER / "api" / f"{workflow.name}.json", api)
            if options.thumbnails:
                thumbnail(host, workflow, api).save(FOLDER / f"{workflow.name}.jpg", quality=90)
            print(workflow.name, flush=True)
        for blueprint in blueprints:
            page.goto(host.url)
            page.wait_for_function("window.app?.vueAppReady")
            write_json(SUBGRAPHS / f"{blueprint.title}.json", convert_blueprint(blueprint, page, ours))
            print(blueprint.title, flush=True)
    return 0


def write_json(path: Path, content: Json) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((json.dumps(content, indent=2) + "\n").encode())
