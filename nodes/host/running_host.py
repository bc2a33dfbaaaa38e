"""The host that we run in as the doctor looks at it, and its way of telling something on a node while it runs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import comfy.model_management
import folder_paths
import server
from comfy.cli_args import LatentPreviewMethod, args

from ...pipelines.doctor.installation import DIFFUSERS, PACK, Installation
from ...pipelines.weights.manifest import FOLDERS
from .run_progress import run_progress

CANCELLED = comfy.model_management.InterruptProcessingException


def running_installation(quick: bool) -> Installation:
    """This host, its folders and the device that it computes on."""
    folders = {key: [Path(path) for path in folder_paths.get_folder_paths(key)] for key in (*FOLDERS, DIFFUSERS)}
    return Installation(
        comfyui=Path(folder_paths.__file__).parent,
        folders=folders,
        output=Path(folder_paths.get_output_directory()),
        device=str(comfy.model_management.get_torch_device()),
        quick=quick,
        running=True,
        program=subprocess.list2cmdline([sys.executable, str(PACK / "pipelines")]),
        progress=lambda name: _hashing_progress(),
    )


def _hashing_progress():
    """What shows how much of a file is read; raises once the run is cancelled."""
    bar = run_progress(100)
    return lambda done, total: bar(int(100 * done / max(total, 1)), 100)


@contextmanager
def without_preview() -> Iterator[None]:
    """No live previews of what is sampled: on a node of its own a preview would hide the node's picture."""
    method = args.preview_method
    args.preview_method = LatentPreviewMethod.NoPreviews
    try:
        yield
    finally:
        args.preview_method = method


def show_text(node_id: str | None, text: str) -> None:
    """Show a text on a node while it runs; nothing where no server is there to show it."""
    comfy.model_management.throw_exception_if_processing_interrupted()
    if node_id is not None and (running := getattr(server.PromptServer, "instance", None)):
        with suppress(OSError):
            running.send_progress_text(text, node_id)
