"""What the templates leave of their scenes: the share of pixels that are the scene's, in all and outside the effect.

    python dev.py bench templates

Every template that runs without files of others is run in the real ComfyUI. Figures go to docs/figures/, scenes and
results side by side, for people, to docs/images/templates.jpg.
"""

from __future__ import annotations

import io
import json

import numpy as np
from PIL import Image

from ..devtools.demo import saved_image, title
from ..devtools.environment import ROOT, find_host
from ..devtools.host import Graph, Host, Json
from ..devtools.pictures import sheet
from ..devtools.workflows import WORKFLOWS
from . import figures

COMMAND = "python dev.py bench templates"
ENLARGED = "Enlarge the scene"  # the node that makes another picture the scene
SHEET = ROOT / "docs" / "images" / "templates.jpg"
WIDTH = 900  # px, of a row of the sheet


def watched(graph: Graph) -> Graph:
    """The graph with two previews more: the scene that it restores, and where the effect is not zero."""
    numbers = {title(node): number for number, node in graph.items()}
    scene = numbers.get(ENLARGED, numbers["Scene"])
    mask = graph[numbers["What changed"]]["inputs"]["mask"]
    more: dict[str, Json] = {
        "any": {"class_type": "ThresholdMask", "inputs": {"mask": mask, "value": 0.0}},
        "effect": {"class_type": "MaskPreview", "inputs": {"mask": ["any", 0]}},
        "before": {"class_type": "PreviewImage", "inputs": {"images": [scene, 0]}},
    }
    return graph | more


def main() -> int:
    home = find_host()
    assert home, "no ComfyUI yet: run `python dev.py test` once, or set COMFYUI_PATH"
    values: dict[str, tuple[float, str]] = {}
    rows = []
    with Host(home, variables={"OMP_NUM_THREADS": "1"}) as host:
        for workflow in (describe() for describe in WORKFLOWS):
            if workflow.needs:
                continue
            path = ROOT / "example_workflows" / "api" / f"{workflow.name}.json"
            graph = watched(json.loads(path.read_text("utf-8")))
            entry = host.run(graph)

            def view(image: Json) -> Image.Image:
                return Image.open(io.BytesIO(host.view(image))).convert("RGB")

            result = view(saved_image(graph, entry))
            scene, effect = (view(entry["outputs"][number]["images"][0]) for number in ("before", "effect"))
            equal = (np.asarray(result) == np.asarray(scene)).all(-1)
            outside = np.asarray(effect.convert("L")) == 0
            values[f"template_{workflow.name}_outside_bit_equal"] = (float(equal[outside].mean()), "share of pixels")
            values[f"template_{workflow.name}_identical"] = (round(float(equal.mean()), 4), "share of pixels")
            print(f"{workflow.name:32} outside {equal[outside].mean():.4f}  identical {equal.mean():.4f}", flush=True)
            row = sheet({"scene": scene, workflow.name: result, "effect": effect})
            rows.append(row.resize((WIDTH, round(row.height * WIDTH / row.width))))
    page = Image.new("RGB", (WIDTH, sum(row.height for row in rows)))
    top = 0
    for row in rows:
        page.paste(row, (0, top))
        top += row.height
    SHEET.parent.mkdir(exist_ok=True)
    page.save(SHEET, quality=80)
    figures.record("restoration", values, COMMAND)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
