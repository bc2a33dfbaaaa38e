"""The checkout as the package `visual_insertion_pack`, a real ComfyUI server with it, ComfyUI in this process.

The root is never on sys.path: our `nodes/` would hide the host's `nodes.py`. What imports ComfyUI, our nodes above
all, can be imported only where the fixture `comfy` is there, so inside of a test.
"""

import os
import sys
import tempfile
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small tensors; before torch is imported

import pytest

ROOT = Path(__file__).resolve().parents[1]
ENCODINGS = tempfile.TemporaryDirectory(prefix="encodings-", ignore_cleanup_errors=True)  # not in the user's place
os.environ["VISUAL_INSERTION_CACHE"] = ENCODINGS.name
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != ROOT]


def _load_pack():
    spec = spec_from_file_location("devtools_pack", ROOT / "devtools" / "pack.py")
    launcher = module_from_spec(spec)
    spec.loader.exec_module(launcher)
    launcher.load_pack()


_load_pack()


@pytest.fixture(scope="session")
def home():
    """The folder of ComfyUI."""
    from visual_insertion_pack.devtools.environment import find_host

    home = find_host()
    assert home, "no ComfyUI yet: run `python dev.py test` once, or set COMFYUI_PATH"
    return home


@pytest.fixture(scope="session")
def server(home):
    """A real ComfyUI server on the CPU, shared by the session; see devtools/host.py."""
    from visual_insertion_pack.devtools.host import Host

    packs = [ROOT / "tests" / "nodes" / "drifting_editor"]
    with Host(home, variables={"OMP_NUM_THREADS": "1"}, more_packs=packs) as host:
        yield host


@pytest.fixture(scope="session")
def known_nodes(home, server):
    """What a host with its API nodes knows of each node; those have their own server, which asks nobody."""
    from visual_insertion_pack.devtools.host import Host

    with Host(home, variables={"OMP_NUM_THREADS": "1"}, api_nodes=True) as host:
        return host.object_info()


@pytest.fixture(scope="session")
def comfy(home, tmp_path_factory):
    """ComfyUI in this process: comfy("NodeId", input=value) runs one node; see inprocess.py."""
    from visual_insertion_pack.devtools.inprocess import InProcess

    return InProcess(home, tmp_path_factory.mktemp("comfy"))


@pytest.fixture
def full_disk():
    """full_disk(bytes): a context in which no file may grow longer, as where a disk has no more room."""
    resource = pytest.importorskip("resource", reason="Windows limits no file sizes")

    @contextmanager
    def limit(size):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limit


@pytest.fixture(scope="session")
def artifacts():
    """Where a test leaves pictures for people to look at."""
    folder = ROOT / "output" / "ci"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
