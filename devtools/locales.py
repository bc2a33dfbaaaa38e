"""locales/en/nodeDefs.json out of the nodes' own schemas: what the front end shows and translators start from.

.dev/venv/bin/python devtools/pack.py devtools.locales
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

from .environment import ROOT, find_host
from .inprocess import InProcess

ENGLISH = ROOT / "locales" / "en" / "nodeDefs.json"


def our_nodes() -> list[Any]:
    """The node classes of the pack; ComfyUI must be booted (inprocess.py)."""
    from ..nodes import VisualInsertionExtension

    return asyncio.run(VisualInsertionExtension().get_node_list())


def node_definitions() -> str:
    """The content of nodeDefs.json."""
    definitions = {}
    for node in our_nodes():
        schema = node.GET_SCHEMA()
        inputs = {item.id: {"name": item.display_name or item.id, "tooltip": item.tooltip} for item in schema.inputs}
        outputs = {str(index): {"name": item.display_name} for index, item in enumerate(schema.outputs)}
        definitions[schema.node_id] = {
            "display_name": schema.display_name,
            "description": schema.description,
            "inputs": inputs,
            "outputs": outputs,
        }
    return json.dumps(definitions, indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    home = find_host()
    assert home, "no ComfyUI yet: run `python dev.py test` once, or set COMFYUI_PATH"
    with tempfile.TemporaryDirectory() as base:
        InProcess(home, Path(base))
        ENGLISH.parent.mkdir(parents=True, exist_ok=True)
        ENGLISH.write_text(node_definitions(), encoding="utf-8")
    print(f"wrote {ENGLISH}")
    return 0
