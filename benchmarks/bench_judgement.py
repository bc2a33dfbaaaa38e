"""A person's eye on what the templates make: the contact sheet to look at, and how many results are worth keeping.

    python dev.py bench judgement

Every template that runs without files of others is run in the real ComfyUI; what goes in and what comes out lies on
docs/images/contact_sheet.jpg. docs/template_judgement.json says of each, by somebody who looked at that sheet and at
the results in full size, whether they would keep it, and why or why not; here it is counted, into
docs/figures/first_hour.json.
"""

from __future__ import annotations

import argparse
import io
import json

from PIL import Image

from ..devtools.demo import saved_image, title
from ..devtools.environment import ROOT, find_host
from ..devtools.host import Graph, Host
from ..devtools.pictures import read_picture, sample_path, sheet
from ..devtools.workflows import WORKFLOWS
from .figures import record

COMMAND = "python dev.py bench judgement"
JUDGEMENT = ROOT / "docs" / "template_judgement.json"
SHEET = ROOT / "docs" / "images" / "contact_sheet.jpg"
ROW = 320  # px, the height of one
COLUMNS = 2


def pictures_of(host: Host, name: str, graph: Graph) -> Image.Image:
    """What goes into a template and what comes out, side by side."""
    entry = host.run(graph)
    pictures = {
        title(node): read_picture(sample_path(node["inputs"]["image"]))
        for node in graph.values()
        if node["class_type"] == "LoadImage"
    }
    pictures[name] = Image.open(io.BytesIO(host.view(saved_image(graph, entry)))).convert("RGB")
    row = sheet(pictures)
    return row.resize((round(row.width * ROW / row.height), ROW), Image.Resampling.LANCZOS)


def page_of(rows: list[Image.Image]) -> Image.Image:
    """The rows in columns below each other."""
    width = max(row.width for row in rows)
    page = Image.new("RGB", (width * COLUMNS, ROW * -(-len(rows) // COLUMNS)), "white")
    for number, row in enumerate(rows):
        page.paste(row, (width * (number % COLUMNS), ROW * (number // COLUMNS)))
    return page


def main() -> None:
    argparse.ArgumentParser("dev.py bench judgement", description=__doc__).parse_args()
    names = [workflow.name for workflow in (describe() for describe in WORKFLOWS) if not workflow.needs]
    judgement = json.loads(JUDGEMENT.read_text("utf-8"))
    assert judgement.keys() == set(names), f"{JUDGEMENT.name} judges other templates than there are: {names}"
    home = find_host()
    assert home, "no ComfyUI yet: run `python dev.py test` once, or set COMFYUI_PATH"
    rows = []
    with Host(home, variables={"OMP_NUM_THREADS": "1"}) as host:
        for name in names:
            graph = json.loads((ROOT / "example_workflows" / "api" / f"{name}.json").read_text("utf-8"))
            rows.append(pictures_of(host, name, graph))
            verdict = "kept" if judgement[name]["keep"] else "not kept"
            print(f"{name:32} {verdict}: {judgement[name]['why']}", flush=True)
    page_of(rows).save(SHEET, quality=80)
    kept = sum(verdict["keep"] for verdict in judgement.values())
    unit = f"of {len(names)} results of templates on toys, by eye: docs/{JUDGEMENT.name}"
    record("first_hour", {"templates_kept_by_eye": (kept, unit)}, COMMAND)


if __name__ == "__main__":
    main()
