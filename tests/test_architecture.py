"""The house rule: which room may import which, where mathematics may be, and what may not be in a tracked file.

pipelines/ never imports ComfyUI; nodes/ imports its public face and calculates nothing; nodes/host/ alone touches its
insides. In pipelines/ imports run one way: the command line, the systems, the ground floor; no circles, and from one
system to another only where `house.ALLOWED` says so.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from visual_insertion_pack.devtools import house

ROOT = Path(__file__).resolve().parents[1]

COMFY = {
    *("comfy", "comfy_api", "comfy_api_nodes", "comfy_config", "comfy_execution", "comfy_extras"),
    *("comfyui_version", "execution", "folder_paths", "latent_preview", "node_helpers", "nodes"),
    *("protocol", "server"),
}
COMFY_INSIDES = {"comfy", "comfy_execution", "execution", "latent_preview", "protocol", "server"}
TOP = {"__main__", "commands", "doctor", "front_door", "systems"}  # of pipelines/: doors, what looks at all, the list
OUR_ROOMS = {"nodes", "pipelines", "devtools", "tests", "benchmarks"}
ARRAYS = {"torch", "numpy", "scipy", "einops", "torchvision", "kornia"}
MATHEMATICS = {"numpy", "scipy", "einops", "torchvision", "kornia", "torch.nn.functional", "torch.fft", "torch.linalg"}
ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.MatMult, ast.Pow)


def imports(path: str, source: str) -> Iterator[str]:
    """Dotted names that a file imports anywhere; our own modules start with a dot at the root."""
    package = PurePosixPath(path).parent.parts
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            dotted = ".".join(["", *base] if node.level else []) + "." * bool(node.level)
            names = [f"{node.module}.{a.name}" if node.module else a.name for a in node.names]
            yield from (dotted + name for name in names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in ("import_module", "__import__"):
                yield str(node.args[0].value)


def room(dotted: str) -> str | None:
    """The room of pipelines/ that one of our modules is in; the package itself is none."""
    _, *parts = dotted.split(".") if dotted.startswith(".") else [""]
    return parts[1] if parts[:1] == ["pipelines"] and len(parts) > 1 else None


def home(path: str) -> str:
    """The room of pipelines/ that a file is in."""
    return PurePosixPath(path).parts[1].removesuffix(".py")


def is_system(room: str | None) -> bool:
    return room in house.SYSTEMS


def crossings(path: str, source: str) -> list[str]:
    """What a file imports against the house rule."""
    top = PurePosixPath(path).parts[0]
    wrong = []
    for name in imports(path, source):
        first = name.split(".")[0] or name.split(".")[1]
        own = name.startswith(".")
        if not own and first in {*OUR_ROOMS, "visual_insertion_pack"} - {"nodes"}:
            wrong.append(f"{path}: {name} must be a relative import")
        if top == "pipelines":
            if not own and first in COMFY:
                wrong.append(f"{path}: {name} is ComfyUI")
            if own and first != "pipelines":
                wrong.append(f"{path}: {name} is above pipelines/")
            if own and home(path) not in TOP and room(name) in TOP:
                wrong.append(f"{path}: {name} is the command line, above all rooms")
            if own and is_system(room(name)) and not is_system(home(path)) | (home(path) in TOP):
                wrong.append(f"{path}: the ground floor imports {name}")
        elif path.startswith("nodes/") and not path.startswith("nodes/host/"):
            if not own and first in COMFY_INSIDES:
                wrong.append(f"{path}: {name} belongs into nodes/host/")
    return wrong


def files_of_pipelines(files: dict[str, str]) -> house.Graph:
    """Which file of pipelines/ imports which."""
    return house.import_graph(house.parse(files, "pipelines/"))


def circles_of_rooms(files: dict[str, str]) -> list[list[str]]:
    """Rooms of pipelines/ that import each other in a circle, plain files being rooms of their own."""
    rooms: house.Graph = {}
    for path, imported in files_of_pipelines(files).items():
        rooms.setdefault(home(path), set()).update(home(other) for other in imported)
    for room, others in rooms.items():
        others.discard(room)
    return house.circles(rooms)


def calculations(path: str, source: str) -> list[str]:
    """What a file of nodes/ calculates: outside of nodes/host/ anything, in it what is not moving tensors about."""
    in_host = path.startswith("nodes/host/")
    wrong = []
    for name in imports(path, source):
        if in_host and any(name == one or name.startswith(f"{one}.") for one in MATHEMATICS):
            wrong.append(f"{path}: {name} is mathematics")
        if not in_host and name.split(".")[0] in ARRAYS:
            wrong.append(f"{path}: {name} is for those who calculate")
    for node in ast.walk(ast.parse(source)):
        matrices = isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.MatMult | ast.Pow)
        if matrices or (not in_host and is_arithmetic(node)):
            wrong.append(f"{path}:{node.lineno}: {ast.unparse(node)} is mathematics")
    return wrong


def is_arithmetic(node: ast.AST) -> bool:
    """Whether a node calculates with numbers; texts and lists may be joined, and `/` joins paths but for a number."""
    if isinstance(node, ast.AugAssign):
        return isinstance(node.op, ARITHMETIC)
    if not isinstance(node, ast.BinOp) or not isinstance(node.op, ARITHMETIC):
        return False
    joined = (ast.JoinedStr, ast.List, ast.ListComp, ast.Tuple)
    texts = [isinstance(side, ast.Constant) and isinstance(side.value, str) for side in (node.left, node.right)]
    numbers = [
        isinstance(side, ast.Constant) and isinstance(side.value, int | float) for side in (node.left, node.right)
    ]
    if isinstance(node.op, ast.Div):
        return any(numbers)
    return not any(texts) and not any(isinstance(side, joined) for side in (node.left, node.right))


def touches_the_host(path: str, source: str) -> bool:
    """Whether a file imports the host's insides or what a neighbour makes of them, or takes a MODEL apart."""
    names = list(imports(path, source))
    imports_host = any(name.split(".")[0] in COMFY_INSIDES | {"node_helpers", "comfy_extras"} for name in names)
    takes_apart = any(getattr(node, "attr", "") == "model_config" for node in ast.walk(ast.parse(source)))
    return imports_host or takes_apart or any(name.startswith(".nodes.host.") for name in names)


