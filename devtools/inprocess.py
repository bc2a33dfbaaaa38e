"""ComfyUI inside this process, on the CPU as a rule: its nodes and ours as plain calls, without a server."""

from __future__ import annotations

import asyncio
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from .host import cpu_flags
from .pack import load_pack


class InProcess:
    """Boot once per process, before anything else imports ComfyUI (it reads sys.argv on import).

    Our pack is loaded as `visual_insertion_pack`, so a test sees the very modules the nodes use.
    """

    def __init__(self, home: Path, base: Path):
        assert "comfy" not in sys.modules, "ComfyUI is imported already, with other arguments"
        for name in ("custom_nodes", "input", "models", "output", "temp", "user"):
            (base / name).mkdir(parents=True, exist_ok=True)
        sys.path.insert(0, str(home))
        arguments = sys.argv
        sys.argv = ["main.py", *cpu_flags(), "--base-directory", str(base)]
        try:
            import_module("comfy.options").enable_args_parsing()
            import_module("comfy.cli_args")
        finally:
            sys.argv = arguments
        import_module("utils.extra_config")  # older hosts: before `nodes` hides `utils`
        self.base = base
        self.nodes: Any = import_module("nodes")
        asyncio.run(self._register())

    async def _register(self) -> None:
        if hasattr(self.nodes, "init_public_apis"):
            await self.nodes.init_public_apis()
        await self.nodes.init_builtin_extra_nodes()
        extension = load_pack().comfy_entrypoint()
        if asyncio.iscoroutine(extension):
            extension = await extension
        await extension.on_load()
        for node in await extension.get_node_list():
            self.nodes.NODE_CLASS_MAPPINGS[node.GET_SCHEMA().node_id] = node

    def __call__(self, node_id: str, **inputs: Any) -> tuple[Any, ...]:
        """Run one node on these inputs as the executor would; its outputs."""
        import torch

        node = self.nodes.NODE_CLASS_MAPPINGS[node_id]
        with torch.inference_mode():
            if hasattr(node, "GET_SCHEMA"):
                output = node.PREPARE_CLASS_CLONE(None).EXECUTE_NORMALIZED(**inputs)
            else:
                output = getattr(node(), node.FUNCTION)(**inputs)
        return tuple(getattr(output, "args", output))
