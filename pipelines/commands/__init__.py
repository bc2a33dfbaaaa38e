"""The subcommands of `visual-insertion`, one module each.

A module offers `register(subparsers)`: it adds its parser and sets `run`, a function of the parsed arguments that
returns the exit code; mostly that is `outcome` of a function that works and raises. What is slow to import, torch above
all, is imported inside that function.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

OK, PROBLEM, MISSING = 0, 1, 2  # exit codes: done; a problem; wrong use, or something is missing


def outcome(work: Callable[..., object], *arguments: Any) -> int:
    """The exit code of `work(*arguments)`, its own if it gives one.

    What a user can mend is said in one line on stderr, not as a traceback.
    """
    try:
        code = work(*arguments)
    except FileNotFoundError as error:
        return say(str(error), MISSING)
    except ImportError as error:
        return say(f"{error}. Install the pack with its 'train' extra.", MISSING)
    except (OSError, ValueError, RuntimeError, FloatingPointError, MemoryError) as error:
        return say(str(error), PROBLEM)
    return code if isinstance(code, int) else OK


def say(text: str, code: int = OK) -> int:
    """Print to stderr; returns `code`."""
    print(text, file=sys.stderr)
    return code
