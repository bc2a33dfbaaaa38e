"""Fixtures: the pack's modules, a real ComfyUI server with the pack in it, ComfyUI in this process.

The root is never on sys.path: our `nodes/` would hide the host's `nodes.py`.
"""

import os
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small tensors; before torch is imported

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != ROOT]


def _load_pack():
    spec = spec_from_file_location("devtools_pack", ROOT / "devtools" / "pack.py")
    launcher = module_from_spec(spec)
    spec.loader.exec_module(launcher)
    return launcher.Modules(launcher.load_pack())


@pytest.fixture(scope="session")
def pack():
    """The checkout's modules by attribute: pack.pipelines.visual_insertion.guidance."""
    return _load_pack()


@pytest.fixture(scope="session")
def home(pack):
    """The folder of ComfyUI."""
    home = pack.devtools.environment.find_host()
    assert home, "no ComfyUI yet: run `python dev.py test` once, or set COMFYUI_PATH"
    return home


@pytest.fixture(scope="session")
def server(pack, home):
    """A real ComfyUI server on the CPU, shared by the session; see devtools/host.py."""
    with pack.devtools.host.Host(home, variables={"OMP_NUM_THREADS": "1"}) as host:
        yield host


@pytest.fixture(scope="session")
def comfy(pack, home, tmp_path_factory):
    """ComfyUI in this process: comfy("NodeId", input=value) runs one node; see inprocess.py."""
    return pack.devtools.inprocess.InProcess(home, tmp_path_factory.mktemp("comfy"))


@pytest.fixture(scope="session")
def artifacts():
    """Where a test leaves pictures for people to look at."""
    folder = ROOT / "output" / "ci"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
