"""Import this checkout as the package `visual_insertion_pack`, as the host imports a custom node.

The root itself never goes on sys.path: our `nodes/` would hide the host's `nodes.py`. Everything in
the checkout is then a submodule, e.g. `visual_insertion_pack.pipelines.playroom`. As a script it
runs the `main()` of one of them:

    python devtools/pack.py pipelines.playroom.visual_insertion.recipe --help
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
NAME = "visual_insertion_pack"


def load_pack() -> ModuleType:
    """The pack as a package, loaded once per process."""
    if NAME in sys.modules:
        return sys.modules[NAME]
    spec = spec_from_file_location(NAME, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
    assert spec and spec.loader
    sys.modules[NAME] = module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[NAME]
        raise
    return module


def run(name: str, arguments: list[str]) -> Any:
    """Call `main()` of a module of the pack (of its `__main__` if it is a package).

    Imported, not run under the name `__main__`: its classes can be pickled for worker processes.
    """
    sys.argv[:] = [name, *arguments]
    module = import_module(f"{load_pack().__name__}.{name}")
    if hasattr(module, "__path__"):
        module = import_module(f"{module.__name__}.__main__")
    return module.main()


if __name__ in ("__main__", "__mp_main__"):  # the second: a spawned worker of the first
    sys.path[:] = [p for p in sys.path if Path(p).resolve() not in (ROOT, ROOT / "devtools")]
    load_pack()
if __name__ == "__main__":
    sys.exit(run(sys.argv[1], sys.argv[2:]))
