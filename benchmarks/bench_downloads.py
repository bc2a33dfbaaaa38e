"""What the template for photographs makes a user download, GB: docs/figures/first_hour.json.

The files that the template's loaders name, with their sizes of weights_manifest.json.
"""

from __future__ import annotations

import argparse
import json

from ..devtools.environment import ROOT
from ..pipelines.weights.manifest import load_manifest
from .figures import record

COMMAND = "python dev.py bench downloads"
TEMPLATE = ROOT / "example_workflows" / "insert_object_real.json"


def main() -> None:
    argparse.ArgumentParser("dev.py bench downloads", description=__doc__).parse_args()
    sizes = {(weight.folder, weight.file): weight.size for weight in load_manifest().values()}
    nodes = json.loads(TEMPLATE.read_text("utf-8"))["nodes"]
    models = [model for node in nodes for model in node["properties"].get("models", [])]
    files = [(model["directory"], model["name"]) for model in models]
    for folder, file in files:
        print(f"{folder}/{file}: {sizes[folder, file] / 1e9:.3f} GB")
    gigabytes = sum(sizes[file] for file in files) / 1e9
    unit = f"GB, the {len(files)} files that {TEMPLATE.stem} names"
    record("first_hour", {"photo_template_download_gb": (round(gigabytes, 2), unit)}, COMMAND)


if __name__ == "__main__":
    main()
