"""The command line: `visual-insertion COMMAND`, or `python PACK/pipelines COMMAND` uninstalled."""

from __future__ import annotations

import argparse
import pkgutil
import sys
from importlib import import_module


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code (0 done, 1 a problem, 2 wrong use or missing)."""
    commands = import_module(f"{_package()}.commands")
    parser = argparse.ArgumentParser(prog="visual-insertion", description="Insert a pictured object into a scene.")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for module in sorted(info.name for info in pkgutil.iter_modules(commands.__path__)):
        if not module.startswith("_"):
            import_module(f"{commands.__name__}.{module}").register(subparsers)
    args = parser.parse_args(argv)
    import_module(f"{_package()}.interruption").stop_on_termination()
    try:
        return args.run(args)
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 1


def _package() -> str:
    """The name of the package we are in; run as a mere folder, load it, root not on sys.path."""
    if __package__:
        return __package__
    from importlib.util import module_from_spec, spec_from_file_location
    from pathlib import Path

    name, folder = "visual_insertion_pipelines", Path(__file__).resolve().parent
    if name not in sys.modules:
        sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != folder]
        spec = spec_from_file_location(name, folder / "__init__.py", submodule_search_locations=[str(folder)])
        assert spec and spec.loader
        sys.modules[name] = package = module_from_spec(spec)
        spec.loader.exec_module(package)
    return name


if __name__ == "__main__":
    if not __package__:
        __spec__ = None  # spawned workers then run this file, and find the package as well
    sys.exit(main())
elif __name__ == "__mp_main__":
    _package()
