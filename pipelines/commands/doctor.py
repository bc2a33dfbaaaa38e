"""`visual-insertion doctor`: what of an installation works, and what to do next; also what a bug report pastes."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from . import MISSING, OK, PROBLEM, say
from .weights import hashing_progress


def register(subparsers: Any) -> None:
    """Add `doctor`."""
    text = "what of this installation works, and what to do next"
    more = ". ComfyUI, if there is one, is started for a moment. Exit code 1 for a problem, 2 for wrong use."
    parser: ArgumentParser = subparsers.add_parser("doctor", help=text, description=text + more)
    parser.set_defaults(run=doctor)
    add = parser.add_argument
    add("--quick", action="store_true", help="sizes of weights instead of hashes, and ComfyUI is not started")
    add("--models-dir", type=Path, metavar="PATH", help="ComfyUI's models folder (default: of the ComfyUI around us)")
    more_paths = "ComfyUI's extra_model_paths.yaml (default: the one in its folder)"
    add("--extra-model-paths", type=Path, metavar="YAML", help=more_paths)
    add("--device", help="such as cpu or cuda:0 (default: a GPU if there is one)")
    add("--json", action="store_true", help="machine-readable, on stdout")


def doctor(args: Namespace) -> int:
    """Look at everything, telling each finding as it comes; the exit code."""
    from ..doctor.check import PROBLEM as IS_PROBLEM
    from ..doctor.check import ending, examined, next_steps
    from ..doctor.checks import OF_THE_COMMAND
    from ..doctor.installation import find_installation

    if args.models_dir and not args.models_dir.is_dir():
        return say(f"{args.models_dir} is not a folder. Give ComfyUI's models folder.", MISSING)
    try:
        installation = find_installation(args.models_dir, args.extra_model_paths, args.device, args.quick)
    except (OSError, ValueError, ImportError) as error:
        return say(str(error), MISSING)
    checks = []
    for check in examined(OF_THE_COMMAND, replace(installation, progress=hashing_progress), announce=_announce):
        checks.append(check)
        if not args.json:
            _announce("")
            _print(check.text())
    _announce("")
    if args.json:
        findings = {"checks": [asdict(check) for check in checks], "next_steps": next_steps(checks)}
        _print(json.dumps(findings, indent=2, ensure_ascii=False))
    else:
        _print(f"\n{ending(checks)}")
    return PROBLEM if any(check.state == IS_PROBLEM for check in checks) else OK


def _print(text: str) -> None:
    """Print at once, also what the terminal has no letters for, as in the name of a file."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)


def _announce(name: str) -> None:
    """A line on the terminal that says what is looked at, until the finding takes its place; empty, it goes away."""
    if sys.stderr.isatty():
        print(f"\r\033[K{f'looking at: {name} ...' if name else ''}", end="", flush=True, file=sys.stderr)