def imported_at_load(source: str) -> list[str]:
    """Modules outside the standard library that importing a file would import."""

    def walk(body: list[ast.stmt]) -> Iterator[ast.stmt]:
        for statement in body:
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test):
                yield from walk(statement.orelse)
                continue
            yield statement
            for inner in ("body", "orelse", "finalbody"):
                yield from walk(getattr(statement, inner, []))
            for handler in getattr(statement, "handlers", []):
                yield from walk(handler.body)

    found = []
    for statement in walk(ast.parse(source).body):
        if isinstance(statement, ast.Import | ast.ImportFrom):
            names = imports("__init__.py", ast.unparse(statement))
            found += [name for name in names if name.split(".")[0] not in sys.stdlib_module_names]
    return found


def tracked() -> list[Path]:
    """What is, or would be, committed."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    paths = [ROOT / name for name in listed.split("\0") if name]
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def sources(folder: str) -> dict[str, str]:
    found = {
        path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in sorted((ROOT / folder).rglob("*.py"))
    }
    assert found, f"no Python file under {folder}/"
    return found


# Written in pieces, so that this file passes its own test.
REGISTRIES = ["py" + "pi.org", "python" + "hosted.org", "npm" + "js.org", "pytorch" + ".org/whl"]
FORBIDDEN_TEXT = re.compile(
    "|".join(map(re.escape, REGISTRIES))
    + "|--(?:extra-)?index" + "-url"
    + r"|(?<![\w.:/])/(?:home|Users|root|work|tmp|opt|mnt)/\w"
    + r"|[A-Z]:\\+Users\\"
)  # fmt: skip


@pytest.mark.parametrize("folder", ["pipelines", "nodes", "devtools"])
def test_imports_keep_the_house_rule(folder):
    files = sources(folder)
    assert [line for path, source in files.items() for line in crossings(path, source)] == []


def test_files_do_not_import_in_circles():
    assert house.circles(files_of_pipelines(sources("pipelines"))) == []


def test_rooms_do_not_import_in_circles():
    assert circles_of_rooms(sources("pipelines")) == []


def test_systems_import_each_other_only_where_a_method_says_so():
    assert house.sideways_imports(files_of_pipelines(sources("pipelines"))) == []


def test_every_allowance_is_needed_and_every_system_is_there():
    graph = files_of_pipelines(sources("pipelines"))
    used = {(house.system_room(path), house.system_room(file)) for path, files in graph.items() for file in files}
    assert house.ALLOWED <= used
    assert all((ROOT / "pipelines" / system).is_dir() for system in house.SYSTEMS)


def test_nodes_hold_no_mathematics():
    assert [line for path, source in sources("nodes").items() for line in calculations(path, source)] == []


def test_only_what_touches_the_hosts_insides_is_in_its_room():
    files = {path: source for path, source in sources("nodes").items() if path.startswith("nodes/host/")}
    strangers = [path for path, source in files.items() if not touches_the_host(path, source)]
    assert strangers == ["nodes/host/__init__.py"]


def test_loading_the_pack_imports_only_the_standard_library():
    assert imported_at_load((ROOT / "__init__.py").read_text("utf-8")) == []


def test_pip_knows_every_room():
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    rooms = {path.parent for path in (ROOT / "pipelines").rglob("*.py")}
    names = {".".join(["visual_insertion_pack", *r.relative_to(ROOT).parts]) for r in rooms}
    assert [name for name in sorted(names) if f'"{name}"' not in text] == []


def test_no_registry_and_no_machine_path_in_a_tracked_file():
    found, texts = [], 0
    for path in tracked():
        data = path.read_bytes()
        if b"\0" in data[:8192]:
            continue
        texts += 1
        for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
            if match := FORBIDDEN_TEXT.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {match[0]}")
    assert texts > 10
    assert found == []


def test_no_tracked_file_is_large():
    sizes = {path: path.stat().st_size for path in tracked()}
    assert len(sizes) > 10
    assert [str(path) for path, size in sizes.items() if size >= 20_000_000] == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("pipelines/playroom/b.py", "import comfy.sd"),
        ("pipelines/playroom/b.py", "from comfy import sd"),
        ("pipelines/playroom/b.py", "def f():\n    import folder_paths"),
        ("pipelines/playroom/b.py", "from nodes import LoadImage"),
        (
            "pipelines/playroom/b.py",
            "from importlib import import_module\nimport_module('comfy.sd')",
        ),
        ("pipelines/playroom/b.py", "from ...nodes.host import guiders"),
        ("pipelines/playroom/b.py", "from ... import nodes"),
        ("pipelines/playroom/b.py", "import visual_insertion_pack.pipelines.weights"),
        ("pipelines/playroom/b.py", "from .. import __main__"),
        ("pipelines/weights/hub.py", "from ..commands.weights import register"),
        ("pipelines/visual_insertion/a.py", "from ..systems import METHODS"),
        ("pipelines/training/loop.py", "from ..playroom import world"),
        ("pipelines/training/loop.py", "from .. import playroom"),
        ("pipelines/weights/hub.py", "from ..visual_insertion.pipeline import contexts"),
        ("pipelines/method.py", "from .visual_insertion.method import VisualInsertion"),
        ("nodes/a.py", "import comfy.utils"),
        ("nodes/a.py", "from comfy.samplers import CFGGuider"),
        ("nodes/a.py", "from server import PromptServer"),
        ("nodes/a.py", "from pipelines.weights import find"),
    ],
)
def test_the_rule_catches(path, source):
    assert crossings(path, source)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("pipelines/playroom/b.py", "import torch\nfrom ..training.engine import train"),
        (
            "pipelines/playroom/b.py",
            "from .c import d\nfrom .. import weights\nfrom ..visual_insertion import e",
        ),
        ("pipelines/__main__.py", "from .visual_insertion import pipeline"),
        ("pipelines/systems.py", "from .visual_insertion.method import VisualInsertion"),
        ("pipelines/commands/run.py", "from ..visual_insertion import pipeline"),
        ("pipelines/training/loop.py", "from ..weights import find\nfrom . import log"),
        ("nodes/a.py", "from comfy_api.latest import io\nimport folder_paths\nimport nodes"),
        ("nodes/a.py", "from ..pipelines.visual_insertion import guidance\nfrom .host import b"),
        ("nodes/host/b.py", "import comfy.samplers\nfrom ...pipelines import weights"),
    ],
)
def test_the_rule_allows(path, source):
    assert crossings(path, source) == []


def test_a_circle_is_caught():
    files = {"pipelines/a/x.py": "from ..b import y", "pipelines/a/z.py": "", "pipelines/b/y.py": "from ..a import z"}
    assert circles_of_rooms(files) == [["a", "b"]]
    assert house.circles(files_of_pipelines(files)) == []
    files["pipelines/b/y.py"] = "def f():\n    from ..a.x import g"
    assert house.circles(files_of_pipelines(files)) == [["pipelines/a/x.py", "pipelines/b/y.py"]]
    assert circles_of_rooms({**files, "pipelines/b/y.py": "from ..weights import find"}) == []


@pytest.mark.parametrize(
    ("path", "source", "is_sideways"),
    [
        ("pipelines/paint_by_example/a.py", "from ..visual_insertion import x", True),
        ("pipelines/visual_insertion/a.py", "def f():\n    from ..paint_by_example import x", True),
        ("pipelines/visual_insertion/training/a.py", "from ...baselines.x import y", True),
        ("pipelines/playroom/paint_by_example/a.py", "from ...visual_insertion.x import y", True),
        ("pipelines/playroom/paint_by_example/a.py", "from ..visual_insertion import x", True),
        ("pipelines/playroom/a.py", "from .visual_insertion import x", True),
        ("pipelines/playroom/visual_insertion/a.py", "from ...visual_insertion.x import y", False),
        ("pipelines/playroom/visual_insertion/a.py", "from .. import x", False),
        ("pipelines/baselines/a.py", "from ..paint_by_example import x", False),
        ("pipelines/visual_insertion/training/a.py", "from .. import x", False),
        ("pipelines/commands/a.py", "from ..paint_by_example import x", False),
    ],
)
def test_a_sideways_import_is_caught(path, source, is_sideways):
    rooms = [*sorted(house.SYSTEMS), "playroom/visual_insertion", "playroom/paint_by_example"]
    files = {f"pipelines/{room}/x.py": "" for room in rooms} | {path: source}
    assert bool(house.sideways_imports(files_of_pipelines(files))) == is_sideways


@pytest.mark.parametrize(
    ("path", "source", "is_wrong"),
    [
        ("nodes/a.py", "import torch", True),
        ("nodes/a.py", "import numpy as np", True),
        ("nodes/a.py", "box = (x, y, x + width, y + height)", True),
        ("nodes/a.py", "half = side / 2", True),
        ("nodes/a.py", "side -= 1", True),
        ("nodes/a.py", "inputs = [*first] + [second]", False),
        ("nodes/a.py", "text = 'a' + name", False),
        ("nodes/a.py", "path = Path(folder) / name", False),
        ("nodes/host/a.py", "import comfy\nimport torch\nnoise = torch.zeros(1) + 1", False),
        ("nodes/host/a.py", "import comfy\nimport torch.nn.functional as F", True),
        ("nodes/host/a.py", "import comfy\nfrom torch.nn import functional", True),
        ("nodes/host/a.py", "import comfy\nfrom einops import rearrange", True),
        ("nodes/host/a.py", "import comfy\nweights = q @ k", True),
    ],
)
def test_mathematics_in_nodes_is_caught(path, source, is_wrong):
    assert bool(calculations(path, source)) == is_wrong


def test_a_stranger_in_the_hosts_room_is_caught():
    assert touches_the_host("nodes/host/a.py", "import comfy.samplers")
    assert touches_the_host("nodes/host/a.py", "from .unet_models import build")
    assert touches_the_host("nodes/host/a.py", "def f(model):\n    return model.model.model_config")
    assert not touches_the_host("nodes/host/a.py", "import folder_paths\nfrom ...pipelines.weights import hub")


def test_an_early_import_is_caught():
    assert imported_at_load("try:\n    import torch\nexcept ImportError:\n    pass") == ["torch"]
    assert imported_at_load("from .nodes import pix2pix") == [".nodes.pix2pix"]
    assert imported_at_load("import os\ndef f():\n    import torch") == []


@pytest.mark.parametrize("text", ["see /ho" + "me/me/x", '"C:\\Us' + 'ers\\me"', "https://py" + "pi.org/simple"])
def test_a_machine_or_a_registry_in_a_text_is_caught(text):
    assert FORBIDDEN_TEXT.search(text)
    assert not FORBIDDEN_TEXT.search("https://example.org/home/page and models/home/x")
